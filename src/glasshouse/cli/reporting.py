"""The custodian's worker: puts into the ledger what it refused, what has ended, and how many data keys it opened."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from glasshouse_verify.access import Access, Step
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.statement import Use, make_statement

from glasshouse.cli.wiring import Session
from glasshouse.cli.working import Job
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import CustodySettings, Node
from glasshouse.parties.signer import sign_statement
from glasshouse.regions.access import Accesses
from glasshouse.regions.custody import Custodian
from glasshouse.regions.custody_reports import ended_accesses, refusals_to_log, tallies_to_log
from glasshouse.regions.grants import LedgerGrants
from glasshouse.storage import files

PURPOSE = "custody"


@dataclass(frozen=True, kw_only=True)
class Reported:
    """A statement that was sent to the ledger, and its entry."""

    access: Access
    entry: int


class Outbox:
    """Statements on their way to the ledger, on disk until it shows them: what a crash interrupts is sent once more.

    Sent twice, a statement counts once. So whoever computes the next from what the ledger shows never counts twice.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._directory = session, session.place / "outgoing"
        self._sent: set[str] = set()
        files.make_directory(self._directory, mode=0o700)

    def send(self, envelope: Envelope) -> int:
        """Log a statement; its entry."""
        name = statement_id(envelope.payload)
        files.create(self._directory / name, format_envelope(envelope))
        self._sent.add(name)
        return self._session.post(envelope)

    def settle(self) -> bool:
        """Whether the ledger shows everything that was sent; what an earlier process left is sent again."""
        waiting = False
        for path in sorted(self._directory.glob("*")):
            if files.is_temporary(path):
                continue
            if path.name in self._session.history.records:
                path.unlink(missing_ok=True)
                continue
            waiting = True
            if path.name not in self._sent:
                self._sent.add(path.name)
                self._session.post(parse_envelope(path.read_bytes()))
        return not waiting


def report(session: Session, custodian: Custodian, outbox: Outbox, *, tally: bool) -> list[Reported] | None:
    """Log what there is to say now, with `tally` the counts too; None while the ledger does not show what was sent."""
    history, party, now = session.follow(), session.node.settings.party, int(time.time())
    if not outbox.settle():
        return None
    accesses = Accesses(history)
    said = [*refusals_to_log(custodian, accesses, party), *ended_accesses(custodian, accesses, party, now)]
    if tally:
        said += tallies_to_log(custodian, accesses, party, now)
    if not said:
        return []
    signer = session.signer(PURPOSE)
    return [
        Reported(access=access, entry=outbox.send(sign_statement(make_statement(Use.ACCESS, access), signer)))
        for access in said
    ]


def reporting(session: Session) -> Job:
    """The custodian's turn: refusals and ends at once, tallies at the interval that its settings name."""
    node, settings = session.node, settings_of(session.node)
    custodian = books_of(session)
    outbox = Outbox(session)

    def turn() -> bool:
        with alone(node):
            return bool(report(session, custodian, outbox, tally=is_due()))

    def is_due() -> bool:
        party = node.settings.party
        said = [r.predicate.time for r in Accesses(session.history).of(Step.TALLY) if r.predicate.party == party]
        return time.time() - max(said, default=0) >= settings.tally_seconds

    return turn


def settings_of(node: Node) -> CustodySettings:
    """The custodian's settings; raises SettingsError for another node."""
    if node.settings.custody is None:
        raise SettingsError("node.toml", "is not of a custodian", "Run this in a node with a table [custody].")
    return node.settings.custody


def books_of(session: Session) -> Custodian:
    """The custodian's counts, beside the process that answers sites: it opens nothing itself."""
    party = session.node.settings.party
    grants = LedgerGrants(session.follow, custodian=party)
    return Custodian(session.node.data / "custody.sqlite3", party=party, keys=(), grants=grants, jobs=())


@contextmanager
def alone(node: Node) -> Iterator[None]:
    """One process at a time reports: two that compute the same tally would both log it."""
    descriptor = os.open(node.data / "reports.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
