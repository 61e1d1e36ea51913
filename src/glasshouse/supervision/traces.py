"""What in two differing texts or numbers betrays why they differ: a time, a path of the build, a host, a toolchain.

    traces_of("built Nov 21 2026 by ann@ws1", "built Nov 22 2026 by bob@ws2")
    (frozenset({Cause.TIMESTAMP, Cause.HOST_OR_USER}), True)

A cause counts only if, on both sides, what differs lies within something of its kind. The second value says whether
that covers everything that differs; if not, the texts differ in something that no usual cause explains.
"""

import re
from collections.abc import Callable, Iterator
from difflib import SequenceMatcher
from enum import Enum
from functools import lru_cache
from typing import Literal

from glasshouse.supervision.compare import WORD_BYTES, Word

_MAX_DIFFERING_CHARACTERS = 256
_CONTEXT_CHARACTERS = 256
_EARLIEST, _LATEST = 1_104_537_600, 2_208_988_800  # 2005-01-01 and 2040-01-01, as Unix times
_MAX_APART = 10 * 365 * 86_400
_BYTE_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")


class Cause(Enum):
    """Why two builds of one source differ, most telling first."""

    CODE = "code"
    FILE_LIST = "file-list"
    CONTENT = "content"
    TOOLCHAIN = "toolchain"
    ORDERING = "ordering"
    BUILD_PATH = "build-path"
    HOST_OR_USER = "host-or-user"
    TIMESTAMP = "timestamp"
    PERMISSIONS = "permissions"
    COMPRESSION = "compression"
    LAYOUT = "layout"
    MOVED_ADDRESSES = "moved-addresses"
    BUILD_ID = "build-id"
    UNEXAMINED = "unexamined"


_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_CLOCK = r"[0-2]?[0-9]:[0-5][0-9](?::[0-6][0-9](?:\.[0-9]+)?)?"
_CLOCK_WITH_SECONDS = r"[0-2]?[0-9]:[0-5][0-9]:[0-6][0-9](?:\.[0-9]+)?"
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[A-Z]{3,4}|[+-][0-9]{2}:?[0-9]{2}))?"
_DATES = (
    rf"(?:{_DAY},?\s+)?{_MONTH}\s+[0-9]{{1,2}}(?:\s+{_CLOCK}{_ZONE})?,?\s+(?:19|20)[0-9]{{2}}(?:\s+{_CLOCK}{_ZONE})?",
    rf"(?:{_DAY},?\s+)?[0-9]{{1,2}}[ -]{_MONTH}[ -](?:19|20)[0-9]{{2}}(?:\s+{_CLOCK}{_ZONE})?",
    r"(?<![\w.])(?:19|20)[0-9]{2}([-/.]?)[01][0-9]\1[0-3][0-9]"
    rf"(?:[T _-]?{_CLOCK}{_ZONE}|[T _-]?[0-9]{{4,6}}Z?)?(?!\w)",
    rf"(?<![\w:]){_CLOCK_WITH_SECONDS}{_ZONE}(?![\w:])",
)
_DATE = [re.compile(date) for date in _DATES]
_PRINTABLE = re.compile(rb"[\x20-\x7e\s\0]*")
_EPOCH = re.compile(r"(?<![0-9A-Za-z.])[12][0-9]{9}(?:\.[0-9]+)?(?![0-9A-Za-z])")
_PATH = re.compile(r"(?<![\w.+@~/\\-])(?!//)(?:[A-Za-z]:)?(?:[\w.+@~-]*[/\\])+[\w.+@~-]*")
_BUILD_ROOT = re.compile(
    r"/(?:home|root|tmp|build|builds|builddir|workspace|mnt|srv|Users|var/(?:tmp|lib)|usr/src|private|github|__w)(?:/|$)"
    r"|[A-Za-z]:[/\\]"
)
_SOURCE_NAME = re.compile(r"\.(?:c|cc|cpp|cxx|h|hh|hpp|s|S|asm|py|pyx|rs|go|java|f90|inc)$")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*")
_CORRESPONDENCE = re.compile(r"(?i)mail|author|maintainer|<[^<>]+@")
_NAMED = re.compile(
    r"(?i)\b(?:host ?name|host|node ?name|build[ _-]?host|user ?name|user|builder|built[ _]by)\b\W{1,3}[\w.-]+"
)
_TOOLCHAIN = re.compile(
    r"GCC: \(|GNU (?:C|AS|Fortran|Ada|GIMPLE|F)[\w+]* |(?:clang|LLVM|LLD|rustc|ldc|gold|mold)(?: version)? [0-9]|"
    r"Linker: |\bgo1\.[0-9]+|^Generator: |^Creator: |^Producer: |^Build-Jdk|^Created-By: "
)


@lru_cache(maxsize=4_096)
def traces_of(shipped: str, rebuilt: str) -> tuple[frozenset[Cause], bool]:
    """The causes that two differing texts betray, and whether these explain all that differs."""
    if not shipped or not rebuilt:
        return frozenset(), False
    shipped, rebuilt = _around_the_difference(shipped, rebuilt)
    if max(len(shipped), len(rebuilt)) > 2 * _CONTEXT_CHARACTERS + _MAX_DIFFERING_CHARACTERS:
        return frozenset(), False
    if _TOOLCHAIN.search(shipped) and _TOOLCHAIN.search(rebuilt):
        return frozenset({Cause.TOOLCHAIN}), True
    causes: set[Cause] = set()
    covered = True
    found = [
        (cause, list(spans(shipped)), list(spans(rebuilt)))
        for cause, spans in _SPANS.items()
        if cause is not Cause.BUILD_PATH or _tells_where_it_was_built(shipped, rebuilt)
    ]
    for tag, *ends in SequenceMatcher(None, shipped, rebuilt, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for cause, ours, theirs in found:
            if _within(ends[0], ends[1], ours) and _within(ends[2], ends[3], theirs):
                causes.add(cause)
                break
        else:
            covered = False
    return frozenset(causes), covered


def _around_the_difference(shipped: str, rebuilt: str) -> tuple[str, str]:
    """The two texts without what they have in common far from where they differ."""
    start = _common_length(shipped, rebuilt)
    end = _common_length(shipped[start:][::-1], rebuilt[start:][::-1])
    first = max(0, start - _CONTEXT_CHARACTERS)
    rest = max(0, end - _CONTEXT_CHARACTERS)
    return shipped[first : len(shipped) - rest], rebuilt[first : len(rebuilt) - rest]


def _common_length(left: str, right: str) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (ours, theirs) in pairs if ours != theirs), min(len(left), len(right)))


def times_in(words: tuple[Word, ...]) -> bool:
    """Whether all that differs in a binary part are 32-bit numbers that read as Unix times not far apart."""
    return bool(words) and all(_are_times(ours, theirs) for _, ours, theirs in words)


def _are_times(ours: bytes, theirs: bytes) -> bool:
    # Four letters read as a time of these years too.
    if all(_PRINTABLE.fullmatch(word) for word in (ours, theirs)):
        return False
    for order in _BYTE_ORDERS:
        first, second = int.from_bytes(ours, order), int.from_bytes(theirs, order)
        if all(_EARLIEST <= number <= _LATEST for number in (first, second)) and abs(first - second) < _MAX_APART:
            return len(ours) == WORD_BYTES
    return False


def _within(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(low <= start and end <= high for low, high in spans)


def _matches(pattern: re.Pattern[str]) -> Callable[[str], Iterator[tuple[int, int]]]:
    return lambda text: (match.span() for match in pattern.finditer(text))


def _epochs(text: str) -> Iterator[tuple[int, int]]:
    for match in _EPOCH.finditer(text):
        if _EARLIEST <= float(match.group()) <= _LATEST:
            yield match.span()


def _times(text: str) -> Iterator[tuple[int, int]]:
    for pattern in _DATE:
        yield from _matches(pattern)(text)
    yield from _epochs(text)


def _people_and_machines(text: str) -> Iterator[tuple[int, int]]:
    if not _CORRESPONDENCE.search(text):
        yield from _matches(_ADDRESS)(text)
    yield from _matches(_NAMED)(text)


def _tells_where_it_was_built(shipped: str, rebuilt: str) -> bool:
    """Paths that the program itself uses differ too when it was changed; only those of a build are innocent."""
    left, right = ([match.group() for match in _PATH.finditer(text)] for text in (shipped, rebuilt))
    ours, theirs = [path for path in left if path not in right], [path for path in right if path not in left]
    if not ours or len(ours) != len(theirs):
        return False
    return all(_same_file_built_elsewhere(*pair) for pair in zip(ours, theirs, strict=True))


def _same_file_built_elsewhere(shipped: str, rebuilt: str) -> bool:
    names = [re.split(r"[/\\]", path)[-1] for path in (shipped, rebuilt)]
    roots = [_BUILD_ROOT.match(path) is not None for path in (shipped, rebuilt)]
    return all(roots) or (names[0] == names[1] and (any(roots) or _SOURCE_NAME.search(names[0]) is not None))


_SPANS: dict[Cause, Callable[[str], Iterator[tuple[int, int]]]] = {
    Cause.TIMESTAMP: _times,
    Cause.BUILD_PATH: _matches(_PATH),
    Cause.HOST_OR_USER: _people_and_machines,
}
