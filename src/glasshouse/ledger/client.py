"""A client of the ledger's HTTP interface. Nothing it returns is verified: view.py and the verifier do that.

    with LedgerClient("http://127.0.0.1:8471") as ledger:
        index = ledger.add(entry)
        note = parse_note(ledger.checkpoint())

Every call is safe to repeat (the same entry keeps its index), so a refused connection, 429 and 503 are retried with
growing pauses until the patience is used up. Every answer is read up to a limit only.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.dsse import MAX_ENTRY
from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.note import MAX_NOTE, parse_note
from glasshouse_verify.tile import (
    TILE_WIDTH,
    entries_path,
    format_bundle,
    parse_bundle,
    tile_path,
    tile_reader,
    tile_width,
)
from glasshouse_verify.tree import HashReader

from glasshouse.ledger.digests import MAX_LOOKUP
from glasshouse.ledger.errors import LedgerError, NotThere, Refused, Unavailable
from glasshouse.ledger.outgoing import open_http, read_bounded
from glasshouse.storage import files

MAX_BATCH_ENTRIES = 1024
MAX_BATCH_BYTES = 4 << 20
MAX_BUNDLE_BYTES = TILE_WIDTH * (MAX_ENTRY + 2)
MAX_BLOB_BYTES = 64 << 20
MAX_JSON_BYTES = 1 << 20
_MAX_ERROR_BYTES = 16 << 10
MIN_BYTES_PER_SECOND = 1 << 10
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
T = TypeVar("T")
_RETRIED = frozenset({429, 502, 503, 504})


class LedgerClient:
    """A connection to one ledger. For one thread at a time; use as a context manager or close it.

    ``patience_seconds`` bounds all attempts of one call together, ``timeout_seconds`` the silence within one attempt.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 10.0, patience_seconds: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self._patience_seconds = patience_seconds
        self._http = open_http(timeout_seconds)

        self._size = 0
        self._reader = self.reader(0)

    # --- adding ------------------------------------------------------------------------------------------------

    def add(self, entry: bytes) -> int:
        """Add one entry; its index, durable. Raises Refused, Unavailable."""
        answer = self._call("POST", "add", MAX_JSON_BYTES, content=entry)
        return self._parsed(lambda: parse_decimal(answer.decode("ascii").removesuffix("\n"), "index"))

    def add_batch(self, entries: Sequence[bytes]) -> list[int]:
        """Add entries that belong together, at most MAX_BATCH_ENTRIES and MAX_BATCH_BYTES, all or none."""
        answer = self._call("POST", "add-batch", MAX_JSON_BYTES, content=format_bundle(entries))
        indexes = self._parsed(lambda: json.loads(answer))
        if not isinstance(indexes, list) or len(indexes) != len(entries) or not all(type(i) is int for i in indexes):
            raise Unavailable(f"{self.url} answers something else than one index for each entry")
        return indexes

    def put_blob(self, sha256: str, content: Path | bytes) -> None:
        """Store content, bytes or a file's, that an entry names by digest.

        Raises Refused if no entry names it, or if the content is another.
        """
        if isinstance(content, bytes):
            self._call("PUT", f"blob/{sha256}", MAX_JSON_BYTES, content=content)
        else:
            self._call("PUT", f"blob/{sha256}", MAX_JSON_BYTES, stream=lambda: files.chunks(content))

    def has_blob(self, sha256: str) -> bool:
        """Whether the ledger has the content with this digest."""
        try:
            self._call("HEAD", f"blob/{sha256}", MAX_JSON_BYTES)
        except NotThere:
            return False
        return True

    # --- reading -----------------------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """The witnessed checkpoint, a signed note; ``entry`` and ``read`` go by it until the next call.

        Raises NotThere before the first.
        """
        note = self._call("GET", "checkpoint", MAX_NOTE)
        size = self._parsed(lambda: parse_checkpoint(parse_note(note).text).size)
        if size != self._size:
            self._size, self._reader = size, self.reader(size)
        return note

    def pending(self) -> bytes:
        """The newest checkpoint signed by the log, perhaps short of cosignatures."""
        return self._call("GET", "checkpoint/pending", MAX_NOTE)

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """A tile of hashes: the first ``width`` of them."""
        return self._tile(tile_path(level, index, width), tile_path(level, index))[: width * 32]

    def bundle(self, index: int, width: int = TILE_WIDTH) -> list[bytes]:
        """An entry bundle: its first ``width`` entries. Raises FormatError if there are fewer."""
        entries = parse_bundle(self._tile(entries_path(index, width), entries_path(index)))
        if len(entries) < width:
            raise FormatError(entries_path(index, width), f"{len(entries)} entries, expected {width}")
        return entries[:width]

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        """The entries with start ≤ index < stop, where ``stop`` is at most the size of a published checkpoint."""
        while start < stop:
            index, skip = divmod(start, TILE_WIDTH)
            yield from self.bundle(index, tile_width(0, index, stop))[skip:]
            start = (index + 1) * TILE_WIDTH

    def entry(self, index: int) -> bytes:
        """One entry below the size of the witnessed checkpoint."""
        if index >= self._size:
            self.checkpoint()
        if not 0 <= index < self._size:
            raise NotThere(f"the published checkpoint has {self._size} entries, entry {index} is not among them")
        bundle, place = divmod(index, TILE_WIDTH)
        return self.bundle(bundle, tile_width(0, bundle, self._size))[place]

    def reader(self, size: int) -> HashReader:
        """The tree of a published size, for proofs (tree.HashReader). Nothing it reads is trusted by itself."""
        return tile_reader(size, self.tile)

    def read(self, level: int, index: int) -> bytes:
        """The root of a complete subtree of the published tree."""
        if not self._size:
            self.checkpoint()
        return self._reader(level, index)

    def lookup(self, sha256: str) -> list[int]:
        """The indexes of the entries that name a digest or have it as their statement's identity, ascending."""
        found: list[int] = []
        while True:
            # A server answers a part at a time; the last part is empty.
            after = f"?after={found[-1]}" if found else ""
            answer = self._parsed(partial(json.loads, self._call("GET", f"lookup/{sha256}{after}", MAX_JSON_BYTES)))
            indexes = answer.get("indexes") if isinstance(answer, dict) else None
            if not isinstance(indexes, list) or not all(type(index) is int and index >= 0 for index in indexes):
                raise Unavailable(f"{self.url} answers something else than a list of indexes")
            if len(indexes) < MAX_LOOKUP:
                return found + indexes
            if indexes != sorted(set(indexes)) or indexes[0] <= (found or [-1])[-1]:
                raise Unavailable(f"{self.url} answers indexes that do not ascend")
            found += indexes

    def proof(self, index: int) -> bytes:
        """The tlog-proof of an entry against the witnessed checkpoint."""
        return self._call("GET", f"proof/{index}", MAX_NOTE)

    def handover(self, version: int) -> bytes:
        """The checkpoint that shows charter `version` in the ledger, witnessed under the policy of the one before."""
        return self._call("GET", f"handover/{version}", MAX_NOTE)

    def blob(self, sha256: str) -> bytes:
        """Content by digest, at most MAX_BLOB_BYTES."""
        return self._call("GET", f"blob/{sha256}", MAX_BLOB_BYTES)

    def get(self, path: str) -> bytes:
        """Any resource by its path below the prefix, as fsck.py reads a log."""
        return self._call("GET", path, max(MAX_BUNDLE_BYTES, MAX_NOTE))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- one call ----------------------------------------------------------------------------------------------

    def _tile(self, path: str, full_path: str) -> bytes:
        """A partial tile may be gone once the full one is there (tlog-tiles, Partial Tiles)."""
        try:
            return self._call("GET", path, MAX_BUNDLE_BYTES)
        except NotThere:
            if path == full_path:
                raise
            return self._call("GET", full_path, MAX_BUNDLE_BYTES)

    def _call(
        self,
        method: str,
        path: str,
        limit_bytes: int,
        *,
        content: bytes | None = None,
        stream: Callable[[], Iterator[bytes]] | None = None,
    ) -> bytes:
        deadline = time.monotonic() + self._patience_seconds
        pause = _FIRST_PAUSE_SECONDS
        while True:
            wanted = pause
            try:
                status, headers, body = self._attempt(method, path, limit_bytes, stream() if stream else content)
                if status < 300:
                    return body
                if status not in _RETRIED:
                    raise _refusal(self.url, status, body)
                reason = str(_refusal(self.url, status, body))
                after = headers.get("retry-after", "")
                wanted = max(pause, float(after)) if after.isascii() and after.isdigit() and len(after) < 4 else pause
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = f"{self.url} does not answer: {str(error) or type(error).__name__}"
            if time.monotonic() + wanted > deadline:
                raise Unavailable(reason)
            # The jitter keeps many clients that were refused together from coming back together.
            time.sleep(wanted * random.uniform(0.7, 1.3))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _attempt(
        self, method: str, path: str, limit_bytes: int, content: bytes | Iterator[bytes] | None
    ) -> tuple[int, httpx.Headers, bytes]:
        with self._http.stream(method, f"{self.url}/{path}", content=content) as response:
            limit = limit_bytes if response.is_success else _MAX_ERROR_BYTES
            return response.status_code, response.headers, read_bounded(response, limit, MIN_BYTES_PER_SECOND)

    def _parsed(self, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except (ValueError, VerifyError) as error:
            raise Unavailable(f"{self.url} answers what is not its interface: {error}") from error


def _refusal(url: str, status: int, body: bytes) -> LedgerError:
    try:
        told = json.loads(body)
        reason, field, fix = (str(told[name]) for name in ("error", "field", "fix"))
    except (ValueError, TypeError, KeyError):
        reason, field, fix = body[:200].decode(errors="replace").strip(), "", ""
    text = f"{url} answers {status}: {reason}" + (f" ({fix})" if fix else "")
    return NotThere(text) if status == 404 else Refused(text, status=status, field=field, fix=fix)
