"""What a node's workers do. A job is called again and again; it says whether there was something to do."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeAlias

from glasshouse_verify.statement import Use, make_statement

from glasshouse.cli.wiring import Session
from glasshouse.conveyor.deposit import Deposit
from glasshouse.conveyor.engine import ExecutorName, executor_of
from glasshouse.conveyor.errors import Unavailable
from glasshouse.conveyor.origin import default_origins
from glasshouse.conveyor.store import Store, http_client
from glasshouse.ledger.history import History, Record
from glasshouse.parties.node import Node, RebuilderSettings
from glasshouse.parties.signer import AgentSigner, sign_statement
from glasshouse.supervision.auditor import Auditor
from glasshouse.supervision.inventories import Books
from glasshouse.supervision.rebuilder import awaiting, commit_to, rebuild_release, uncommitted
from glasshouse.supervision.workshop import Unbuilt, Workshop, forget

_LOG = logging.getLogger("glasshouse")
REBUILD_KEY = "rebuild"
AUDIT_KEY = "audit"
POSTPONE_SECONDS = 60.0


Job: TypeAlias = Callable[[], bool]


def rebuilding(session: Session) -> Job:
    """The rebuilder's turn: judge the oldest release that waits for this party, else commit to the oldest source."""
    party, hopeless, postponed = session.node.settings.party, set[str](), dict[str, float]()

    def turn() -> bool:
        history = session.follow()
        if not session.caught_up:
            return False
        record = next(filter(ready, awaiting(history, party)), None)
        if record is not None:
            attempt(record, partial(judge, history, record))
            return True
        record = next(filter(ready, uncommitted(history, party)), None)
        if record is not None:
            attempt(record, partial(commit, record))
        return record is not None

    def ready(record: Record) -> bool:
        return record.id not in hopeless and postponed.get(record.id, 0.0) <= time.monotonic()

    def attempt(record: Record, work: Callable[[], None]) -> None:
        """What this machine cannot do now must not keep it from what comes after."""
        try:
            work()
        except Unavailable as error:
            _LOG.warning("%s waits: %s", record.id[:16], error)
            postponed[record.id] = time.monotonic() + POSTPONE_SECONDS

    def commit(record: Record) -> None:
        name = f"{record.predicate.product} {record.predicate.version}"
        _LOG.info("building %s, not released yet", name)
        try:
            with open_workshop(session.node, session.agent) as workshop:
                says = commit_to(record, workshop, session.client.blob, int(time.time()))
                session.post(sign_statement(make_statement(Use.COMMIT, says), workshop.signer))
        except Unbuilt as fault:
            # There is no release to give a verdict on yet; if one follows, the verdict says this.
            _LOG.info("%s: %s: %s", name, fault.verdict, fault)
            hopeless.add(record.id)

    def judge(history: History, record: Record) -> None:
        name = f"{record.predicate.product} {record.predicate.version}"
        _LOG.info("rebuilding %s", name)
        with open_workshop(session.node, session.agent) as workshop:
            outcome = rebuild_release(history, record, workshop, session.client.blob, int(time.time()))
            payload = make_statement(Use.REBUILD, outcome.rebuild)
            session.post(sign_statement(payload, workshop.signer), outcome.blobs)
            forget(record.predicate.source, workshop)
        _LOG.info("%s: %s %s", name, outcome.rebuild.verdict, outcome.rebuild.explanation)

    return turn


@contextmanager
def open_workshop(node: Node, agent: Callable[[str], AgentSigner] | None = None) -> Iterator[Workshop]:
    """The rebuilder's workshop of a node; `agent` starts the process with its key, by default with the newest."""
    agent = agent or (lambda purpose: node.agent(node.newest_key_name(purpose)))
    settings = node.settings.rebuilder or RebuilderSettings()
    with http_client() as client, agent(REBUILD_KEY) as signer:
        origins = default_origins(client, node.settings.mirrors.debian, Deposit(node.archive))
        yield Workshop(
            party=node.settings.party,
            executor=executor_of(ExecutorName(settings.executor)),
            signer=signer,
            identity=node.identity_path,
            store=Store(node.cache / "downloads"),
            origins=origins,
            roots=node.cache / "roots",
            kept=node.data / "rebuilds",
        )


def auditing(session: Session) -> Job:
    """The auditor's turn: take in what the ledger has gained, log what follows from it."""
    node = session.node
    auditor = Auditor(
        node.settings.party,
        node.signer(node.newest_key_name(AUDIT_KEY)),
        session.view,
        session.history,
        proposes=node.settings.auditor is not None and node.settings.auditor.proposes,
        has_blob=session.client.has_blob,
        get_blob=session.client.blob,
        books=Books(session.place / "books.sqlite3"),
    )

    def turn() -> bool:
        # The charter may have given this party another key since.
        auditor.signer = session.signer(AUDIT_KEY)
        postings = auditor.step(int(time.time())) if session.caught_up else []
        for posting in postings:
            _LOG.info("logged entry %d", session.post(posting.envelope, posting.blobs))
        return bool(postings)

    return turn
