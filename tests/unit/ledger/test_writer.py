import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from glasshouse_verify.tlog import leaf_hash
from ledgers import StillLog, still_log, until
from notary import Notary

from glasshouse.ledger import writer as writer_module
from glasshouse.ledger.admission import OpenAdmission
from glasshouse.ledger.errors import (
    Busy,
    EntryRefused,
    EntryTooLong,
    LogExists,
    LogMissing,
    NotAdmitted,
    WriterConflict,
)
from glasshouse.ledger.log import (
    CHECKPOINT_KEY,
    create_log,
    enqueue,
    find_index,
    open_log,
    read_entries,
    read_head,
)
from glasshouse.ledger.writer import NewEntry, Sequencer, Writer, new_entry
from glasshouse.storage.db import Database
from glasshouse.storage.errors import DatabaseUnavailable
from glasshouse.storage.objects import DirectoryStore

OPEN = OpenAdmission()


@pytest.fixture
def still(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> StillLog:
    return still_log(database, tmp_path, f"writer.example/{request.node.name}")


def entries(*texts: bytes) -> list[NewEntry]:
    return [new_entry(text, OPEN) for text in texts]


def stored(still: StillLog) -> list[bytes]:
    return [entry.data for entry in read_entries(still.database, still.log, 0, 1_000_000)]


def test_identical_bytes_have_one_index(still: StillLog) -> None:
    assert still.sequence(b"a", b"b", b"a") == (0, 1, 0)
    assert still.sequence(b"c", b"b") == (2, 1)
    assert stored(still) == [b"a", b"b", b"c"]
    assert read_head(still.database, still.log).sequenced == 3
    assert find_index(still.database, still.log, leaf_hash(b"b")) == 1
    assert find_index(still.database, still.log, leaf_hash(b"z")) is None


def test_many_threads_get_gapless_indexes(still: StillLog) -> None:
    with Sequencer(still.database, still.log, OPEN) as sequencer, ThreadPoolExecutor(32) as pool:

        def post(number: int) -> int:
            (index,) = sequencer.submit(entries(b"%d" % (number % 500))).result(20)
            return index

        given = list(pool.map(post, range(1000)))
    assert sorted(set(given)) == list(range(500))
    assert given[:500] == given[500:]
    assert [b"%d" % n for n in range(500)] == [stored(still)[given[n]] for n in range(500)]


def test_there_is_one_writer(still: StillLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "LOCK_PATIENCE_SECONDS", 0.1)
    first = Writer(still.database, still.log)
    with pytest.raises(WriterConflict):
        Writer(still.database, still.log)
    first.close()
    Writer(still.database, still.log).close()


def test_a_lost_connection_is_replaced_with_the_lock_taken_again(still: StillLog) -> None:
    writer = Writer(still.database, still.log)
    writer.sequence(entries(b"a"))
    with still.database.transaction() as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = %s", (still.log.id,)
        )
    with pytest.raises(DatabaseUnavailable):
        writer.sequence(entries(b"b"))
    assert writer.sequence(entries(b"b")).indexes == (1,)
    writer.close()


def test_too_much_waiting_is_pushed_back(still: StillLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_WAITING_ENTRIES", 3)
    sequencer = Sequencer(still.database, still.log, OPEN)
    futures = [sequencer.submit(entries(b"a", b"b")), sequencer.submit(entries(b"c"))]
    with pytest.raises(Busy, match="3 entries are waiting"):
        sequencer.submit(entries(b"d"))
    with sequencer:
        assert [future.result(10) for future in futures] == [[0, 1], [2]]
        assert sequencer.submit(entries(b"d")).result(10) == [3]
    with pytest.raises(Busy, match="stopping"):
        sequencer.submit(entries(b"e"))


def test_stopping_writes_what_waits(still: StillLog) -> None:
    with Sequencer(still.database, still.log, OPEN) as sequencer:
        futures = [sequencer.submit(entries(b"%d" % n)) for n in range(100)]
    assert sorted(future.result(0)[0] for future in futures) == list(range(100))


class _Watcher(OpenAdmission):
    def __init__(self) -> None:
        self.seen: list[tuple[int, bytes]] = []

    def admit(self, entry: bytes) -> frozenset[bytes]:
        if entry.startswith(b"no"):
            raise NotAdmitted("nobody signed this", field="entry", fix="sign it")
        return frozenset()

    def observe(self, index: int, entry: bytes) -> None:
        self.seen.append((index, entry))


def test_every_entry_is_observed_once_also_those_whose_answer_was_lost(still: StillLog) -> None:
    watcher = _Watcher()
    sequencer = Sequencer(still.database, still.log, watcher)
    # As if a commit had succeeded and its answer had not arrived.
    sequencer._writer.sequence(entries(b"lost"))
    with sequencer:
        assert sequencer.submit(entries(b"a", b"a", b"lost")).result(10) == [1, 1, 0]
        assert sequencer.submit(entries(b"a", b"b")).result(10) == [1, 2]
    assert watcher.seen == [(0, b"lost"), (1, b"a"), (2, b"b")]


def test_the_outbox_goes_with_the_callers_transaction(still: StillLog) -> None:
    watcher = _Watcher()
    with Sequencer(still.database, still.log, watcher):
        enqueue(still.database, still.log, b"one")
        enqueue(still.database, still.log, b"no, never")
        with still.database.transaction() as connection:
            connection.execute("select ledger.enqueue(%s, %s)", (still.log.origin, b"rolled back"))
            connection.rollback()
        with still.database.transaction() as connection:
            connection.execute("select ledger.enqueue(%s, %s)", (still.log.origin, b"two"))
        until(lambda: len(watcher.seen) == 2)
    assert watcher.seen == [(0, b"one"), (1, b"two")]
    with still.database.transaction() as connection:
        rows = connection.execute(
            "select data, refused from ledger.outbox where log_id = %s", (still.log.id,)
        ).fetchall()
    assert rows == [(b"no, never", "nobody signed this")]
    with pytest.raises(psycopg.errors.RaiseException, match="no log of the origin"), still.database.transaction() as c:
        c.execute("select ledger.enqueue('nowhere', 'x')")


@pytest.mark.parametrize(("size", "error"), [(0, EntryRefused), (65_536, EntryTooLong), (1, None), (65_535, None)])
def test_the_length_of_an_entry(size: int, error: type[Exception] | None) -> None:
    if error is None:
        assert new_entry(b"x" * size, OPEN).leaf == leaf_hash(b"x" * size)
    else:
        with pytest.raises(error):
            new_entry(b"x" * size, OPEN)


def test_a_log_is_created_once_and_never_by_opening(still: StillLog, tmp_path: Path) -> None:
    assert open_log(still.database, still.log.origin) == still.log
    with pytest.raises(LogExists, match="never reused"):
        create_log(still.database, DirectoryStore(tmp_path / "other"), still.notary.key)
    with pytest.raises(LogMissing, match=r"no log of the origin 'other\.example'"):
        open_log(still.database, "other.example")
    still.store.put(CHECKPOINT_KEY, b"of another database")
    with pytest.raises(LogExists, match="needs an empty store"):
        create_log(still.database, still.store, Notary("writer.example/new").key)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("delete from ledger.log where log_id = {0}", "never deleted"),
        ("update ledger.log set sequenced = 1 where log_id = {0}", "never shrinks"),
        ("update ledger.log set origin = 'x' where log_id = {0}", "never changes its origin"),
        ("update ledger.log set signed_size = 0 where log_id = {0}", "never signs a smaller tree"),
        ("update ledger.log set signed_root = sha256('x') where log_id = {0}", "two trees of one size"),
        ("update ledger.entry set data = 'x' where log_id = {0} and index = 0", "only appended"),
        ("delete from ledger.entry where log_id = {0}", "only appended"),
    ],
)
def test_the_database_itself_keeps_a_log_growing(database: Database, tmp_path: Path, statement: str, says: str) -> None:
    still = still_log(database, tmp_path, f"writer.example/grows/{statement}".replace(" ", "_"))
    still.sequence(b"a", b"b")
    still.step()
    with pytest.raises(psycopg.errors.RaiseException, match=says), database.transaction() as connection:
        connection.execute(statement.format(still.log.id).encode())


def test_a_group_that_fails_tells_every_caller(still: StillLog, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sequencer(still.database, still.log, OPEN) as sequencer:
        gate = threading.Event()
        real = sequencer._writer.sequence

        def refuse(group: list[NewEntry]) -> None:
            gate.wait(10)
            raise DatabaseUnavailable("the database does not answer")

        monkeypatch.setattr(sequencer._writer, "sequence", refuse)
        futures = [sequencer.submit(entries(b"%d" % n)) for n in range(3)]
        gate.set()
        for future in futures:
            with pytest.raises(DatabaseUnavailable):
                future.result(10)
        monkeypatch.setattr(sequencer._writer, "sequence", real)
        assert sequencer.submit(entries(b"1")).result(10) == [0]
