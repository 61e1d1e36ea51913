"""What a rule sees and what it says."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from glasshouse.ledger.history import History
from glasshouse.supervision.erasures import Erased


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The judged ledger and the time (Unix seconds); of blobs by digest, whether one can be had, and what it holds.

    `document` gives the content of a small blob, `blob` that of any, None where it cannot be had. `judged` keeps, by
    statement, the alarms of a rule that reads large blobs: what is said there of a statement never changes. `rows` are
    the faults that an own copy of all regions' rows shows (`inventories.Books`), by the inventory that brought them;
    `erasures` what these say of erasures.
    """

    history: History
    now: int
    has_blob: Callable[[str], bool]
    document: Callable[[str], bytes | None]
    blob: Callable[[str], bytes | None]
    judged: dict[str, "tuple[Alarm, ...]"] = field(default_factory=dict)
    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    erasures: Mapping[str, Erased] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A broken rule: what it is about (digests, at least one) and a sentence for people.

    `text` says the same thing each time the same state is seen, so that an alarm is logged once.
    """

    about: tuple[str, ...]
    text: str


Check: TypeAlias = Callable[[Scene], Iterable[Alarm]]
