"""The surveyor against a real ledger: epochs are logged with their deltas, whatever was interrupted, and once."""

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.dsse import parse_envelope, statement_id
from glasshouse_verify.note import parse_note
from glasshouse_verify.receipt import Inventory
from glasshouse_verify.statement import parse_statement
from ledgers import LedgerNode, ledger_node, until
from region_world import DAY
from surveyed import Pair, surveyed

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError, NotThere
from glasshouse.regions.surveying import Surveyor
from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        yield found


@pytest.fixture
def ledger(database: Database, tmp_path: Path) -> Iterator[LedgerNode]:
    with ledger_node(database, tmp_path / "ledger", f"{tmp_path.name}.example") as node:
        yield node


def surveyor(pair: Pair, url: str, at: int = 0) -> Surveyor:
    site = pair.sites[at]
    return Surveyor(site.place, site.intake.committer.append, ledger=lambda: url)


def logged(ledger: LedgerNode) -> list[Inventory]:
    with LedgerClient(ledger.url) as client:
        try:
            size = parse_checkpoint(parse_note(client.checkpoint()).text).size
        except NotThere:
            return []
        return [parse_statement(parse_envelope(entry).payload).predicate for entry in client.entries(0, size)]


def test_both_sites_log_what_they_close(pair: Pair, ledger: LedgerNode) -> None:
    pair.upload(b"mine")
    until(pair.caught_up, 60)
    with surveyor(pair, ledger.url) as one, surveyor(pair, ledger.url, 1) as other:
        until(lambda: len(logged(ledger)) == 2, 60)
        until(lambda: not one.inventories.unposted() and not other.inventories.unposted(), 60)
    first, second = logged(ledger)
    assert {first.site, second.site} == {"zurich-1", "zurich-2"}
    assert (first.held, first.delta) == (second.held, second.delta)
    assert first.counts.held == 1
    with LedgerClient(ledger.url) as client:
        assert sha256(client.blob(first.delta)).hexdigest() == first.delta


def test_what_was_interrupted_is_done_again(pair: Pair, ledger: LedgerNode) -> None:
    """A ledger that is away; an entry that was logged before the site could note it; a delta that was not stored."""
    pair.upload(b"mine")
    until(pair.caught_up, 60)
    away = surveyor(pair, "http://127.0.0.1:9")
    with pytest.raises(LedgerError):
        away.step()
    (found,) = away.inventories.unposted()
    with LedgerClient(ledger.url) as client:
        client.add(found.entry)
        until(lambda: client.lookup(statement_id(parse_envelope(found.entry).payload)), 60)
    again = surveyor(pair, ledger.url)
    until(lambda: not again.step() and not again.inventories.unposted(), 60)
    assert len(logged(ledger)) == 1
    with LedgerClient(ledger.url) as client:
        assert client.blob(logged(ledger)[0].delta) == found.delta


def test_the_clock_decides(pair: Pair, ledger: LedgerNode) -> None:
    moments = [float(int(time.time()))]
    site = pair.sites[0]
    one = Surveyor(site.place, site.intake.committer.append, ledger=lambda: ledger.url, clock=lambda: moments[-1])
    one.step()
    assert one.inventories.last().epoch == 1
    moments.append(moments[0] + DAY // 2)
    one.step()
    assert one.inventories.last().epoch == 1
    moments.append(moments[0] + DAY)
    one.step()
    assert one.inventories.last().epoch == 2
