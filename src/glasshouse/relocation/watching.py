"""The watch over a site that was left: canaries try it again and again, and every one of them must fail.

    watch    what was refused so far, by kind, and apart from it what could not be tried: once a day, and at the end
    alarm    at once, when something succeeded; again for the same way in only after it was closed meanwhile

What was counted is on disk before anything is said, and a success until it was said: after a crash the watch goes on,
and says nothing less. It begins with the first erasure, and ends after the seconds that the charter has.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.relocation import Fault, Relocation, Step

from glasshouse.relocation.canaries import Canary, Outcome
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import InvalidInput
from glasshouse.storage import files

EVERY_SECONDS = 3_600
SAID_SECONDS = 86_400
UNREACHED = "-unreached"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one turn did: whether it tried anything, what succeeded, what it said, and whether the watch has ended."""

    tried: bool
    faults: tuple[Fault, ...]
    said: tuple[Step, ...]
    ended: bool


@dataclass
class _State:
    tried: dict[str, int] = field(default_factory=dict)
    last: int = 0
    # Ways in that were open when they were tried last, and what of that has not been said yet.
    sounding: list[str] = field(default_factory=list)
    unsaid: list[dict[str, str]] = field(default_factory=list)


class Watch:
    """Watches for one party, the supervisor; its state is a file of this node. One thread at a time."""

    def __init__(
        self, canaries: Sequence[Canary], state: Path, *, party: str, every_seconds: int = EVERY_SECONDS
    ) -> None:
        if not canaries:
            raise InvalidInput("canaries", "there are none", "Name a store, an intake or a peer to be tried.")
        self._canaries, self._path, self._party, self._every = canaries, state, party, every_seconds

    def turn(self, course: Callable[[], Course], say: Callable[[Relocation], object], now: int) -> Turn:
        """Try what is due at Unix time `now`, and say what is due: call it again and again.

        `course` gives the move as the ledger has it, `say` logs a statement and returns once it stands. Raises NotYet
        before the erasure, InvalidInput for a party that is not the supervisor.
        """
        there = course()
        there.before(Step.WATCH, self._party, there.moving.site, now)
        if there.is_watched:
            return Turn(tried=False, faults=(), said=(), ended=True)
        state = self._load(there)
        until = _until(there)
        due = now >= state.last + self._every or now >= until
        if due:
            self._try(state, there, now)
        faults = tuple(_fault(told) for told in state.unsaid)
        said: list[Step] = []
        if faults:
            say(self._statement(there, Step.ALARM, now, faults=faults))
            state.unsaid.clear()
            self._save(state)
            said.append(Step.ALARM)
            there = course()
        since = there.last(Step.WATCH) or there.records(Step.ERASURE)[0]
        if now >= until or now - since.predicate.time >= SAID_SECONDS:
            tried = {Identifier(kind): count for kind, count in state.tried.items()}
            say(self._statement(there, Step.WATCH, now, site=there.moving.site, tried=tried, until=until))
            said.append(Step.WATCH)
        return Turn(tried=due, faults=faults, said=tuple(said), ended=now >= until)

    def _try(self, state: _State, course: Course, now: int) -> None:
        for canary in self._canaries:
            came = canary.attempt()
            if came.outcome == Outcome.SUCCEEDED:
                if canary.kind not in state.sounding:
                    state.sounding.append(canary.kind)
                    told = {"site": str(course.moving.site), "text": f"{canary.kind}: {came.text}"}
                    state.unsaid.append(told if came.handle is None else {**told, "handle": came.handle})
                continue
            kind = canary.kind if came.outcome == Outcome.REFUSED else f"{canary.kind}{UNREACHED}"
            state.tried[kind] = state.tried.get(kind, 0) + 1
            if came.outcome == Outcome.REFUSED and canary.kind in state.sounding:
                state.sounding.remove(canary.kind)
        state.last = now
        self._save(state)

    def _statement(self, course: Course, step: Step, now: int, **members: object) -> Relocation:
        return Relocation(
            party=Identifier(self._party),
            region=Identifier(str(course.region)),
            relocation=Identifier(course.id),
            step=step,
            time=now,
            previous=course.before(step, self._party, course.moving.site, now),
            **members,  # type: ignore[arg-type]
        )

    def _load(self, course: Course) -> _State:
        """What is on disk; where nothing is, what this party has said last."""
        try:
            return _State(**json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            last = course.last(Step.WATCH)
            return _State(tried={} if last is None else {str(k): n for k, n in (last.predicate.tried or {}).items()})
        except (TypeError, ValueError) as error:
            fix = "Remove it: the watch goes on with what stands in the ledger."
            raise InvalidInput(str(self._path), f"is no state of a watch: {error}", fix) from error

    def _save(self, state: _State) -> None:
        files.make_directory(self._path.parent, mode=0o700)
        files.write(self._path, json.dumps(state.__dict__).encode(), mode=0o600)


def _until(course: Course) -> int:
    began: int = course.records(Step.ERASURE)[0].predicate.time
    return began + course.moving.watch


def _fault(told: dict[str, str]) -> Fault:
    handle = Digest(told["handle"]) if "handle" in told else None
    return Fault(site=Identifier(told["site"]), text=Text(told["text"]), handle=handle)
