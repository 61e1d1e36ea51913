"""Renders docs/attacks.md from the docstrings of tests/attacks/.

    python -m tools.attacks_table            write the page
    python -m tools.attacks_table --check    exit 1 if the page is not what would be written

A test module's docstring:

    R3 Unlogged release offered.

    Cheat: what the cheating party does.
    Noticed by: who notices, without the cheater's help.
    Seen: what they see: exit code, statement, alarm.

Its functions are named test_attack_* (the cheat, played) and test_control_* (the honest run passes).
"""

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "attacks.md"
TESTS = ROOT / "tests" / "attacks"

GROUPS = {"R": "Release", "L": "Ledger", "D": "Data", "M": "Relocation", "S": "Oversight"}
ROWS = {
    "R1": "back-doored build on the conveyor",
    "R2": "reviewers shown other source than was built",
    "R3": "unlogged release offered",
    "R4": "logged, not rebuilt",
    "R5": "one party posing as two rebuilders with two keys",
    "R6": "provenance of another artifact replayed",
    "R7": "signature stripped, added or swapped",
    "R8": "toolchain swapped in the environment lock",
    "R9": "a build step that reads the network, clock, host name or CPU",
    "R10": "a second artifact for one customer under the same version",
    "R11": "update rollback or freeze",
    "R12": "compiled rules differ from their sources",
    "R13": "a delta that yields another file",
    "R14": "a rule hunting documents by keyword",
    "R15": "stolen vendor key alone publishes",
    "R16": "older charter or revoked party replayed",
    "R17": "failed rebuild suppressed and a passing one requested elsewhere",
    "R18": "a lock row that its public origin does not have, or a prebuilt binary copied out of the source tree",
    "R19": "a payload in a valid signature's unauthenticated parts; two digests for one platform in one release",
    "R20": "evidence that omits a logged negative verdict, a hold or a newer charter",
    "R21": "a hostile build that attacks the rebuilder's host or keys",
    "L1": "two checkpoints of one size (split view)",
    "L2": "truncated or rolled-back log",
    "L3": "entry or tile altered on disk",
    "L4": "unknown key, wrong origin, other log's checkpoint",
    "L5": "quorum unsatisfied or one witness counted twice",
    "L6": "malformed notes",
    "L7": "crash at every write",
    "L8": "an index promised and never integrated",
    "L9": "stale checkpoint presented as fresh",
    "L10": "disk full",
    "L11": "two disjoint witness quorums on two forks; one statement logged again under other envelope bytes",
    "L12": "an outsider fills the log",
    "D1": "upload to a site outside the region",
    "D2": "site configuration against the charter",
    "D3": "object missing from the inventory",
    "D4": "acknowledged but held at one site only",
    "D5": "bytes rotten or altered at rest",
    "D6": "kept past retention",
    "D7": "staff access without the second approval",
    "D8": "forbidden or unknown fields",
    "D9": "hostile uploads: bombs, traversal names, empty, huge, wrong digest, truncated, slow, duplicate at once",
    "D10": "verdict forged, or made with other rules",
    "D11": "counts that do not reconcile",
    "D12": "one customer asking for another's receipt",
    "D13": "a lost object covered by an invented tombstone; an erased one restored or entered again",
    "D14": "a receipt number skipped",
    "D15": "nonce or key reuse over a resumed upload",
    "D16": "plaintext or digest sent to a site outside the region",
    "M1": "objects left out of the source inventory",
    "M2": "lost or altered at the destination",
    "M3": "every legal key: `a//b`, `../up`, `/lead`, `dir/`, 1,024 bytes, any Unicode, versions",
    "M4": "writes and deletes during the move",
    "M5": "crash in each phase",
    "M6": "erasure before the countersignature",
    "M7": "write to the old site afterwards",
    "M8": "erasure claimed, object still readable",
    "M9": "data keys re-wrapped instead of renewed",
    "M10": "sample chosen before the commitment, or its seed ground by the log operator",
    "M11": "a store that lies: acknowledges and drops, ignores conditions, lists short",
    "M12": "a destination that proxies to the old site",
    "S1": "supervisor silent past its duty",
    "S2": "forged or repeated vote",
    "S3": "charter amended without quorum",
    "S4": "vendor's own party as its rebuilder",
    "S5": "a rebuilder countersigns what it did not rebuild",
    "S6": "one member signs two successors of one charter",
}
_PARTS = ("Cheat", "Noticed by", "Seen")
_HEADING = re.compile(r"((?:[RLDMS][0-9]+)(?:, [RLDMS][0-9]+)*) (\S.*?)\.?")


class ConventionError(Exception):
    """A test module does not follow the docstring convention above."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")


@dataclass(frozen=True, kw_only=True)
class PlayedCase:
    """One test function: `told` is its name in words, or its docstring's first line."""

    name: str
    told: str


@dataclass(frozen=True, kw_only=True)
class AttackModule:
    """One file of tests/attacks/, read from its source."""

    path: Path
    rows: tuple[str, ...]
    title: str
    cheat: str
    noticed_by: str
    seen: str
    attacks: tuple[PlayedCase, ...]
    controls: tuple[PlayedCase, ...]


def parse_module(path: Path, source: str) -> AttackModule:
    """Read one test module; ConventionError names what is missing."""
    tree = ast.parse(source)
    docstring = ast.get_docstring(tree)
    if docstring is None:
        raise ConventionError(path, "has no docstring")
    first, _, rest = docstring.partition("\n")
    heading = _HEADING.fullmatch(first.strip())
    if heading is None:
        raise ConventionError(path, f"the first line must read '<ROW> <title>.', not {first!r}")
    rows = tuple(heading[1].split(", "))
    for row in rows:
        if row not in ROWS:
            raise ConventionError(path, f"{row} is no row of the attack matrix")
    parts = _parts(path, rest)
    attacks, controls = _cases(tree, "test_attack_"), _cases(tree, "test_control_")
    for cases, kind in ((attacks, "test_attack_"), (controls, "test_control_")):
        if not cases:
            raise ConventionError(path, f"has no {kind}* function")
    return AttackModule(
        path=path,
        rows=rows,
        title=heading[2],
        cheat=parts["Cheat"],
        noticed_by=parts["Noticed by"],
        seen=parts["Seen"],
        attacks=attacks,
        controls=controls,
    )


def _parts(path: Path, text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    current = ""
    for line in text.strip().split("\n"):
        name, colon, value = line.partition(":")
        if colon and name in _PARTS:
            current = name
            parts[current] = value.strip()
        elif not line.strip() and len(parts) == len(_PARTS):
            break
        elif current:
            parts[current] = f"{parts[current]} {line.strip()}".strip()
    if tuple(parts) != _PARTS or not all(parts.values()):
        raise ConventionError(path, f"the docstring must say, in this order, {', '.join(_PARTS)}")
    return parts


def _cases(tree: ast.Module, prefix: str) -> tuple[PlayedCase, ...]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(prefix):
            told = (ast.get_docstring(node) or node.name.removeprefix(prefix).replace("_", " ")).partition("\n")[0]
            found.append(PlayedCase(name=node.name, told=told.rstrip(".")))
    return tuple(found)


def read_modules(folder: Path) -> tuple[AttackModule, ...]:
    """Every test module of the folder, in the order of the matrix."""
    modules = [parse_module(path, path.read_text()) for path in sorted(folder.glob("test_*.py"))]
    order = list(ROWS)
    return tuple(sorted(modules, key=lambda module: (order.index(module.rows[0]), module.path.name)))


def render(modules: tuple[AttackModule, ...]) -> str:
    """The whole page as Markdown."""
    lines = [
        "# The attacks we play",
        "",
        "Generated from the tests under `tests/attacks/` by `make docs`. Each test plays the cheat with the real",
        "components and asserts who notices, without the cheating party's help, and what they see. The control beside",
        "it proves that the honest run passes.",
    ]
    for letter, group in GROUPS.items():
        lines += ["", f"## {group}", "", "| row | cheat | noticed by | what they see |", "|---|---|---|---|"]
        for row, title in ROWS.items():
            if row.startswith(letter):
                lines += _table_rows(row, title, modules)
    lines += ["", "## Tests"]
    for module in modules:
        lines += ["", f"### {', '.join(module.rows)} {module.title}", "", f"`tests/attacks/{module.path.name}`", ""]
        lines += [f"- attack: {case.told}" for case in module.attacks]
        lines += [f"- control: {case.told}" for case in module.controls]
    return "\n".join(lines) + "\n"


def _table_rows(row: str, title: str, modules: tuple[AttackModule, ...]) -> list[str]:
    played = [module for module in modules if row in module.rows]
    if not played:
        return [f"| {row} | {title} | not played yet | |"]
    return [
        f"| {row} | {_cell(module.title)}: {_cell(module.cheat)} | {_cell(module.noticed_by)} | {_cell(module.seen)} |"
        for module in played
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; returns the exit code."""
    try:
        text = render(read_modules(TESTS))
    except ConventionError as error:
        print(error, file=sys.stderr)
        return 1
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print("docs/attacks.md is not up to date; run: make docs", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
