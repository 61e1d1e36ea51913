"""Reputation: what the released indicator lists say of a file, by its SHA-256. It knows nothing else.

    ba4e063472a2559b4baa82d5272304a1cdae6968145c5ef221295c90e88458e2;Dark Caracal - PE32 executable (DLL)

A list is the hash list of a rule database such as signature-base (`iocs/hash-iocs.txt`): a hexadecimal digest, a
semicolon, a comment; MD5 and SHA-1 are passed over, since a look-up is by SHA-256. The answer to a look-up comes from
the list alone, never from what customers have sent, and nobody keeps who asked for what.
"""

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glasshouse.regions.errors import InvalidInput

MAX_BATCH = 1_000
MAX_COMMENT = 500
MAX_LIST_BYTES = 1 << 30
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{64})\s*;(.*)")


@dataclass(frozen=True, kw_only=True)
class ListSource:
    """What a list is: the SHA-256 of its file, and the release that it is a file of."""

    sha256: str
    product: str
    version: str


class Indicators:
    """A sorted table of raw SHA-256 digests and comments, looked up by bisection. Threads may share it.

    The first eight bytes of each digest stand apart, as numbers, so that the search itself compares no slices.
    """

    def __init__(self, entries: Mapping[bytes, str], source: ListSource) -> None:
        ordered = sorted(entries.items())
        texts = [comment[:MAX_COMMENT].encode() for _, comment in ordered]
        self.source = source
        self._digests = b"".join(digest for digest, _ in ordered)
        self._heads = array("Q", (_head(digest) for digest, _ in ordered))
        self._texts = b"".join(texts)
        self._ends = array("Q", [0])
        for text in texts:
            self._ends.append(self._ends[-1] + len(text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def find(self, sha256: str) -> str | None:
        """The comment on a digest, None where the list has none. Raises InvalidInput for what is no SHA-256."""
        if not _DIGEST.fullmatch(sha256):
            raise InvalidInput("sha256", "must be 64 lowercase hex digits", "Send the SHA-256 of the file.")
        wanted = bytes.fromhex(sha256)
        head = _head(wanted)
        place = bisect_left(self._heads, head)
        while place < len(self._heads) and self._heads[place] == head:
            if self._digests[32 * place : 32 * place + 32] == wanted:
                return self._texts[self._ends[place] : self._ends[place + 1]].decode()
            place += 1
        return None

    def find_all(self, digests: Iterable[str]) -> dict[str, str]:
        """Digest → comment, of those that the list has. Raises InvalidInput."""
        return {digest: comment for digest in digests if (comment := self.find(digest)) is not None}


def _head(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


def read_list(lines: Iterable[str]) -> dict[bytes, str]:
    """The SHA-256 entries of a hash list, comments without control characters; the first of two comments stays.

    Raises InvalidInput, with the number of the line, for one that is neither a comment nor an entry.
    """
    entries: dict[bytes, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            reason = "is neither a digest with a comment nor a comment"
            raise InvalidInput(f"indicators, line {number}", reason, "Take the list as it was released.")
        if len(match[1]) == 64:
            comment = "".join(char for char in match[2].strip() if char.isprintable())
            entries.setdefault(bytes.fromhex(match[1]), comment)
    return entries


def load_list(path: Path, product: str, version: str) -> Indicators:
    """The table of a released hash list. Raises InvalidInput or OSError."""
    if path.stat().st_size > MAX_LIST_BYTES:
        raise InvalidInput("indicators", f"{path} is too large", f"Use lists of at most {MAX_LIST_BYTES} bytes.")
    data = path.read_bytes()
    source = ListSource(sha256=hashlib.sha256(data).hexdigest(), product=product, version=version)
    return Indicators(read_list(data.decode(errors="replace").splitlines()), source)
