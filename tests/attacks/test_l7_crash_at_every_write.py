"""L7 Crash at every write.

Cheat: none; the machine dies, or a disk or the database fails, at each single write the log makes, in both ways: the
    write was lost, or it was done and only its answer was lost.
Noticed by: the log itself when it starts again.
Seen: nothing is published that is not on disk, nothing acknowledged is missing, the tree goes on from the last signed
    one, and the finished log is byte for byte that of a run without a crash.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.note import parse_note
from ledgers import RunningWitness, StillLog, no_quorum, policy_of, still_log, witness_node, witnessing_of
from notary import Notary

from glasshouse.ledger.cosign import Witnessing
from glasshouse.ledger.errors import LogAlarm
from glasshouse.ledger.fsck import check_log
from glasshouse.storage.db import Database, Row
from glasshouse.storage.errors import DatabaseUnavailable, ObjectMissing, StorageUnavailable
from glasshouse.storage.objects import ObjectStore

GROUPS = [[b"%d" % n for n in range(start, stop)] for start, stop in ((0, 3), (3, 300), (300, 600))]


class Crash:
    """Counts writes; the one with the given number fails, before or after it is done."""

    def __init__(self, at: int, *, done: bool) -> None:
        self.at = at
        self.done = done
        self._count = itertools.count(1)

    def is_next(self) -> bool:
        # next() of a counter is one step for the interpreter: threads never draw the same number.
        return next(self._count) == self.at

    def write(self, do: Callable[[], bool | None]) -> bool:
        crashes = self.is_next()
        if crashes and not self.done:
            raise StorageUnavailable("the write was lost")
        result = do()
        if crashes:
            raise StorageUnavailable("the answer was lost")
        return bool(result)


class CrashingStore:
    """An ObjectStore whose writes may crash."""

    def __init__(self, store: ObjectStore, crash: Crash) -> None:
        self._store = store
        self._crash = crash
        self.get, self.stream, self.size, self.list = store.get, store.stream, store.size, store.list

    def put(self, key: str, data: bytes) -> None:
        self._crash.write(lambda: self._store.put(key, data))

    def create(self, key: str, data: bytes | Path) -> bool:
        return self._crash.write(lambda: self._store.create(key, data))

    def delete(self, key: str) -> None:
        self._crash.write(lambda: self._store.delete(key))


class CrashingDatabase(Database):
    """A database whose commits may crash."""

    def __init__(self, database: Database, crash: Crash) -> None:
        self._wrapped = database
        self._crash = crash

    @contextlib.contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Row]]:
        crashes = self._crash.is_next()
        with self._wrapped.transaction() as connection:
            yield connection
            if crashes and not self._crash.done:
                raise DatabaseUnavailable("the commit was lost")
        if crashes:
            raise DatabaseUnavailable("the commit's answer was lost")


def published(still: StillLog) -> int:
    try:
        return parse_checkpoint(parse_note(still.store.get("checkpoint")).text).size
    except ObjectMissing:
        return -1


def run(still: StillLog, witnessing: Witnessing, crash: Crash) -> bool:
    """The whole life of a small log with at most one crash in it; whether the crash happened."""
    acknowledged: list[bytes] = []
    crashes = 0
    for group in GROUPS:
        assert still.sequence(*group) == tuple(range(len(acknowledged), len(acknowledged) + len(group)))
        acknowledged += group
        try:
            store: ObjectStore = CrashingStore(still.store, crash)
            database = CrashingDatabase(still.database, crash)
            with still.integrator(store=store, database=database, witnessing=witnessing) as integrator:
                integrator.step()
        except StorageUnavailable:
            crashes += 1
            if published(still) >= 0:
                # What is published is complete, whatever was interrupted.
                assert check_log(still.store.get, no_quorum(still.notary.key)).sound
            with still.integrator(witnessing=witnessing) as integrator:
                integrator.step()
        assert published(still) == len(acknowledged)
    return crashes == 1


@pytest.fixture
def reference(database: Database, memory_path: Path, request: pytest.FixtureRequest) -> StillLog:
    """The same log without a crash."""
    still = still_log(database, memory_path / request.node.name, f"crash.example/reference/{request.node.name}")
    run(still, Witnessing(), Crash(0, done=False))
    return still


def same_tree(one: StillLog, other: StillLog) -> None:
    final = sum(map(len, GROUPS))
    for key in other.store.list("tile/"):
        if ".p/" not in key or key.endswith(f".p/{final % 256}"):
            assert one.store.get(key) == other.store.get(key), key


@pytest.mark.parametrize("done", [False, True], ids=["lost", "done"])
def test_attack_every_write_of_the_integrator(
    database: Database, memory_path: Path, reference: StillLog, done: bool
) -> None:
    for number in itertools.count(1):
        still = still_log(database, memory_path / f"{done}-{number}", f"crash.example/{done}/{number}")
        crashed = run(still, Witnessing(), Crash(number, done=done))
        assert check_log(still.store.get, no_quorum(still.notary.key)).sound
        same_tree(still, reference)
        if not crashed:
            break
    assert number > 30


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[RunningWitness]:
    logs = [Notary(f"crash.example/witnessed/{number}").key for number in range(200)]
    with witness_node(tmp_path / "witness", "w1.example", logs) as node:
        yield node


def test_attack_crashes_around_the_witness(database: Database, tmp_path: Path, witness: RunningWitness) -> None:
    """Every seventh write, with a witness that remembers what the log may have forgotten to publish."""
    for number in range(3, 60, 7):
        still = still_log(database, tmp_path / str(number), f"crash.example/witnessed/{number}")
        run(still, witnessing_of(still.notary.key, witness), Crash(number, done=number % 2 == 0))
        assert check_log(still.store.get, policy_of(still.notary.key, witness)).sound
        assert witness.state.conflicts(still.notary.key.name) == []


class LyingStore(CrashingStore):
    """Says that it stored one tile, and did not."""

    def create(self, key: str, data: bytes | Path) -> bool:
        return True if key == "tile/1/000.p/1" else super().create(key, data)


def test_attack_a_store_that_loses_what_it_acknowledged(database: Database, tmp_path: Path) -> None:
    """What is signed is what can be read back."""
    still = still_log(database, tmp_path, "crash.example/lying")
    still.sequence(*(b"%d" % n for n in range(300)))
    lying = LyingStore(still.store, Crash(0, done=False))
    with still.integrator(store=lying) as integrator, pytest.raises(LogAlarm, match=r"not signed: .*tile/1/000\.p/1"):
        integrator.step()
    assert published(still) == -1
    still.step()
    assert published(still) == 300


def test_control_no_crash(reference: StillLog) -> None:
    assert published(reference) == 600
    assert check_log(reference.store.get, no_quorum(reference.notary.key)).sound
