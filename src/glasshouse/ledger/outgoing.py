"""What the HTTP clients of this room share."""

import functools
import ssl
import time

import httpx

from glasshouse.ledger.errors import Unavailable


def open_http(timeout_seconds: float) -> httpx.Client:
    """A client whose attempts give up after so much silence. Threads may share it; close it."""
    headers = {"accept-encoding": "gzip, identity"}
    return httpx.Client(timeout=timeout_seconds, headers=headers, verify=_tls())


GRACE_SECONDS = 10.0


def read_bounded(response: httpx.Response, limit_bytes: int, least_bytes_per_second: int = 1) -> bytes:
    """The body of a streamed response.

    Raises Unavailable instead of reading more than the limit, or, after ten seconds, slower than the least rate.
    """
    body, started = bytearray(), time.monotonic()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > limit_bytes:
            raise Unavailable(f"{response.url} answers more than {limit_bytes} bytes")
        late = time.monotonic() - started - GRACE_SECONDS
        if late > 0 and len(body) < late * least_bytes_per_second:
            raise Unavailable(f"{response.url} answers slower than {least_bytes_per_second} bytes a second")
    return bytes(body)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Loading the certificates takes as long as dozens of requests, so it happens once."""
    return httpx.create_ssl_context()
