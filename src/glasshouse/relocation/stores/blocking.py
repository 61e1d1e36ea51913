"""The same requests as wire.py's, for callers in threads: each thread has a connection of its own.

Reading an object costs some 80 µs of processor time, and botocore a millisecond.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
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
        path, query = path_of(self._root, key), version_of(version)
        trouble: Exception = Unavailable(self._name)
        for _ in range(_ATTEMPTS):
            try:
                answer = self._send(path, query)
                first = answer.more()
            except (OSError, Unavailable) as error:
                trouble = error
                continue
            if answer.status == 200:
                return self._pieces(first, answer)
            trouble = answered(self._name, answer.status, first + b"".join(self._pieces(b"", answer)), "GET", key)
            if not isinstance(trouble, Unavailable):
                raise trouble
        raise Unavailable(f"{self._name}: reading {key!r}: {trouble}") from trouble

    def _send(self, path: str, query: str) -> "_Answer":
        connection: socket.socket | None = getattr(self._own, "free", None)
        self._own.free = None
        if connection is None:
            connection = socket.create_connection((self._host, self._port), timeout=ANSWER_SECONDS)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_hostname=self._host)
        with self._lock:
            head = self._signing.head("GET", path, query)
        connection.sendall(head)
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
            if answer.whole and answer.stays and getattr(self._own, "free", None) is None:
                self._own.free = answer.connection
            else:
                answer.connection.close()


class _Answer:
    """One response, read from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.whole = self.stays = False
        self.status = 0
        self._held: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._held.append(body)

    def on_message_complete(self) -> None:
        self.whole, self.stays = True, self._parser.should_keep_alive()

    def more(self) -> bytes:
        """What comes next; empty at the end. Raises Unavailable and OSError."""
        while not (self._held or self.whole):
            received = self.connection.recv(_RECEIVED_BYTES)
            if not received:
                raise Unavailable("the store closed the connection before its answer was whole")
            try:
                self._parser.feed_data(received)
            except httptools.HttpParserError as error:
                raise Unavailable(f"the store's answer is no HTTP: {error}") from error
        held, self._held = self._held, []
        return b"".join(held)
