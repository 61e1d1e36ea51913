"""What the demo has to show, by chapter: what was proven, which cheats were played, how long it took.

The record lies in the stage as `record.json`, so that the report covers all chapters of a stage, also those of an
earlier run, and so that a later run knows what the stage has seen.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from glasshouse.storage import files

SCHEMA = "glasshouse.demo-record/v1"
FILE = "record.json"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Something proven: about what (a shipped file's name, or words), by whom, and the command that shows it again.

    `topic` is one of the gate's claims, or a word or two that say what it is about.
    """

    about: str
    claim: str
    by: str
    how: str
    topic: str = ""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Who noticed a cheat, and what they saw; `caught` is what the check of it came to, `exit` a command's code."""

    caught: bool
    by: str
    seen: str
    exit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Played:
    """A cheat as it went: its name, its row in the attack matrix, its title, and what was seen."""

    name: str
    row: str
    title: str
    caught: bool
    by: str
    seen: str
    exit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Where a receipt says that a country's data lies: a site, and the country that the site stands in."""

    country: str
    site: str
    jurisdiction: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """A chapter as it went; `began` is Unix time, `seconds` wall time."""

    name: str
    title: str
    began: int
    seconds: float
    proven: tuple[Proof, ...] = ()
    played: tuple[Played, ...] = ()
    placed: tuple[Placed, ...] = ()


@dataclass
class Record:
    """All chapters told on a stage, by name; `under_way` is the one being told, or the one that failed."""

    touched: int = field(default_factory=lambda: int(time.time()))
    told: dict[str, Told] = field(default_factory=dict)
    under_way: str | None = None

    def begin(self, name: str, root: Path) -> None:
        """Note that a chapter begins."""
        self.under_way = name
        self.save(root)

    def end(self, told: Told, root: Path) -> None:
        """Note what a chapter had to show; cheats that an earlier telling played and this one did not are kept."""
        before = self.told.pop(told.name, None)
        if before is not None:
            names = {played.name for played in told.played}
            told = replace(told, played=(*(p for p in before.played if p.name not in names), *told.played))
        self.told[told.name] = told
        self.under_way = None
        self.save(root)

    def save(self, root: Path) -> None:
        """Write the record into a stage's directory."""
        self.touched = int(time.time())
        files.write(root / FILE, json.dumps({"schema": SCHEMA, "edition": edition(), **asdict(self)}).encode())


@cache
def edition() -> str:
    """Which edition of the demo this is: the digest of its own files."""
    here = sorted(path for path in Path(__file__).parent.iterdir() if path.is_file())
    return sha256(b"".join(sha256(path.read_bytes()).digest() for path in here)).hexdigest()


def load_record(root: Path) -> Record | None:
    """The record of the stage in a directory; None where there is none, or another edition of the demo made it."""
    try:
        document: dict[str, Any] = json.loads((root / FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    if (document.pop("schema", None), document.pop("edition", None)) != (SCHEMA, edition()):
        return None
    told = {name: _told(one) for name, one in document.pop("told").items()}
    return Record(told=told, **document)


def _told(document: dict[str, Any]) -> Told:
    proven: Iterable[dict[str, Any]] = document.pop("proven")
    played: Iterable[dict[str, Any]] = document.pop("played")
    placed: Iterable[dict[str, Any]] = document.pop("placed")
    return Told(
        **document,
        proven=tuple(Proof(**p) for p in proven),
        played=tuple(Played(**p) for p in played),
        placed=tuple(Placed(**p) for p in placed),
    )
