"""L8 An index promised and never integrated.

Cheat: the log acknowledges a negative verdict with an index and drops it, or gives its index to another entry, so that
    the claim is never seen although nobody refused it.
Noticed by: the party that was promised the index, from its own view of the witnessed tree.
Seen: its worker stops with the promise that was broken, which stays on record through restarts.
"""

from pathlib import Path

import pytest
from ledgers import ledger_node, policy_of, served, witness_node, witnessing_of
from notary import Notary
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import PromiseBroken
from glasshouse.ledger.promises import PATIENCE_SECONDS, Promises
from glasshouse.ledger.server import ledger_routes
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database

NOW = 1_800_000_000


def dropping(running: object, spool: Path) -> Starlette:
    """The real ledger, except that it answers for entries which it drops."""

    async def add(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("1\n")

    return Starlette(routes=[Route("/add", add, methods=["POST"]), *ledger_routes(running, spool=spool)])  # type: ignore[arg-type]


def test_attack_an_entry_acknowledged_and_dropped(database: Database, tmp_path: Path) -> None:
    log = Notary("dropping.example/log").key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as witness,
        ledger_node(database, tmp_path, log.name, witnessing=witnessing_of(log, witness)) as node,
        served(dropping(node.running, tmp_path / "spool")) as url,
        LedgerClient(node.url) as honest,
        LedgerClient(url) as dropped,
        View(tmp_path / "view", policy_of(log, witness)) as view,
    ):
        honest.add(b"release 1.0")
        node.published(1)
        promises = Promises(tmp_path / "promises")
        promises.keep(dropped.add(b"release 1.0 differs"), b"release 1.0 differs", NOW)
        view.update(dropped)
        promises.settle(view, NOW + PATIENCE_SECONDS)
        with pytest.raises(PromiseBroken, match="promised index 1"):
            Promises(tmp_path / "promises").settle(view, NOW + PATIENCE_SECONDS + 1)


def test_attack_an_index_given_to_another_entry(database: Database, tmp_path: Path) -> None:
    log = Notary("swapping.example/log").key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as witness,
        ledger_node(database, tmp_path, log.name, witnessing=witnessing_of(log, witness)) as node,
        served(dropping(node.running, tmp_path / "spool")) as url,
        LedgerClient(node.url) as honest,
        LedgerClient(url) as dropped,
        View(tmp_path / "view", policy_of(log, witness)) as view,
    ):
        promises = Promises(tmp_path / "promises")
        promises.keep(dropped.add(b"release 1.0 differs"), b"release 1.0 differs", NOW)
        honest.add(b"release 1.0")
        honest.add(b"release 1.1")
        node.published(2)
        view.update(dropped)
        for _ in range(2):
            with pytest.raises(PromiseBroken, match="shows another there"):
                promises.settle(view, NOW + 1)


def test_control_a_promise_kept(database: Database, tmp_path: Path) -> None:
    log = Notary("keeping.example/log").key
    with (
        witness_node(tmp_path / "w1", "w1.example", [log]) as witness,
        ledger_node(database, tmp_path, log.name, witnessing=witnessing_of(log, witness)) as node,
        LedgerClient(node.url) as client,
        View(tmp_path / "view", policy_of(log, witness)) as view,
    ):
        promises = Promises(tmp_path / "promises")
        promises.keep(client.add(b"release 1.0 differs"), b"release 1.0 differs", NOW)
        promises.settle(view, NOW + PATIENCE_SECONDS)
        node.published(1)
        view.update(client)
        promises.settle(view, NOW + 10 * PATIENCE_SECONDS)
        assert list((tmp_path / "promises").iterdir()) == []
