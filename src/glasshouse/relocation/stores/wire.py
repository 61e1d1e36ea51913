"""S3 over asyncio for the bytes of very many objects: HTTP/1.1 with AWS Signature Version 4, and nothing else.

A request costs botocore about a millisecond of processor time, of which the server's part is a fifth; here it costs
some 60 µs. Keys go onto the wire as they are, percent-encoded byte by byte: nothing is normalised on the way, so `a//b`
and `../up` name what they name. What S3 answers beside 2xx is an error of this project; listing, versions, locks and
erasing are s3.py's.

Signing: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import asyncio
import contextlib
import hashlib
import hmac
import re
import ssl
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import cast
from urllib.parse import quote, quote_from_bytes, urlsplit

import httptools

from glasshouse.relocation.errors import Forbidden, Unavailable
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.storage.errors import ObjectConflict, ObjectMissing

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
ANSWER_SECONDS = 60.0
MAX_WHOLE_BYTES = 16 << 20
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.2
_HELD_BYTES = 1 << 20
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")


class Answer:
    """A response: `status`, and its body in pieces as they come."""

    __slots__ = ("_connection", "_pieces", "_waiter", "done", "error", "held", "status")

    def __init__(self, connection: "_Connection") -> None:
        self.status = 0
        self.done = False
        self.error: Exception | None = None
        self.held = 0
        self._connection = connection
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    def add(self, piece: bytes) -> None:
        """A piece has come; a reader that is slower than the server stops the server."""
        self._pieces.append(piece)
        self.held += len(piece)
        if self.held > _HELD_BYTES and self._waiter is None:
            self._connection.pause()

    def wake(self) -> None:
        """Somebody may be waiting for more."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def more(self) -> bytes:
        """What has come since; empty at the end. Raises Unavailable where the connection broke."""
        while not (self._pieces or self.done or self.error):
            self._waiter = asyncio.get_running_loop().create_future()
            self._connection.resume()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.error is not None:
            raise self.error
        pieces, self._pieces, self.held = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def whole(self) -> bytes:
        """The body, all of it. Raises Unavailable where it is longer than anybody asks for in one piece."""
        pieces, size = [], 0
        while piece := await self.more():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_WHOLE_BYTES:
                self._connection.close()
                raise Unavailable("the store gives more than it has listed; list it anew")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.answer: Answer | None = None
        self.lost = False
        self._parser = httptools.HttpResponseParser(self)
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._writable.set()
        self._fail(Unavailable(f"the store closed the connection: {exc or 'before its answer was whole'}"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Unavailable(f"the store's answer is no HTTP: {error}"))
            self.close()

    def on_headers_complete(self) -> None:
        if self.answer is not None:
            self.answer.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self.answer is not None:
            self.answer.add(body)
            self.answer.wake()

    def on_message_complete(self) -> None:
        answer, self.answer = self.answer, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._parser.should_keep_alive():
            self.close()
        self._parser = httptools.HttpResponseParser(self)
        if answer is not None:
            answer.done = True
            answer.wake()

    def send(self, head: bytes, body: bytes) -> Answer:
        """Send a request; its answer comes."""
        if self.transport is None or self.lost:
            raise Unavailable("the store closed the connection")
        answer = self.answer = Answer(self)
        self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._late)
        self.transport.write(head + body if len(body) < 65_536 else head)
        if len(body) >= 65_536:
            self.transport.write(body)
        return answer

    def pause(self) -> None:
        if self.transport is not None and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and self._paused:
            self._paused = False
            self.transport.resume_reading()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._late)

    def close(self) -> None:
        self.lost = True
        if self.transport is not None:
            self.transport.abort()

    def _late(self) -> None:
        self._fail(Unavailable(f"the store did not answer within {ANSWER_SECONDS:.0f} s"))
        self.close()

    def _fail(self, error: Exception) -> None:
        answer, self.answer = self.answer, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if answer is not None:
            answer.error = error
            answer.wake()


class Wire:
    """One bucket. Use it as an asynchronous context manager, in one event loop; at most `connections` at once."""

    def __init__(self, bucket: Bucket, credentials: Credentials, *, connections: int = 32) -> None:
        endpoint = urlsplit(bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com")
        self.name = f"s3://{bucket.name}"
        self._tls = ssl.create_default_context() if endpoint.scheme == "https" else None
        self._host = endpoint.hostname or ""
        self._port = endpoint.port or (443 if self._tls else 80)
        self._root = f"{endpoint.path.rstrip('/')}/{quote(bucket.name, safe='')}/"
        self._signing = Signing(endpoint.netloc, bucket.region, credentials)
        self._free: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._places = asyncio.Semaphore(connections)

    async def __aenter__(self) -> "Wire":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._open:
            connection.close()

    async def get(self, key: bytes, version: str | None = None) -> bytes:
        """A small object, whole. Raises ObjectMissing, Forbidden, Unavailable."""
        return (await self._ask("GET", path_of(self._root, key), version_of(version)))[1]

    @contextlib.asynccontextmanager
    async def stream(self, key: bytes, version: str | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """An object in pieces. Raises as `get`; a connection that breaks on the way is the caller's to try again."""
        async with self._places:
            connection = await self._connection()
            try:
                answer = connection.send(self._signing.head("GET", path_of(self._root, key), version_of(version)), b"")
                first = await answer.more()
                if answer.status != 200:
                    raise answered(self.name, answer.status, first + await answer.whole(), "GET", key)
                yield _pieces(first, answer)
            finally:
                # Half an answer is of no use to the next request.
                if connection.answer is None and not connection.lost:
                    self._free.append(connection)
                else:
                    connection.close()

    async def put(self, key: bytes, data: bytes, *, sha256: str, once: bool = False) -> None:
        """Write an object whose SHA-256 the server is to check. Raises ObjectConflict where `once` and it is there.

        A request that was repeated since its answer got lost finds its own object there: whoever gets ObjectConflict
        reads what is there.
        """
        more = "If-None-Match: *\r\n" if once else ""
        await self._ask("PUT", path_of(self._root, key), "", data, sha256, more)

    async def delete(self, key: bytes) -> None:
        """Delete an object of a bucket without versions; nothing happens where there is none."""
        with contextlib.suppress(ObjectMissing):
            await self._ask("DELETE", path_of(self._root, key), "")

    async def _ask(
        self, method: str, path: str, query: str, body: bytes = b"", sha256: str = EMPTY_SHA256, more: str = ""
    ) -> tuple[int, bytes]:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
            async with self._places:
                try:
                    connection = await self._connection()
                    head = self._signing.head(method, path, query, len(body), sha256, more)
                    answer = connection.send(head, body)
                    found = await answer.whole()
                except (Unavailable, OSError) as error:
                    trouble: Exception = error
                    continue
                if not connection.lost:
                    self._free.append(connection)
            if answer.status < 300:
                return answer.status, found
            trouble = answered(self.name, answer.status, found, method, path.encode())
            if not isinstance(trouble, Unavailable):
                raise trouble
        raise Unavailable(f"{self.name}: {method}: {trouble}") from trouble

    async def _connection(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.lost:
                return connection
            self._open.discard(connection)
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        self._open.add(made)
        return made


def path_of(root: str, key: bytes) -> str:
    """A key as a request names it."""
    return root + quote_from_bytes(key, safe="/~")


def version_of(version: str | None) -> str:
    """The query that asks for a version."""
    return "" if version is None else f"versionId={quote(version, safe='~')}"


def answered(name: str, status: int, body: bytes, method: str, key: bytes) -> Exception:
    """What an answer beside 2xx means."""
    found = _CODE.search(body)
    code = found[1].decode() if found else str(status)
    if status in (404, 405):
        return ObjectMissing(repr(key))
    if status in (409, 412):
        return ObjectConflict(repr(key))
    if status in (401, 403):
        return Forbidden(name, f"{method} ({code})")
    return Unavailable(f"{name}: {method} {key!r}: {code}")


async def _pieces(first: bytes, answer: Answer) -> AsyncIterator[bytes]:
    piece = first
    while piece:
        yield piece
        piece = await answer.more()


class Signing:
    """Signature Version 4 of requests to one server, with what changes daily or by the second kept."""

    def __init__(self, host: str, region: str, credentials: Credentials) -> None:
        self._host, self._region, self._credentials = host, region, credentials
        self._second = 0
        self._date = self._scope = self._authorization = ""
        self._key = b""
        token = credentials.session_token
        self._signed = "host;x-amz-content-sha256;x-amz-date" + (";x-amz-security-token" if token else "")
        self._token = f"x-amz-security-token:{token}\n" if token else ""

    def head(
        self, method: str, path: str, query: str, length: int = 0, sha256: str = EMPTY_SHA256, more: str = ""
    ) -> bytes:
        """The head of a request, to the empty line."""
        now = int(time.time())
        if now != self._second:
            self._tick(now)
        said = f"host:{self._host}\nx-amz-content-sha256:{sha256}\nx-amz-date:{self._date}\n{self._token}"
        canonical = f"{method}\n{path}\n{query}\n{said}\n{self._signed}\n{sha256}"
        to_sign = f"{self._scope}{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        target = f"{path}?{query}" if query else path
        size = f"Content-Length: {length}\r\n" if method == "PUT" else ""
        headers = said.replace("\n", "\r\n")
        return (
            f"{method} {target} HTTP/1.1\r\n{headers}{size}{more}"
            f"Authorization: {self._authorization}{signature}\r\n\r\n"
        ).encode()

    def _tick(self, now: int) -> None:
        self._date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = self._date[:8]
        place = f"{day}/{self._region}/s3/aws4_request"
        scope = f"AWS4-HMAC-SHA256\n{self._date}\n{place}\n"
        key = f"AWS4{self._credentials.secret_key}".encode()
        for part in place.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self._authorization = (
            f"AWS4-HMAC-SHA256 Credential={self._credentials.access_key}/{place}, "
            f"SignedHeaders={self._signed}, Signature="
        )
        self._key, self._scope, self._second = key, scope, now
