"""What a node's workers do. A job is called again and again; it says whether there was something to do."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeAlias

from glasshouse_verify.statement import Use, make_statement

from glasshouse.cli.wiring import Session
from glasshouse.conveyor.origin import default_origins
from glasshouse.conveyor.store import Store, http_client
from glasshouse.parties.node import Node
from glasshouse.parties.signer import sign_statement
from glasshouse.supervision.auditor import Auditor
from glasshouse.supervision.rebuilder import Workshop, awaiting, rebuild_release

_LOG = logging.getLogger("glasshouse")
REBUILD_KEY = "rebuild"
AUDIT_KEY = "audit"


Job: TypeAlias = Callable[[], bool]


def rebuilding(session: Session) -> Job:
    """The rebuilder's turn: rebuild the oldest release that waits for this party, and log the verdict."""

    def turn() -> bool:
        history = session.follow()
        record = next(awaiting(history, session.node.settings.party), None)
        if record is None:
            return False
        name = f"{record.predicate.product} {record.predicate.version}"
        _LOG.info("rebuilding %s", name)
        with open_workshop(session.node) as workshop:
            outcome = rebuild_release(history, record, workshop, session.client.blob, int(time.time()))
            payload = make_statement(Use.REBUILD, outcome.rebuild)
            session.post(sign_statement(payload, workshop.signer), outcome.blobs)
        _LOG.info("%s: %s %s", name, outcome.rebuild.verdict, outcome.rebuild.explanation)
        return True

    return turn


@contextmanager
def open_workshop(node: Node) -> Iterator[Workshop]:
    """The rebuilder's workshop of a node."""
    with http_client() as client, node.agent(REBUILD_KEY) as signer:
        origins = default_origins(client)
        if node.settings.mirrors.debian is not None:
            origins = replace(origins, mirrors={**origins.mirrors, "debian": node.settings.mirrors.debian})
        yield Workshop(
            party=node.settings.party,
            signer=signer,
            identity=node.identity_path,
            store=Store(node.cache / "downloads"),
            origins=origins,
            roots=node.cache / "roots",
            scratch=node.data / "rebuild",
        )


def auditing(session: Session) -> Job:
    """The auditor's turn: take in what the ledger has gained, log what follows from it."""
    node = session.node
    auditor = Auditor(
        node.settings.party,
        node.signer(AUDIT_KEY),
        session.view,
        session.history,
        proposes=node.settings.auditor is not None and node.settings.auditor.proposes,
        has_blob=session.client.has_blob,
    )

    newest = -1

    def turn() -> bool:
        nonlocal newest
        # Until it has seen its own words published, an auditor would say them again under another time.
        if session.follow().size <= newest:
            return False
        postings = auditor.step(int(time.time()))
        for posting in postings:
            newest = max(newest, session.post(posting.envelope, posting.blobs))
            _LOG.info("logged entry %d", newest)
        return bool(postings)

    return turn
