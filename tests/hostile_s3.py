"""A small S3 server that breaks its word: it acknowledges and drops, ignores conditions, lists short, flips bytes.

It keeps objects in memory and understands what obstore sends: PUT, GET, HEAD, DeleteObjects, ListObjectsV2, multipart
uploads. Without faults it is an honest one, which is the control.
"""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

from obstore.store import S3Store

BUCKET = "vault"


@dataclass
class HostileS3:
    """The server's objects and its faults, which a test switches on while it runs."""

    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    drops: bool = False
    flips: bool = False
    ignores_conditions: bool = False
    lists_short: bool = False
    keeps_deleted: bool = False
    url: str = ""

    def store(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.url,
            region="us-east-1",
            skip_signature=True,
            client_options={"allow_http": True},
            retry_config={"max_retries": 1},
        )


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: HostileS3

    def log_message(self, *_: object) -> None:
        return

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").lstrip("/")

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query, keep_blank_values=True).items()}

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def do_PUT(self) -> None:
        data, query, state = self.body(), self.query, self.state
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        if "uploadId" in query:
            state.parts[query["uploadId"]][int(query["partNumber"])] = data
        elif self.headers.get("if-none-match") == "*" and self.key in state.objects and not state.ignores_conditions:
            self.reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        elif not state.drops:
            state.objects[self.key] = data
        self.reply(200, ETag=tag)

    def do_POST(self) -> None:
        body, query, state = self.body().decode(), self.query, self.state
        if "delete" in query:
            keys = re.findall("<Key>([^<]*)</Key>", body)
            for key in keys if not state.keeps_deleted else ():
                state.objects.pop(unescape(key), None)
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            text = f"<DeleteResult>{deleted}</DeleteResult>"
        elif "uploads" in query:
            upload = f"u{len(state.parts)}"
            state.parts[upload] = {}
            inner = f"<Bucket>{BUCKET}</Bucket><Key>{escape(self.key)}</Key><UploadId>{upload}</UploadId>"
            text = f"<InitiateMultipartUploadResult>{inner}</InitiateMultipartUploadResult>"
        else:
            parts = state.parts.pop(query["uploadId"])
            if not state.drops:
                state.objects[self.key] = b"".join(parts[number] for number in sorted(parts))
            inner = f"<Key>{escape(self.key)}</Key><ETag>x</ETag>"
            text = f"<CompleteMultipartUploadResult>{inner}</CompleteMultipartUploadResult>"
        self.reply(200, text.encode(), content_type="application/xml")

    def do_DELETE(self) -> None:
        if not self.state.keeps_deleted:
            self.state.objects.pop(self.key, None)
        self.reply(204)

    def do_GET(self) -> None:
        if not self.key:
            self.reply(200, self.listing(), content_type="application/xml")
            return
        data = self.state.objects.get(self.key)
        if data is None:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        if self.state.flips and data:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.reply(200, data, ETag='"x"', Last_Modified="Sat, 21 Nov 2026 10:00:00 GMT")

    do_HEAD = do_GET

    def listing(self) -> bytes:
        keys = sorted(key for key in self.state.objects if key.startswith(self.query.get("prefix", "")))
        if self.state.lists_short:
            keys = keys[: len(keys) // 2]
        date = "<LastModified>2026-11-21T10:00:00.000Z</LastModified><ETag>x</ETag>"
        inner = "".join(
            f"<Contents><Key>{escape(key)}</Key>{date}<Size>{len(self.state.objects[key])}</Size></Contents>"
            for key in keys
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{inner}</ListBucketResult>".encode()


@contextlib.contextmanager
def hostile_s3() -> Iterator[HostileS3]:
    state = HostileS3()
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
