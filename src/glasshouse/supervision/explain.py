"""Says in words where a rebuilt file differs from the shipped one, and what usually causes such a difference.

    explain(Path("shipped/engine.whl"), Path("rebuilt/engine.whl"))

    First difference: engine.so, section .rodata, at byte 16: shipped "Nov 21 2026", rebuilt "Nov 22 2026".
    What usually causes this:
    - time stamp (1 place): the build writes the time it runs at into its output, instead of SOURCE_DATE_EPOCH.

An explanation is no verdict: whatever the cause, the bytes differ, and a cause named here is what such traces usually
mean, not a proof that nothing else was changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from glasshouse.supervision.compare import Aspect, Comparison, Difference, Limits, Step, compare
from glasshouse.supervision.traces import Cause, times_in, traces_of

MAX_CHARACTERS = 3_000
_SHOWN_CHARACTERS = 80
_SHOWN_PLACES = 3
_FIELDS = {
    "modified": Cause.TIMESTAMP,
    "owner": Cause.HOST_OR_USER,
    "group": Cause.HOST_OR_USER,
    "mode": Cause.PERMISSIONS,
    "compression": Cause.COMPRESSION,
    "packer": Cause.TOOLCHAIN,
    "original name": Cause.BUILD_PATH,
    "link time": Cause.TIMESTAMP,
    "linker": Cause.TOOLCHAIN,
}
_WORDS = {
    Cause.CODE: "the program itself: its machine code is not the same. Other source, or other compiler options",
    Cause.FILE_LIST: "other parts: one side has parts that the other lacks. Other source, or left-overs in the build",
    Cause.CONTENT: "other content: no usual cause has left a trace there. Other source or data, or an unusual cause",
    Cause.TOOLCHAIN: "toolchain: another compiler, linker or packer, or other options for it, than the lock names",
    Cause.ORDERING: "ordering: the same parts in another order. The build reads a directory, or a set, unsorted",
    Cause.BUILD_PATH: "build path: the directory of the build stands in its output. Map it away, or fix it",
    Cause.HOST_OR_USER: "host or user: the build writes the machine's or the account's name into its output",
    Cause.TIMESTAMP: "time stamp: the build writes the time it runs at into its output, not SOURCE_DATE_EPOCH",
    Cause.PERMISSIONS: "permissions: file modes follow the account's umask instead of being set",
    Cause.COMPRESSION: "compression: equal once unpacked; another level, or another version of the compressor",
    Cause.LAYOUT: "layout: all parts are equal, bytes between or behind them are not. Padding, or something hidden",
    Cause.MOVED_ADDRESSES: "moved addresses: code or tables of the same length refer to a part that grew or moved; "
    "that nothing else differs in them was not checked",
    Cause.BUILD_ID: "build id: a digest that the linker takes of all the rest; it differs because something else does",
    Cause.UNEXAMINED: "not examined: too large or packed too deep to look into",
}
# Loaded with the program, and full of addresses of other sections.
_ADDRESS_SECTIONS = (
    ".dynsym",
    ".rel",
    ".dynamic",
    ".got",
    ".eh_frame",
    ".gcc_except_table",
    ".gnu.hash",
    ".gnu.version",
    ".hash",
    ".init_array",
    ".fini_array",
    ".data.rel",
)
# Not loaded: descriptions of the other sections.
_DESCRIBING_SECTIONS = (".debug_", ".symtab", ".shstrtab", ".gnu_debug")
_STRING_SECTIONS = (".debug_str", ".debug_line_str")
# Where compilers put what a program states, and the linker of a Windows library the time of its table of names.
_TIMED_SECTIONS = (".data", ".rodata", ".rdata", ".edata")
_BUILD_IDS = (".note.gnu.build-id", ".note.go.buildid")
_SYMBOL_INDEXES = ("/", "/SYM64/")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One cause and the differences that show it, in their order in the file."""

    cause: Cause
    differences: tuple[Difference, ...]


def find_causes(comparison: Comparison) -> tuple[Finding, ...]:
    """What the differences betray, most telling cause first; empty for identical files."""
    scene = _Scene(comparison.differences)
    shown: dict[Cause, list[Difference]] = {}
    for difference in comparison.differences:
        for cause in scene.causes_of(difference):
            shown.setdefault(cause, []).append(difference)
    order = list(Cause)
    return tuple(Finding(cause=cause, differences=tuple(shown[cause])) for cause in sorted(shown, key=order.index))


def explain(shipped: Path, rebuilt: Path, limits: Limits | None = None) -> str:
    """At most `MAX_CHARACTERS` of plain text without control characters but line ends; `Unreadable` as `compare`."""
    return describe(compare(shipped, rebuilt, limits))


def describe(comparison: Comparison) -> str:
    """The explanation of a comparison, as `explain` returns it."""
    if comparison.identical:
        return "The two files are identical."
    lines = [f"First difference: {told(comparison.differences[0])}", "What usually causes this:"]
    for finding in find_causes(comparison):
        places = len(finding.differences)
        count = f"{places} place{'s' * (places != 1)}{'' if comparison.complete else ' or more'}"
        name, words = words_of(finding.cause)
        lines.append(f"- {name} ({count}): {words}. {_places(finding.differences)}")
    if not comparison.complete:
        lines.append(f"Only the first {len(comparison.differences)} differences were looked at.")
    text = "\n".join(lines)
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"


def words_of(cause: Cause) -> tuple[str, str]:
    """The name of a cause, and what it means, for people."""
    name, _, words = _WORDS[cause].partition(": ")
    return name, words


class _Scene:
    """All differences of a comparison, to tell a difference from the consequence of another one."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self._differences = differences

    def causes_of(self, difference: Difference) -> tuple[Cause, ...]:
        """The causes that one difference shows; none if it only follows from another one."""
        match difference.aspect:
            case Aspect.CONTENT:
                return self._content(difference)
            case Aspect.FIELD:
                return (_field_cause(difference.field),)
            case Aspect.ORDER:
                return (Cause.ORDERING,)
            case Aspect.ONLY_SHIPPED | Aspect.ONLY_REBUILT:
                return (Cause.FILE_LIST,)
            case Aspect.ENCODING:
                return (Cause.COMPRESSION,)
            case Aspect.LAYOUT:
                return (Cause.LAYOUT,)
            case Aspect.KIND:
                return (Cause.CONTENT,)
            case Aspect.UNEXAMINED:
                return (Cause.UNEXAMINED,)
            case _:
                assert_never(difference.aspect)

    def _content(self, difference: Difference) -> tuple[Cause, ...]:
        last = difference.where[-1] if difference.where else Step(kind="file", name="")
        if last.kind == "section":
            return self._section(difference, last)
        if last.name in _SYMBOL_INDEXES and self._others(difference):
            return ()
        if last.name.endswith(".dist-info/RECORD") and self._follows(difference):
            return ()
        return _read_content(difference)

    def _section(self, difference: Difference, section: Step) -> tuple[Cause, ...]:
        if section.name in _BUILD_IDS:
            return (Cause.BUILD_ID,)
        moved = self._moved(difference)
        if section.code:
            same_length = difference.shipped_size == difference.rebuilt_size
            return (Cause.MOVED_ADDRESSES if same_length and moved else Cause.CODE,)
        causes = _read_content(difference)
        if Cause.CONTENT not in causes:
            return causes
        explained = tuple(cause for cause in causes if cause is not Cause.CONTENT)
        if _describes(section.name):
            return explained if explained or self._others(difference) else causes
        if moved and (section.name.startswith(_ADDRESS_SECTIONS) or _only_bytes_are_unexplained(difference)):
            return (*explained, Cause.MOVED_ADDRESSES)
        return causes

    def _others(self, difference: Difference) -> list[Difference]:
        """Differences of other parts of the same container that are no mere consequences themselves."""
        container = difference.where[:-1]
        return [
            other
            for other in self._differences
            if other.where != difference.where
            and other.where[: len(container)] == container
            and not (other.where and (_describes(other.where[-1].name) or other.where[-1].name in _BUILD_IDS))
        ]

    def _moved(self, difference: Difference) -> bool:
        """Whether another section of the same file changed its length or its order, so that addresses moved."""
        return any(
            other.aspect is Aspect.ORDER or (not other.where[-1].code and other.shipped_size != other.rebuilt_size)
            for other in self._others(difference)
            if other.where
        )

    def _follows(self, record: Difference) -> bool:
        """Whether a wheel's RECORD differs in the rows of members that differ themselves, and in nothing else."""
        differing = {other.where[len(record.where) - 1].name for other in self._others(record) if other.where}
        named = {row.partition(",")[0] for pair in record.changed for row in pair if row}
        return bool(named) and not record.beyond_strings and named <= differing


def _describes(section: str) -> bool:
    return section.startswith(_DESCRIBING_SECTIONS) and section not in _STRING_SECTIONS


def _field_cause(field: str) -> Cause:
    if field.startswith("extended header ") and field.endswith("time"):
        return Cause.TIMESTAMP
    return _FIELDS.get(field, Cause.CONTENT)


def _read_content(difference: Difference) -> tuple[Cause, ...]:
    """The causes that a part's texts and numbers betray; CONTENT among them if something stays unexplained."""
    causes: set[Cause] = set()
    if _may_hold_times(difference) and times_in(difference.words):
        return (Cause.TIMESTAMP,)
    explained = bool(difference.changed)
    for shipped, rebuilt in difference.changed:
        found, covered = traces_of(shipped, rebuilt)
        causes |= found
        explained &= covered
    if not explained or difference.beyond_strings:
        causes.add(Cause.CONTENT)
    return tuple(sorted(causes, key=list(Cause).index))


def _may_hold_times(difference: Difference) -> bool:
    """Tables of addresses and of unwinding are full of numbers that would pass for a time."""
    last = difference.where[-1] if difference.where else None
    return last is None or last.kind != "section" or last.name.startswith(_TIMED_SECTIONS)


def _only_bytes_are_unexplained(difference: Difference) -> bool:
    return difference.beyond_strings and all(traces_of(*pair)[1] for pair in difference.changed)


def told(difference: Difference) -> str:
    """One difference as a sentence, safe to print."""
    place = place_of(difference.where)
    shipped, rebuilt = _shown(difference.shipped), _shown(difference.rebuilt)
    match difference.aspect:
        case Aspect.FIELD:
            return f"{place}: {difference.field}, shipped {shipped}, rebuilt {rebuilt}."
        case Aspect.ORDER:
            return f"{place}: the order of its {difference.field}s; first shipped {shipped}, rebuilt {rebuilt}."
        case Aspect.ONLY_SHIPPED:
            return f"{place} is in the shipped file only."
        case Aspect.ONLY_REBUILT:
            return f"{place} is in the rebuilt file only."
        case Aspect.ENCODING:
            return f"{place}: packed differently, equal once unpacked."
        case Aspect.LAYOUT:
            return f"{place}: bytes outside its parts, from byte {difference.offset} on."
        case Aspect.KIND:
            return f"{place}: shipped a {difference.shipped}, rebuilt a {difference.rebuilt}."
        case Aspect.UNEXAMINED:
            return f"{place}: different from byte {difference.offset} on, and not looked into."
        case Aspect.CONTENT:
            return _told_content(difference, place, shipped, rebuilt)
        case _:
            assert_never(difference.aspect)


def _told_content(difference: Difference, place: str, shipped: str, rebuilt: str) -> str:
    at = f"line {difference.line}" if difference.line else f"at byte {difference.offset}"
    sizes = ""
    if difference.shipped_size != difference.rebuilt_size:
        sizes = f" Shipped {difference.shipped_size} bytes, rebuilt {difference.rebuilt_size}."
    if not difference.shipped and not difference.rebuilt:
        return f"{place}, {at}.{sizes}"
    return f"{place}, {at}: shipped {shipped}, rebuilt {rebuilt}.{sizes}"


def _places(differences: Sequence[Difference]) -> str:
    names = list(dict.fromkeys(place_of(difference.where) for difference in differences))
    more = f" and {len(names) - _SHOWN_PLACES} more" if len(names) > _SHOWN_PLACES else ""
    return f"In {'; '.join(names[:_SHOWN_PLACES])}{more}."


def place_of(where: Sequence[Step]) -> str:
    """Where in a file a step by step way leads, safe to print."""
    named = [f"section {plain(step.name)}" if step.kind == "section" else plain(step.name) for step in where]
    return ", ".join(name for name in named if name) or "the file"


def _shown(text: str) -> str:
    return f'"{plain(text)}"' if text else "nothing"


def plain(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    """Text out of a hostile file made safe to print: cut, controls and what a terminal could act on are escaped."""
    shown = text if len(text) <= characters else text[: characters - 1] + "…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in shown)
