"""A node that takes part in a move: its view of the ledger, its key, and how it says a step."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.statement import Use, make_statement
from rich.console import Console

from glasshouse.cli.beside import wait_for
from glasshouse.cli.wiring import Session, open_session
from glasshouse.ledger.errors import Unavailable as LedgerAway
from glasshouse.parties.errors import KeyUnavailable, SettingsError
from glasshouse.parties.signer import Signer, sign_statement
from glasshouse.regions.errors import Unavailable as SiteAway
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet, Unavailable
from glasshouse.storage.errors import StorageUnavailable

MoveArgument = Annotated[str, typer.Argument(metavar="MOVE", help="the move's id, as the charter has it: au-2026")]
# The purposes of keys that may sign a step, and who has them: a site, a supervisor, any other member.
_PURPOSES = ("intake", "audit", "member")
SEEN_SECONDS = 60.0
POLL_SECONDS = 1.0
# Whoever does not answer now may later.
_AWAY = (LedgerAway, SiteAway, StorageUnavailable, Unavailable)


@dataclass(frozen=True, kw_only=True)
class Said:
    """A step that was logged."""

    step: Step
    statement: str
    entry: int


@dataclass(kw_only=True)
class Mover:
    """One party's part in one move."""

    session: Session
    relocation: str
    signer: Signer

    @property
    def party(self) -> Identifier:
        """Who speaks."""
        return Identifier(self.session.node.settings.party)

    @property
    def site(self) -> Identifier:
        """Where its node stands."""
        return Identifier(self.session.node.settings.site.id)

    @property
    def place(self) -> Path:
        """Where it keeps what belongs to this move."""
        return self.session.node.data / "moves" / self.relocation

    def course(self) -> Course:
        """The move as this party's own view of the ledger has it now."""
        return Course(self.session.follow(), self.relocation)

    def say(self, course: Course, step: Step, blobs: Mapping[str, Path | bytes] | None = None, **members: Any) -> Said:
        """Log a step after those that it follows on, and wait until the witnesses have seen it.

        Raises NotYet, InvalidInput, FormatError, LedgerError.
        """
        now = int(time.time())
        site = members.get("site")
        says = Relocation(
            party=self.party,
            region=Identifier(str(course.region)),
            relocation=Identifier(self.relocation),
            step=step,
            time=now,
            previous=course.before(step, self.party, site, now),
            **members,
        )
        return self.log(says, blobs)

    def log(self, says: Relocation, blobs: Mapping[str, Path | bytes] | None = None) -> Said:
        """Log a step as it is, and wait until the witnesses have seen it."""
        payload = make_statement(Use.RELOCATION, says)
        entry = self.session.post(sign_statement(payload, self.signer), blobs)
        wait_for(lambda: self.session.follow().size > entry, SEEN_SECONDS)
        return Said(step=says.step, statement=statement_id(payload), entry=entry)


@contextlib.contextmanager
def open_mover(directory: Path, relocation: str, *, purpose: str | None = None) -> Iterator[Mover]:
    """Open a node for its part in a move. Raises KeyUnavailable where none of its keys may speak."""
    with open_session(directory, "relocation") as session:
        session.follow()
        yield Mover(session=session, relocation=relocation, signer=_signer(session, purpose))


def _signer(session: Session, purpose: str | None) -> Signer:
    node, missing = session.node, ""
    for name in (purpose,) if purpose else _PURPOSES:
        if not node.key_names(name):
            continue
        try:
            return session.signer(name)
        except KeyUnavailable as error:
            missing = str(error)
    if missing:
        raise KeyUnavailable(missing)
    fix = "Run this in the node of a site (role intake), of the supervisor (auditor) or of a member."
    raise SettingsError("node.toml", "has no key that may speak in a move", fix)


def stands(mover: Mover, course: Course, step: Step) -> bool:
    """Whether a step stands; an arrival or a reveal, that of this party."""
    if step == Step.ARRIVAL:
        return mover.site in course.arrivals
    if step == Step.REVEAL:
        return mover.party in course.reveals
    return course.last(step) is not None


def patiently(
    mover: Mover, done: Callable[[Course], bool], turn: Callable[[Course], Said], *, once: bool
) -> Said | None:
    """Take a turn as soon as what it follows on is there; None where it stands already, or with `once` cannot be taken.

    While the ledger, a site or a store does not answer it is tried again. Says on standard error what it waits for.
    """
    say, told = Console(stderr=True, log_path=False).log, ""
    while True:
        try:
            course = mover.course()
            return None if done(course) else turn(course)
        except (NotYet, *_AWAY) as error:
            if once and isinstance(error, NotYet):
                return None
            if once:
                raise
            if str(error) != told:
                told = str(error)
                say(f"waiting: {told}")
        time.sleep(POLL_SECONDS)
