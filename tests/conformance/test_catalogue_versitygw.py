"""The supervisor's listing client against a real S3 server, versitygw with versions: it sees what botocore sees.

Without delete markers: versitygw lists those of a page before its versions, which both clients refuse as out of order.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gotools import Go, free_port, running

from glasshouse.relocation.catalogue import open_catalogue
from glasshouse.relocation.errors import Forbidden
from glasshouse.relocation.stores.addresses import Credentials
from glasshouse.relocation.stores.opening import open_store
from glasshouse.relocation.stores.s3 import S3Bucket

VERSITYGW = "github.com/versity/versitygw@v1.8.0/cmd/versitygw"
CREDENTIALS = Credentials(access_key="test", secret_key="testsecret")
KEYS = [b"plain", b"with space", b"a+b", "ü/ö/\U0001f600".encode(), b"q?&=#%41~", b"dir/file", b"x" * 200]


@pytest.fixture(scope="module", params=[True, False], ids=["versions", "plain"])
def url(go: Go, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    program, place, port = go.build(VERSITYGW), tmp_path_factory.mktemp("catalogue"), free_port()
    for name in ("buckets/store", "meta", "versions"):
        (place / name).mkdir(parents=True)
    command = [str(program), "--access=test", "--secret=testsecret", f"--port=127.0.0.1:{port}", "--quiet", "posix"]
    command += [f"--sidecar={place / 'meta'}", *([f"--versioning-dir={place / 'versions'}"] if request.param else [])]
    with running([*command, str(place / "buckets")], f"http://127.0.0.1:{port}/"):
        found = f"s3://store?endpoint=http://127.0.0.1:{port}"
        store = open_store(found, CREDENTIALS)
        assert isinstance(store, S3Bucket)
        if request.param:
            store._client.put_bucket_versioning(Bucket="store", VersioningConfiguration={"Status": "Enabled"})
        for key in KEYS:
            store.write(key, b"first of " + key[:20])
        for key in KEYS[::2]:
            store.write(key, b"second")
        yield found


def test_both_clients_find_the_same(url: str, tmp_path: Path) -> None:
    mine, other = open_catalogue(url, CREDENTIALS, tmp_path), open_store(url, CREDENTIALS)
    found = [(v.key, v.ordinal, v.version, v.marker, v.size, v.modified) for v in mine.list()]
    assert found == [(v.key, v.ordinal, v.version, v.marker, v.size, v.modified) for v in other.list()]
    assert {key for key, *_ in found} >= set(KEYS)
    for version in mine.list():
        if not version.marker:
            assert b"".join(mine.read(version)) == b"".join(other.read(version))


def test_wrong_credentials_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(Forbidden):
        list(open_catalogue(url, Credentials(access_key="test", secret_key="wrong"), tmp_path).list())
