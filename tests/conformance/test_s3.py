"""The remote object store against a real S3 server: versitygw, with conditional writes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from foreign_stores import inventory, landing
from gotools import Go, free_port, running
from ledgers import no_quorum, still_log
from obstore.store import S3Store
from promises import ObjectStorePromises

from glasshouse.ledger.fsck import check_log
from glasshouse.relocation.archive import ArchiveBucket
from glasshouse.relocation.errors import Forbidden
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.relocation.stores.interface import Answer
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.db import Database
from glasshouse.storage.errors import StorageUnavailable
from glasshouse.storage.objects import ObjectStore
from glasshouse.storage.remote import RemoteObjects, open_remote

VERSITYGW = "github.com/versity/versitygw@v1.8.0/cmd/versitygw"
BUCKET, FOREIGN = "glasshouse", "foreign"


@pytest.fixture(scope="module")
def endpoint(go: Go, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = go.build(VERSITYGW)
    place = tmp_path_factory.mktemp("s3")
    for name in (BUCKET, FOREIGN):
        (place / "buckets" / name).mkdir(parents=True)
    (place / "meta").mkdir()
    port = free_port()
    command = [str(program), "--access=test", "--secret=testsecret", f"--port=127.0.0.1:{port}", "--quiet"]
    command += ["posix", f"--sidecar={place / 'meta'}", str(place / "buckets")]
    with running(command, f"http://127.0.0.1:{port}/"):
        yield f"http://127.0.0.1:{port}"


def bucket(endpoint: str) -> S3Store:
    return S3Store(
        BUCKET,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id="test",
        secret_access_key="testsecret",
        client_options={"allow_http": True},
        retry_config={"max_retries": 1},
    )


class TestS3(ObjectStorePromises):
    @pytest.fixture
    def store(self, endpoint: str, request: pytest.FixtureRequest) -> ObjectStore:
        return RemoteObjects(bucket(endpoint), root=f"test-{abs(hash(request.node.name))}/")


def test_a_ledger_lives_in_a_bucket(endpoint: str, database: Database, tmp_path: Path) -> None:
    store = RemoteObjects(bucket(endpoint), root="ledger/")
    assert store.honours_create()
    still = still_log(database, tmp_path, "s3.example/log", store=store)
    for start, stop in ((0, 5), (5, 300), (300, 600)):
        still.sequence(*(b"%d" % n for n in range(start, stop)))
        still.step()
    report = check_log(store.get, no_quorum(still.notary.key))
    assert report.sound, report.findings
    assert report.checkpoint is not None
    assert report.checkpoint.size == 600


def test_a_bucket_is_opened_by_its_url(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "testsecret",
    }.items():
        monkeypatch.setenv(name, value)
    store = open_remote(f"s3://{BUCKET}/by-url/")
    store.put("checkpoint", b"x")
    assert RemoteObjects(bucket(endpoint)).get("by-url/checkpoint") == b"x"


def test_a_foreign_store_is_asked_read_copied_and_emptied(endpoint: str, database: Database, tmp_path: Path) -> None:
    keys = Credentials(access_key="test", secret_key="testsecret")
    store = open_store(f"s3://{FOREIGN}?endpoint={endpoint}", keys)
    honours = store.probe()
    said = (honours.readable, honours.writable, honours.conditional_create, honours.read_after_write, honours.checksums)
    assert set(said) == {Answer.YES}
    content = {
        key.encode(): key.encode() * 3 for key in ("a b", "plus+", "100%", "ü/é", "😀", "<&>", "deep/er/still", "'~")
    }
    for key, data in content.items():
        store.write(key, data)
    assert {one.key: b"".join(store.read(one)) for one in store.list()} == content
    archive = ArchiveBucket(
        bucket=Bucket(name=BUCKET, endpoint=endpoint, region="us-east-1"),
        credentials=keys,
        relocation="conformance",
        spool=tmp_path / "spool",
    )
    here = landing(database, tmp_path / "zurich", archive=archive)
    assert here.copy(store) == len(content)
    assert here.arrival().rows.sharded == inventory(store, tmp_path / "old").rows.sharded
    assert list(store.erase(list(store.list()))) == []
    assert list(store.list()) == []
    with pytest.raises(Forbidden):
        list(open_store(f"s3://{FOREIGN}?endpoint={endpoint}", Credentials(access_key="test", secret_key="x")).list())


def test_a_store_that_is_away(tmp_path: Path) -> None:
    store = RemoteObjects(bucket("http://127.0.0.1:9"))
    for call in (
        lambda: store.put("a", b""),
        lambda: store.create("a", b""),
        lambda: store.get("a"),
        lambda: store.size("a"),
    ):
        with pytest.raises(StorageUnavailable):
            call()
    with pytest.raises(StorageUnavailable):
        list(store.list(""))
