"""A content-addressed cache of downloads: `<directory>/<sha256>`, filled in parallel, resumed, checked on every use.

Nothing here is trusted because it is in the cache. `Store.open_verified` and `Store.fetch` hash a file before they
hand it out, so a crash, a full disk or a foreign hand can cost a download and nothing else. That is also why files
are not flushed to the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from glasshouse.conveyor.errors import OriginUnavailable

PARALLEL_DOWNLOADS = 6
MAX_DOWNLOAD_BYTES = 2 << 30
_ATTEMPTS = 3

# Called from any thread with the name of what was fetched, and how many of how many are done.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file by digest and size, and where it may be had. `size` None means: at most `MAX_DOWNLOAD_BYTES`."""

    url: str
    sha256: str
    size: int | None = None

    @property
    def name(self) -> str:
        """The last part of the URL, for people."""
        return self.url.rpartition("/")[2]


def http_client() -> httpx.Client:
    """A client with the time-outs and redirects of this package; proxies and certificates come from the environment."""
    timeout = httpx.Timeout(60.0, connect=15.0)
    return httpx.Client(timeout=timeout, follow_redirects=True, headers={"Accept-Encoding": "identity"})


class Store:
    """The cache in one directory. Safe for threads and for processes that share the directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Where a file with this digest is kept, whether or not it is there."""
        return self.directory / sha256

    def has(self, sha256: str) -> bool:
        """Whether the file is there and still has its digest."""
        with contextlib.suppress(FileNotFoundError), self.path(sha256).open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == sha256
        return False

    @contextlib.contextmanager
    def open_verified(self, sha256: str) -> Iterator[IO[bytes]]:
        """Open a cached file, its digest checked through the same descriptor. Raises `OriginUnavailable`."""
        try:
            content = self.path(sha256).open("rb")
        except FileNotFoundError as error:
            raise OriginUnavailable(f"{sha256} has not been fetched") from error
        with content:
            if hashlib.file_digest(content, "sha256").hexdigest() != sha256:
                raise OriginUnavailable(f"the cached file {sha256} is damaged", f"remove it from {self.directory}")
            content.seek(0)
            yield content

    def add(self, data: bytes) -> str:
        """Put bytes into the cache and return their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        part = self.directory / f".{sha256}.{os.getpid()}"
        part.write_bytes(data)
        part.replace(self.path(sha256))
        return sha256

    def take(self, sha256: str, origin: Path) -> bool:
        """Copy a file into the cache; whether it has this digest."""
        part = self.directory / f".{sha256}.{os.getpid()}"
        shutil.copyfile(origin, part)
        part.replace(self.path(sha256))
        return self.has(sha256)

    def fetch(self, wanted: Sequence[Wanted], client: httpx.Client, progress: Progress | None = None) -> None:
        """Have all these files in the cache. Raises `OriginUnavailable` naming one that cannot be had as named."""
        done = 0

        def one(item: Wanted) -> str:
            if not self.has(item.sha256):
                self._download(item, client)
            return item.name

        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            try:
                for name in pool.map(one, wanted):
                    done += 1
                    if progress:
                        progress(name, done, len(wanted))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _download(self, item: Wanted, client: httpx.Client) -> None:
        part = self.directory / f".{item.sha256}.part"
        with part.open("ab") as out:
            # Another process may be fetching the same file; the second one waits and finds it done.
            fcntl.flock(out, fcntl.LOCK_EX)
            if self.has(item.sha256):
                return
            for attempt in range(_ATTEMPTS):
                try:
                    _append(item, client, out)
                    break
                except httpx.HTTPError as error:
                    if attempt == _ATTEMPTS - 1:
                        raise OriginUnavailable(f"{item.url} could not be fetched: {_words(error)}") from error
            out.flush()
            with part.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
            if found != item.sha256:
                part.unlink()
                raise OriginUnavailable(f"{item.url} has SHA-256 {found}, not {item.sha256}")
            part.replace(self.path(item.sha256))


def _append(item: Wanted, client: httpx.Client, out: IO[bytes]) -> None:
    """Continue the partial file `out` with the rest of the resource."""
    limit = MAX_DOWNLOAD_BYTES if item.size is None else item.size
    have = out.seek(0, os.SEEK_END)
    if have == item.size:
        return
    if have > limit:
        out.truncate(have := 0)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", item.url, headers=headers) as response:
        if have and response.status_code != httpx.codes.PARTIAL_CONTENT:
            out.truncate(have := 0)
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise httpx.RemoteProtocolError("the partial file is not a beginning of the resource")
        response.raise_for_status()
        for chunk in response.iter_bytes():
            have += len(chunk)
            if have > limit:
                out.truncate(0)
                raise OriginUnavailable(f"{item.url} is larger than {limit} bytes")
            out.write(chunk)


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__


def get_bytes(url: str, client: httpx.Client, limit: int, accept: str = "*/*") -> tuple[bytes, str]:
    """GET a small document: its bytes and content type. Raises `OriginUnavailable`, also beyond `limit` bytes."""
    try:
        with client.stream("GET", url, headers={"Accept": accept}) as response:
            response.raise_for_status()
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > limit:
                    raise OriginUnavailable(f"{url} is larger than {limit} bytes")
            return bytes(data), response.headers.get("content-type", "")
    except httpx.HTTPError as error:
        raise OriginUnavailable(
            f"{url} could not be fetched: {_words(error)}", "check the network or the mirror"
        ) from error
