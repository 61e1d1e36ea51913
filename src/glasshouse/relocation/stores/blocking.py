"""The same requests as wire.py's, for callers in threads: each thread has a connection of its own.

Reading an object costs some 80 µs of processor time, and botocore a millisecond.
"""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlsplit

import httptools

from glasshouse.relocation.errors import Unavailable
from glasshouse.relocation.stores.addresses import Bucket, Credentials
from glasshouse.relocation.stores.wire import ANSWER_SECONDS, Signing, answered, path_of, version_of

_RECEIVED_BYTES = 256 << 10
_ATTEMPTS = 4


class BlockingReader:
    """Reads objects of one bucket. Threads may share one."""

    def __init__(self, bucket: Bucket, credentials: Credentials) -> None:
        endpoint = urlsplit(bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com")
        self._name = f"s3://{bucket.name}"
        self._tls = ssl.create_default_context() if endpoint.scheme == "https" else None
        self._host = endpoint.hostname or ""
        self._port = endpoint.port or (443 if self._tls else 80)
        self._root = f"{endpoint.path.rstrip('/')}/{quote(bucket.name, safe='')}/"
        self._signing = Signing(endpoint.netloc, bucket.region, credentials)
        self._lock = threading.Lock()
        self._own = threading.local()

    def read(self, key: bytes, version: str | None) -> Iterator[bytes]:
        """An object in pieces. Raises ObjectMissing, Forbidden, Unavailable at the call; Unavailable on the way."""
        return self._get(path_of(self._root, key), version_of(version), key)

    def ask(self, query: Mapping[str, str]) -> bytes:
        """What the bucket itself answers to a query, such as a page of a listing. Raises as `read`."""
        text = "&".join(f"{name}={quote(value, safe='~')}" for name, value in sorted(query.items()))
        return b"".join(self._get(self._root, text, b""))

    def _get(self, path: str, query: str, key: bytes) -> Iterator[bytes]:
        trouble: Exception = Unavailable(self._name)
        for _ in range(_ATTEMPTS):
            try:
                answer = self._send(path, query)
                first = answer.more()
            except (OSError, Unavailable) as error:
                # An error holds its frames, and a frame its variables: nobody would close the connection in time.
                trouble = error.with_traceback(None)
                continue
            if answer.status == 200:
                return self._pieces(first, answer)
            trouble = answered(self._name, answer.status, first + b"".join(self._pieces(b"", answer)), "GET", key)
            del answer
            if not isinstance(trouble, Unavailable):
                raise trouble
        raise Unavailable(f"{self._name}: {trouble}") from trouble

    def _send(self, path: str, query: str) -> "_Answer":
        connection: _Connection | None = getattr(self._own, "free", None)
        self._own.free = None
        if connection is None:
            plain = socket.create_connection((self._host, self._port), timeout=ANSWER_SECONDS)
            tls = self._tls
            connection = _Connection(plain if tls is None else tls.wrap_socket(plain, server_hostname=self._host))
        with self._lock:
            head = self._signing.head("GET", path, query)
        connection.socket.sendall(head)
        return _Answer(connection)

    def _pieces(self, first: bytes, answer: "_Answer") -> Iterator[bytes]:
        try:
            piece = first or answer.more()
            while piece:
                yield piece
                piece = answer.more()
        except OSError as error:
            raise Unavailable(f"{self._name}: {error}") from error
        finally:
            # What is left of half an answer is of no use to the next request.
            if answer.reusable and getattr(self._own, "free", None) is None:
                self._own.free = answer.connection
            else:
                answer.connection.socket.close()


class _Connection:
    """A socket that is closed when nobody holds it any more: with its thread, its reader, or an answer not read."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def __del__(self) -> None:
        self.socket.close()


class _Parsed:
    """What has come of one response. It does not hold the connection: parser and this hold each other."""

    def __init__(self) -> None:
        self.whole = self.stays = False
        self.status = 0
        self.held: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.held.append(body)

    def on_message_complete(self) -> None:
        self.whole, self.stays = True, self.parser.should_keep_alive()


class _Answer:
    """One response, read from a connection."""

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self._parsed = _Parsed()

    @property
    def status(self) -> int:
        """Of HTTP, once something has come."""
        return self._parsed.status

    @property
    def reusable(self) -> bool:
        """Whether the connection is good for another request."""
        return self._parsed.whole and self._parsed.stays

    def more(self) -> bytes:
        """What comes next; empty at the end. Raises Unavailable and OSError."""
        parsed = self._parsed
        while not (parsed.held or parsed.whole):
            received = self.connection.socket.recv(_RECEIVED_BYTES)
            if not received:
                raise Unavailable("the store closed the connection before its answer was whole")
            try:
                parsed.parser.feed_data(received)
            except httptools.HttpParserError as error:
                raise Unavailable(f"the store's answer is no HTTP: {error}") from error
        held, parsed.held = parsed.held, []
        return b"".join(held)
