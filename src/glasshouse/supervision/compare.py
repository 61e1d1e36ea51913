"""Where a shipped file and a rebuilt one differ, down to the member, section, line or byte.

    compare(Path("a/engine.whl"), Path("b/engine.whl"))
    Comparison(identical=False, differences=(
        Difference(where=(Step(kind="member", name="engine.so"), Step(kind="section", name=".rodata")),
                   aspect=Aspect.CONTENT, offset=16, changed=(("Nov 21 2026", "Nov 22 2026"),), ...),

Differences come in the order in which the shipped file has its parts. Comparing says what is different and nothing of
why (see `explain`). Both files may have been made to harm: depth, unpacked bytes and the number of differences are
bounded, and a part that breaks its format is compared as plain bytes.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from glasshouse.supervision.containers import Budget, Container, ContainerError, Entry, OverBudget, open_container
from glasshouse.supervision.errors import Unreadable

WORD_BYTES = 4
_CHUNK_BYTES = 1 << 20
_EXCERPT_CHARACTERS = 200
_MAX_CHANGED = 20
_MAX_WORDS = 16
_MAX_WORDS_BYTES = 4 << 20
_STRING = re.compile(rb"[\x20-\x7e\t]{4,}")
_STRING_TABLE_BYTES = bytes([0, 9, *range(0x20, 0x7F)])

Word = tuple[int, bytes, bytes]


class Aspect(Enum):
    """In which respect two parts differ."""

    CONTENT = "content"
    FIELD = "field"  # what a container says of a part: its time, mode, owner
    ORDER = "order"  # the same parts, lines or strings, in another order
    ONLY_SHIPPED = "only-shipped"
    ONLY_REBUILT = "only-rebuilt"
    ENCODING = "encoding"  # equal once unpacked
    LAYOUT = "layout"  # equal parts, other bytes around them
    KIND = "kind"  # not the same kind of file at all
    UNEXAMINED = "unexamined"  # different, but too large or too deep to look into


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of one comparison. `text_bytes` is the largest part whose lines or strings are compared."""

    unpacked_bytes: int = 4 << 30
    text_bytes: int = 16 << 20
    depth: int = 8
    differences: int = 200


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step inwards: kind is member, section or stream; `code` marks a section of machine code."""

    kind: str
    name: str
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference.

    `where` leads from the file inwards. For a FIELD, `field` names it and `shipped` and `rebuilt` are its values; for
    CONTENT they are excerpts around the first differing byte at `offset` (and `line`, in text, from 1). `changed` are
    lines or printable strings that only one side has, paired in order of appearance, "" where the other side has none;
    `beyond_strings` says that bytes outside those differ too. `words` are the aligned words of 4 bytes that differ in
    a small binary part that kept its length: offset, shipped, rebuilt. Sizes are those of the innermost part in bytes.
    """

    where: tuple[Step, ...]
    aspect: Aspect
    field: str = ""
    shipped: str = ""
    rebuilt: str = ""
    shipped_size: int = 0
    rebuilt_size: int = 0
    offset: int | None = None
    line: int | None = None
    changed: tuple[tuple[str, str], ...] = ()
    beyond_strings: bool = False
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found; `complete` is false when there were more differences than the limit."""

    identical: bool
    differences: tuple[Difference, ...] = ()
    complete: bool = True


def compare(shipped: Path, rebuilt: Path, limits: Limits | None = None) -> Comparison:
    """Compare two files; `Unreadable` if one of them cannot be read."""
    run = _Run(limits or Limits())
    try:
        with shipped.open("rb") as a, rebuilt.open("rb") as b:
            identical = run.compare(a, b, ())
    except OSError as error:
        path = Path(error.filename) if error.filename else shipped
        raise Unreadable(path, error.strerror or str(error)) from error
    return Comparison(
        identical=identical,
        differences=tuple(run.differences[: run.limits.differences]),
        complete=len(run.differences) <= run.limits.differences,
    )


class _Run:
    """One comparison under way: its limits, what is left of its budget, and what it has found."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits.unpacked_bytes)
        self.differences: list[Difference] = []

    def full(self) -> bool:
        return len(self.differences) > self.limits.differences

    def add(self, difference: Difference) -> None:
        if not self.full():
            self.differences.append(difference)

    def compare(self, a: BinaryIO, b: BinaryIO, where: tuple[Step, ...]) -> bool:
        """Compare two parts; true if they are equal, otherwise at least one difference was added."""
        offset = _first_difference(a, b)
        if offset is None:
            return True
        found = Difference(
            where=where, aspect=Aspect.CONTENT, offset=offset, shipped_size=_size(a), rebuilt_size=_size(b)
        )
        before = len(self.differences)
        try:
            if len(where) < self.limits.depth and self._compare_containers(a, b, found):
                return False
        except OverBudget:
            self.add(replace(found, aspect=Aspect.UNEXAMINED))
            return False
        except ContainerError:
            # One side is damaged, so its parts mean nothing; the bytes still can be compared.
            del self.differences[before:]
        self.add(self._content(a, b, found))
        return False

    def _compare_containers(self, a: BinaryIO, b: BinaryIO, found: Difference) -> bool:
        """Compare two parts that are containers; false if they are none."""
        shipped, rebuilt = open_container(a, self.budget), open_container(b, self.budget)
        if shipped is None and rebuilt is None:
            return False
        if shipped is None or rebuilt is None or shipped.kind != rebuilt.kind:
            kinds = [container.kind if container else "plain file" for container in (shipped, rebuilt)]
            self.add(replace(found, aspect=Aspect.KIND, shipped=kinds[0], rebuilt=kinds[1]))
            return True
        before = len(self.differences)
        self._fields(shipped.fields, rebuilt.fields, found.where)
        self._names(shipped, rebuilt, found.where)
        theirs = {entry.name: entry for entry in rebuilt.entries}
        for entry in shipped.entries:
            if entry.name in theirs and not self.full():
                step = Step(kind=shipped.part, name=entry.name, code=entry.code)
                self._entry(entry, theirs[entry.name], (*found.where, step))
        if len(self.differences) == before:
            self.add(replace(found, aspect=Aspect.LAYOUT, shipped=shipped.kind, rebuilt=rebuilt.kind))
        return True

    def _names(self, shipped: Container, rebuilt: Container, where: tuple[Step, ...]) -> None:
        ours, theirs = [[entry.name for entry in side.entries] for side in (shipped, rebuilt)]
        for names, others, aspect in ((ours, theirs, Aspect.ONLY_SHIPPED), (theirs, ours, Aspect.ONLY_REBUILT)):
            known = set(others)
            for name in names:
                if name not in known:
                    self.add(Difference(where=(*where, Step(kind=shipped.part, name=name)), aspect=aspect))
        shared = set(ours) & set(theirs)
        for left, right in zip(
            (name for name in ours if name in shared), (name for name in theirs if name in shared), strict=True
        ):
            if left != right:
                self.add(Difference(where=where, aspect=Aspect.ORDER, shipped=left, rebuilt=right, field=shipped.part))
                return

    def _fields(
        self, ours: Sequence[tuple[str, str]], theirs: Sequence[tuple[str, str]], where: tuple[Step, ...]
    ) -> None:
        left, right = dict(ours), dict(theirs)
        for field in {**left, **right}:
            values = left.get(field, "none"), right.get(field, "none")
            if values[0] != values[1]:
                self.add(
                    Difference(where=where, aspect=Aspect.FIELD, field=field, shipped=values[0], rebuilt=values[1])
                )

    def _entry(self, ours: Entry, theirs: Entry, where: tuple[Step, ...]) -> None:
        self._fields(ours.fields, theirs.fields, where)
        same_packing = dict(ours.fields).get("compression") == dict(theirs.fields).get("compression")
        with ours.stored() as a, theirs.stored() as b:
            if same_packing and _first_difference(a, b) is None:
                return
        with ExitStack() as opened:
            try:
                a, b = opened.enter_context(ours.open()), opened.enter_context(theirs.open())
            except ContainerError:
                # One of them cannot be unpacked; as they lie in the container they still can be compared.
                a, b = opened.enter_context(ours.stored()), opened.enter_context(theirs.stored())
            if self.compare(a, b, where) and same_packing:
                self.add(Difference(where=where, aspect=Aspect.ENCODING))

    def _content(self, a: BinaryIO, b: BinaryIO, found: Difference) -> Difference:
        """What differs in two parts that are no containers."""
        if max(found.shipped_size, found.rebuilt_size) > self.limits.text_bytes:
            return _with_excerpts(found, _around(a, found.offset), _around(b, found.offset))
        if found.where and found.where[-1].code:
            return found
        shipped, rebuilt = _all(a), _all(b)
        lines = _lines(shipped), _lines(rebuilt)
        if lines[0] is not None and lines[1] is not None:
            return _text_difference(lines[0], lines[1], found)
        return _binary_difference(shipped, rebuilt, found)


def _size(file: BinaryIO) -> int:
    return file.seek(0, io.SEEK_END)


def _all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _around(file: BinaryIO, offset: int | None) -> bytes:
    file.seek(max(0, (offset or 0) - 32))
    return file.read(_EXCERPT_CHARACTERS)


def _first_difference(a: BinaryIO, b: BinaryIO) -> int | None:
    """Offset of the first byte in which two files differ, the shorter one's length if it is the start of the other."""
    a.seek(0)
    b.seek(0)
    position = 0
    while True:
        left, right = a.read(_CHUNK_BYTES), b.read(_CHUNK_BYTES)
        if left != right:
            common = min(len(left), len(right))
            same = next((i for i in range(common) if left[i] != right[i]), common)
            return position + same
        if not left:
            return None
        position += len(left)


def _lines(data: bytes) -> list[str] | None:
    """The lines of a text, None for anything else."""
    if b"\0" in data:
        return None
    try:
        return data.decode().split("\n")
    except UnicodeDecodeError:
        return None


def _with_excerpts(found: Difference, shipped: bytes, rebuilt: bytes) -> Difference:
    shown = [data[:_EXCERPT_CHARACTERS].decode("latin-1") for data in (shipped, rebuilt)]
    return replace(found, shipped=shown[0], rebuilt=shown[1], beyond_strings=True)


def _text_difference(ours: list[str], theirs: list[str], found: Difference) -> Difference:
    index = next(i for i, (left, right) in enumerate(zip_longest(ours, theirs)) if left != right)
    here = replace(
        found,
        line=index + 1,
        shipped=ours[index][:_EXCERPT_CHARACTERS] if index < len(ours) else "",
        rebuilt=theirs[index][:_EXCERPT_CHARACTERS] if index < len(theirs) else "",
    )
    if Counter(ours) == Counter(theirs):
        return replace(here, aspect=Aspect.ORDER, field="line")
    changed, complete = _changed(ours, theirs)
    return replace(here, changed=changed, beyond_strings=not complete)


def _binary_difference(shipped: bytes, rebuilt: bytes, found: Difference) -> Difference:
    offset = found.offset or 0
    here = replace(
        found,
        shipped=_string_at(shipped, offset),
        rebuilt=_string_at(rebuilt, offset),
        words=_words(shipped, rebuilt),
    )
    ours, theirs = _strings(shipped), _strings(rebuilt)
    beyond = not _is_string_table(shipped + rebuilt) and _without_strings(shipped) != _without_strings(rebuilt)
    if not beyond and ours != theirs and Counter(ours) == Counter(theirs):
        return replace(here, aspect=Aspect.ORDER, field="string")
    changed, complete = _changed(ours, theirs)
    return replace(here, changed=changed, beyond_strings=beyond or not complete)


def _changed(ours: Sequence[str], theirs: Sequence[str]) -> tuple[tuple[tuple[str, str], ...], bool]:
    """Texts that one side has more often than the other, paired in order, and whether all of them are given."""
    pairs = list(zip_longest(_surplus(ours, theirs), _surplus(theirs, ours), fillvalue=""))
    return tuple(pairs[:_MAX_CHANGED]), len(pairs) <= _MAX_CHANGED


def _surplus(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[str]:
    left = Counter(theirs)
    for text in ours:
        left[text] -= 1
        if left[text] < 0:
            yield text


def _is_string_table(data: bytes) -> bool:
    return not data.translate(None, _STRING_TABLE_BYTES)


def _strings(data: bytes) -> list[str]:
    """The printable strings of at least four characters; in a table of strings those of any length."""
    if _is_string_table(data):
        return [string.decode("ascii") for string in data.split(b"\0") if string]
    return [match.group().decode("ascii") for match in _STRING.finditer(data)]


def _without_strings(data: bytes) -> bytes:
    """The bytes between printable strings; padding by zeros counts once, since a longer string takes from it."""
    return re.sub(rb"\0+", b"\0", _STRING.sub(b"\0", data))


def _string_at(data: bytes, offset: int) -> str:
    """The printable string around an offset, or the next bytes in hexadecimal."""
    for match in _STRING.finditer(data, max(0, offset - _EXCERPT_CHARACTERS)):
        if match.start() > offset:
            break
        if match.end() > offset:
            return match.group()[:_EXCERPT_CHARACTERS].decode("ascii")
    return data[offset : offset + 16].hex(" ")


def _words(shipped: bytes, rebuilt: bytes) -> tuple[Word, ...]:
    """The differing aligned words of two equally long parts, none if they are many or the parts are large."""
    if len(shipped) != len(rebuilt) or len(shipped) > _MAX_WORDS_BYTES:
        return ()
    words: list[Word] = []
    for offset in range(0, len(shipped), WORD_BYTES):
        ours, theirs = shipped[offset : offset + WORD_BYTES], rebuilt[offset : offset + WORD_BYTES]
        if ours != theirs:
            words.append((offset, ours, theirs))
            if len(words) > _MAX_WORDS:
                return ()
    return tuple(words)
