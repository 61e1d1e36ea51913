"""A small S3 server that keeps versions, delete markers, locks and unfinished uploads, and can break its word.

It keeps everything in memory, believes every signature, and understands what the relocation's two clients send. Without
faults it is an honest one, which is the control.
"""

import contextlib
import hashlib
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

from glasshouse.relocation.stores.addresses import Credentials

BUCKET = "archive"
CREDENTIALS = Credentials(access_key="test", secret_key="testsecret")


@dataclass
class Kept:
    """One version, or a delete marker. `locked` is until when (Unix seconds) it cannot be erased."""

    key: str
    id: str
    content: bytes | None
    modified: float
    locked: float = 0.0
    erased: bool = False


@dataclass
class VersionedS3:
    """The server's versions, oldest first, and its faults.

    `keeps_erased`: it acknowledges an erasure and does nothing. `hides_erased`: it lists what was erased no more and
    still gives it, by its id and by its key. `keeps_uploads`: the same of unfinished uploads.
    """

    versions: list[Kept] = field(default_factory=list)
    uploads: dict[str, str] = field(default_factory=dict)
    policy: bytes | None = None
    keeps_erased: bool = False
    hides_erased: bool = False
    keeps_uploads: bool = False
    url: str = ""
    numbers: Iterator[int] = field(default_factory=itertools.count)
    clock: float | None = None

    @property
    def store(self) -> str:
        """Its address."""
        return f"s3://{BUCKET}?endpoint={self.url}"

    def put(self, key: str, content: bytes | None) -> Kept:
        kept = Kept(key=key, id=f"v{next(self.numbers):06d}", content=content, modified=self.clock or time.time())
        self.versions.append(kept)
        return kept

    def listed(self) -> list[Kept]:
        """By raw key, of each the newest first."""
        there = [kept for kept in self.versions if not kept.erased]
        return sorted(there, key=lambda kept: (kept.key.encode(), -int(kept.id[1:])))

    def find(self, key: str, version: str | None) -> Kept | None:
        for kept in reversed(self.versions):
            gone = kept.erased and not self.hides_erased
            if kept.key == key and not gone and version in (None, kept.id):
                return kept
        return None

    def erase(self, key: str, version: str | None) -> str | None:
        """The code of an error, None where it is done, or is said to be."""
        if version is None:
            self.put(key, None)
            return None
        kept = self.find(key, version)
        if kept is not None and kept.locked > time.time():
            return "AccessDenied"
        if kept is not None and not self.keeps_erased:
            kept.erased = True
            if not self.hides_erased:
                self.versions.remove(kept)
        return None


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, 1 << 16
    state: VersionedS3

    def log_message(self, *_: object) -> None:
        return

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path.removeprefix(f"/{BUCKET}").removeprefix("/"))

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def reply(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def error(self, status: int, code: str) -> None:
        self.reply(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>", content_type="application/xml")

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    @property
    def denied(self) -> bool:
        return self.state.policy is not None and b"s3:PutObject" in self.state.policy

    def do_PUT(self) -> None:
        data, state = self.body(), self.state
        if "policy" in self.query:
            state.policy = data
            self.reply(204)
        elif self.denied:
            self.error(403, "AccessDenied")
        elif self.headers.get("if-none-match") == "*" and (there := state.find(self.key, None)) and there.content:
            self.error(412, "PreconditionFailed")
        else:
            self.reply(200, ETag='"x"', x_amz_version_id=state.put(self.key, data).id)

    def do_POST(self) -> None:
        root = ElementTree.fromstring(self.body())  # noqa: S314  written by our own client
        failed = ""
        for named in (child for child in root if child.tag.rpartition("}")[2] == "Object"):
            terms = {child.tag.rpartition("}")[2]: child.text or "" for child in named}
            if code := self.state.erase(terms["Key"], terms.get("VersionId")):
                place = f"<Key>{terms['Key']}</Key><VersionId>{terms.get('VersionId', '')}</VersionId>"
                failed += f"<Error>{place}<Code>{code}</Code></Error>"
        self.reply(200, f"<DeleteResult>{failed}</DeleteResult>", content_type="application/xml")

    def do_DELETE(self) -> None:
        state, query = self.state, self.query
        if "policy" in query:
            state.policy = None
        elif "uploadId" in query:
            if not state.keeps_uploads:
                state.uploads.pop(query["uploadId"], None)
        elif code := state.erase(self.key, query.get("versionId")):
            self.error(403, code)
            return
        self.reply(204)

    def do_GET(self) -> None:
        if self.key:
            self.get_object()
        elif "policy" in self.query:
            found = self.state.policy
            self.error(404, "NoSuchBucketPolicy") if found is None else self.reply(200, found)
        else:
            self.reply(200, self.page(), content_type="application/xml")

    def get_object(self) -> None:
        query = self.query
        kept = self.state.find(self.key, query.get("versionId"))
        if kept is None:
            self.error(404, "NoSuchVersion" if "versionId" in query else "NoSuchKey")
        elif "retention" in query:
            date = datetime.fromtimestamp(kept.locked, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            inner = f"<Mode>COMPLIANCE</Mode><RetainUntilDate>{date}</RetainUntilDate>"
            self.reply(200, f"<Retention>{inner}</Retention>", content_type="application/xml")
        elif "legal-hold" in query:
            self.reply(200, "<LegalHold><Status>OFF</Status></LegalHold>", content_type="application/xml")
        elif kept.content is None:
            self.error(
                405 if "versionId" in query else 404, "MethodNotAllowed" if "versionId" in query else "NoSuchKey"
            )
        else:
            self.reply(200, kept.content, ETag='"x"', x_amz_version_id=kept.id)

    def page(self) -> str:
        query = self.query
        if "versioning" in query:
            return "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        if "uploads" in query:
            found = "".join(
                f"<Upload><Key>{quote(key)}</Key><UploadId>{name}</UploadId><Initiated>2026-11-21T10:00:00Z</Initiated></Upload>"
                for name, key in self.state.uploads.items()
            )
            return f"<R><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{found}</R>"
        after = query.get("key-marker", "").encode()
        prefix = query.get("prefix", "")
        there = [k for k in self.state.listed() if k.key.startswith(prefix) and (not after or k.key.encode() > after)]
        return f"<R><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{''.join(map(entry, there))}</R>"


def entry(kept: Kept) -> str:
    kind = "DeleteMarker" if kept.content is None else "Version"
    size = "" if kept.content is None else f"<Size>{len(kept.content)}</Size>"
    date = datetime.fromtimestamp(kept.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    named = f"<Key>{quote(kept.key)}</Key><VersionId>{kept.id}</VersionId>"
    tag = "" if kept.content is None else f"<ETag>{hashlib.md5(kept.content).hexdigest()}</ETag>"  # noqa: S324
    return f"<{kind}>{named}<LastModified>{date}</LastModified>{tag}{size}</{kind}>"


@contextlib.contextmanager
def versioned_s3() -> Iterator[VersionedS3]:
    state = VersionedS3()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"state": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
