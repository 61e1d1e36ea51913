"""A peer that is away, and comes back: nothing is acknowledged that only one site holds, and nothing is lost."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from glasshouse_verify.region import Mode, Shortage
from ledgers import until
from sites import Ground, clear, declared, honoured, put, running_site, same_journals

from glasshouse.regions import intake as intake_module
from glasshouse.regions.errors import Short
from glasshouse.regions.journal import Kind, Note
from glasshouse.regions.replication import Countersigned, Receipts, Replicator
from glasshouse.storage.db import Database
from glasshouse.storage.errors import DatabaseUnavailable

LARGE = 3 << 20


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_a_site_that_was_away_catches_up(ground: Ground, database: Database, other_database: Database) -> None:
    clear(database)
    clear(other_database)
    with running_site(ground, "zurich-1", database) as one:
        with running_site(ground, "zurich-2", other_database):
            until(lambda: one.intake.replication.able)
            receipts = [one.upload(b"while both are there").receipt]
        until(lambda: not one.intake.replication.able)
        with pytest.raises(Short):
            one.upload(b"while one is away")
        for count in range(20):
            one.loop.run(one.intake.append(Note(kind=Kind.COUNTERS, body={"received": count + 1, "refused": 0})))
        with running_site(ground, "zurich-2", other_database) as other:
            until(lambda: one.intake.replication.able)
            receipts.append(one.upload(b"while one is away").receipt)
            until(lambda: same_journals(one, other))
            assert all(honoured(receipt, one, other) for receipt in receipts)


@pytest.mark.parametrize("mode", list(Mode))
def test_what_was_committed_before_a_peer_fell_out_reaches_it_later(
    tmp_path: Path, database: Database, other_database: Database, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    ground = Ground(tmp_path, custody=mode)
    contents = [os.urandom(size) for size in (10, 70_000, LARGE)]
    clear(database)
    clear(other_database)
    with running_site(ground, "zurich-1", database) as one:
        # As if the peer were there, and fell out between the commit and the batch.
        monkeypatch.setattr(type(one.intake.replication), "able", True)
        monkeypatch.setattr(one.intake, "send", lambda *_: None)
        monkeypatch.setattr(intake_module, "PATIENCE_SECONDS", 0.5)
        for content in contents:
            with pytest.raises(Short):
                one.upload(content)
        monkeypatch.undo()
        assert one.rows("select count(*) from regions.object where signatures is null") == [(3,)]
    with (
        running_site(ground, "zurich-1", database) as one,
        running_site(ground, "zurich-2", other_database) as other,
    ):
        until(lambda: one.intake.replication.able)
        for content in contents:
            stored = one.upload(content)
            assert not stored.created
            assert honoured(stored.receipt, one, other)
        assert one.rows("select count(*) from regions.object where transfer is not null") == [(0,)]


def test_a_charter_that_says_wait_holds_uploads_until_the_peer_is_back(
    tmp_path: Path, database: Database, other_database: Database
) -> None:
    ground = Ground(tmp_path, when_short=Shortage.WAIT)
    clear(database)
    clear(other_database)
    with running_site(ground, "zurich-1", database) as one:
        waiting = asyncio.run_coroutine_threadsafe(put(one.intake, declared(b"patient"), b"patient"), one.loop.loop)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        with running_site(ground, "zurich-2", other_database) as other:
            assert honoured(waiting.result(30).receipt, one, other)


def test_nothing_is_written_down_after_what_could_not_be(
    ground: Ground, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that follows is pushed again, too, and that takes the data keys that are wiped when it is written down."""
    clear(database)
    receipts, tried = Receipts(ground.place("zurich-1", database)), []

    def fail(_: str, batches: Sequence[Countersigned], *, drop: bool) -> None:
        tried.extend(batch.after for batch in batches)
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr(receipts, "write_down", fail)
    credentials = ground.credentials("zurich-1")
    replicator = Replicator(ground.place("zurich-1", database), receipts, "zurich-2", credentials)
    replicator._write_down(Countersigned(after=0, position=1, complete={}))
    replicator.settle()
    with pytest.raises(DatabaseUnavailable):
        replicator._write_down(Countersigned(after=1, position=2, complete={}))
    replicator.settle()
    assert tried == [0]


def test_one_site_alone_where_the_charter_asks_for_one(tmp_path: Path, database: Database) -> None:
    ground = Ground(tmp_path, replicas=1, names=("zurich-1",))
    clear(database)
    with running_site(ground, "zurich-1", database) as one:
        stored = one.upload(b"alone")
        assert honoured(stored.receipt, one)
        assert one.upload(b"alone").receipt == stored.receipt
