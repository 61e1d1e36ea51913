"""The supervisor's own way of listing a foreign store: the same versions as the other client finds."""

import contextlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote_to_bytes, urlsplit

import pytest

from glasshouse.relocation.catalogue import DirectoryCatalogue, open_catalogue
from glasshouse.relocation.errors import Forbidden, InvalidInput, StoreLied, Unavailable
from glasshouse.relocation.stores.addresses import Credentials
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.errors import ObjectMissing

CREDENTIALS = Credentials(access_key="read-only", secret_key="of the supervisor")
LEGAL = ["a//b", "../up", "/lead", "dir/", "with space", "a+b", "ü/ö", "%41", "t\u0301\U0001f600", "q?&=#", "x" * 1_024]
DATE = "2026-11-21T10:00:00.000Z"


class Bucket:
    """A bucket that lists two entries a page: (key, version, content), the newest of a key first; None is a marker."""

    def __init__(self, *entries: tuple[str, str, bytes | None], versioned: bool = True) -> None:
        self.entries = sorted(entries, key=lambda entry: entry[0].encode())
        self.versioned, self.lies, self.status = versioned, "", 200

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        key = unquote_to_bytes(path.removeprefix("/bucket").removeprefix("/")).decode()
        if self.status != 200:
            return self.status, b"<Error/>"
        if path != "/bucket":
            wanted = query.get("versionId")
            found = [e for e in self.entries if e[0] == key and wanted in (None, e[1])]
            return (200, found[0][2]) if found and found[0][2] is not None else (404, b"<Error/>")
        if "versioning" in query:
            status = b"<Status>Enabled</Status>" if self.versioned else b""
            return 200, b"<VersioningConfiguration>" + status + b"</VersioningConfiguration>"
        return 200, self.page(query)

    def page(self, query: dict[str, str]) -> bytes:
        assert query["encoding-type"] == "url"
        start, version = query.get("key-marker", query.get("marker", "")), query.get("version-id-marker")
        after = [e for e in self.entries if e[0].encode() > start.encode() or (e[0] == start and _is_older(e, version))]
        page, more = after[:2], len(after) > 2
        lines = "".join(map(self.entry, page))
        ends = f"<EncodingType>url</EncodingType><IsTruncated>{str(more).lower()}</IsTruncated>"
        if more and self.lies != "goes on nowhere":
            last = page[-1]
            marker = start if self.lies == "goes round" else last[0]
            ends += f"<NextKeyMarker>{_encoded(marker)}</NextKeyMarker>" if self.versioned else ""
            ends += f"<NextVersionIdMarker>{last[1]}</NextVersionIdMarker>" if self.versioned and marker else ""
        if self.lies == "goes on nowhere":
            ends, lines = "<IsTruncated>true</IsTruncated>", ""
        return f'<R xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{lines}{ends}</R>'.encode()

    def entry(self, entry: tuple[str, str, bytes | None]) -> str:
        key, version, content = entry
        kind = "Contents" if not self.versioned else "DeleteMarker" if content is None else "Version"
        named = f"<Key>{_encoded(key)}</Key><LastModified>{DATE}</LastModified>"
        named += f"<VersionId>{version}</VersionId>" if self.versioned else ""
        owner = "<Owner><ID>somebody</ID><Key>of another thing</Key></Owner>"
        return f"<{kind}>{named}{'' if content is None else f'<Size>{len(content)}</Size>'}{owner}</{kind}>"


def _encoded(key: str) -> str:
    return quote(key, safe="/").replace("%20", "+")


def _is_older(entry: tuple[str, str, bytes | None], marker: str | None) -> bool:
    return marker is not None and entry[1] < marker


@contextlib.contextmanager
def serving(bucket: Bucket) -> Iterator[Source]:
    class Answers(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            # Nothing of the path is normalised on its way.
            parts = urlsplit(self.path)
            query = {name: found[0] for name, found in parse_qs(parts.query, keep_blank_values=True).items()}
            assert self.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=read-only/")
            status, body = bucket.answer(parts.path, query)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"s3://bucket?endpoint=http://127.0.0.1:{server.server_address[1]}"
        yield open_catalogue(url, CREDENTIALS, Path("/nonexistent"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shown(found: Iterator[Version]) -> list[tuple[bytes, int, bool, int]]:
    return [(one.key, one.ordinal, one.marker, one.size) for one in found]


def test_every_legal_key_of_a_bucket_is_listed_and_read() -> None:
    bucket = Bucket(*((key, "v1", key.encode()[:9]) for key in LEGAL))
    with serving(bucket) as source:
        found = list(source.list())
        assert [one.key for one in found] == sorted(key.encode() for key in LEGAL)
        assert all(b"".join(source.read(one)) == one.key[:9] for one in found)
        assert {one.modified for one in found} == {1_795_255_200_000}
        after = sorted(key.encode() for key in LEGAL)[4]
        assert [one.key for one in source.list(after, after + b"\xff")] == []
        assert [one.key for one in source.list(after)] == sorted(key.encode() for key in LEGAL)[5:]


def test_versions_and_markers_are_counted_from_the_oldest_across_pages() -> None:
    entries = [("a", "v5", b"third"), ("a", "v4", None), ("a", "v3", b"sec"), ("a", "v2", None), ("a", "v1", b"first!")]
    with serving(Bucket(*entries, ("b", "v9", b"other"))) as source:
        assert shown(source.list()) == [
            (b"a", 0, False, 6),
            (b"a", 1, True, 0),
            (b"a", 2, False, 3),
            (b"a", 3, True, 0),
            (b"a", 4, False, 5),
            (b"b", 0, False, 5),
        ]
        assert [b"".join(source.read(one)) for one in source.list() if not one.marker] == [
            b"first!",
            b"sec",
            b"third",
            b"other",
        ]


def test_a_bucket_without_versions_is_listed_by_the_first_api() -> None:
    with serving(Bucket(*((f"{number}", "", b"x") for number in range(5)), versioned=False)) as source:
        found = list(source.list())
        assert [(one.key, one.version) for one in found] == [(str(number).encode(), None) for number in range(5)]


@pytest.mark.parametrize("lie", ["goes on nowhere", "goes round"])
def test_a_list_that_leads_nowhere(lie: str) -> None:
    bucket = Bucket(*((f"{number}", "v1", b"x") for number in range(5)))
    bucket.lies = lie
    with serving(bucket) as source, pytest.raises(StoreLied):
        list(source.list())


@pytest.mark.parametrize(
    "page",
    [
        b"no XML",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><R><IsTruncated>false</IsTruncated></R>",
        b"<R><Contents><Size>1</Size></Contents></R>",
        b"<R><Contents><Key>a</Key><Size>?</Size><LastModified>2026-11-21T10:00:00Z</LastModified></Contents></R>",
        b"<R><Contents><Key>a</Key><Size>1</Size></Contents></R>",
    ],
)
def test_a_list_that_is_none(page: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(versioned=False)
    monkeypatch.setattr(bucket, "page", lambda _: page)
    with serving(bucket) as source, pytest.raises(StoreLied):
        list(source.list())


def test_a_list_out_of_order() -> None:
    bucket = Bucket(("a", "", b"x"), ("b", "", b"x"), versioned=False)
    bucket.entries.reverse()
    with serving(bucket) as source, pytest.raises(StoreLied, match="order"):
        list(source.list())


def test_a_store_that_refuses_or_is_away() -> None:
    bucket = Bucket(("a", "v1", b"x"))
    with serving(bucket) as source:
        (one,) = source.list()
        bucket.status = 403
        with pytest.raises(Forbidden):
            list(source.list())
        bucket.status = 503
        with pytest.raises(Unavailable):
            source.read(one)
        bucket.status, bucket.entries = 200, []
        with pytest.raises(ObjectMissing):
            source.read(one)
    with pytest.raises(Unavailable):
        list(open_catalogue("s3://bucket?endpoint=http://127.0.0.1:9", CREDENTIALS, Path()).list())
    with pytest.raises(InvalidInput, match="credentials"):
        open_catalogue("s3://bucket", None, Path())


def test_a_directory_is_listed_as_the_other_client_lists_it(tmp_path: Path) -> None:
    root = tmp_path / "store"
    names = [b"a", b"a.b", b"a0", b"dir/one", b"dir/two/three", b"z\xff\xfe", b"with space", "ü".encode()]
    for name in names:
        path = os.fsencode(root) + b"/" + name
        Path(os.fsdecode(path)).parent.mkdir(parents=True, exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(name * 3)
    (root / "empty" / "directory").mkdir(parents=True)
    mine, other = open_catalogue(root.as_uri(), None, tmp_path), open_store(root.as_uri())
    found = list(mine.list())
    assert isinstance(mine, DirectoryCatalogue)
    assert [one.key for one in found] == [one.key for one in other.list()]
    assert shown(iter(found)) == shown(other.list())
    assert [one.modified for one in found[:3]] == [one.modified for one in other.list()][:3]
    assert [b"".join(mine.read(one)) for one in found] == [b"".join(other.read(one)) for one in found]
    assert shown(mine.list(b"a", b"dir/two")) == shown(other.list(b"a", b"dir/two"))


def test_a_directory_with_what_is_no_object(tmp_path: Path) -> None:
    root = tmp_path / "store"
    (root / "dir").mkdir(parents=True)
    (root / "dir" / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="no regular file"):
        list(open_catalogue(root.as_uri(), None, tmp_path).list())
    (root / "dir" / "link").unlink()
    os.mkfifo(root / "pipe")
    with pytest.raises(InvalidInput, match="no regular file"):
        list(open_catalogue(root.as_uri(), None, tmp_path).list())
    with pytest.raises(Unavailable):
        open_catalogue((tmp_path / "gone").as_uri(), None, tmp_path)
    with pytest.raises(InvalidInput, match="address"):
        open_catalogue("ftp://store", None, tmp_path)
