"""M7 Write after the fence.

Cheat: somebody goes on writing to the old store after its fence, through a way in that the fence forgot: a new object,
    another content, a delete marker; before the erasure, so that it goes unseen with the rest, or afterwards, so that
    the old site is in use again. Or the fence is lifted.
Noticed by: the node that erases, which compares every version with the fence's rows; the supervisor's canaries, which
    list and write for as long as the charter says.
Seen: the erasure stops, and the version is left as it is; `alarm` stands in the ledger at once, with its handle where
    it is one object's; who checks the evidence gets a mismatch.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from emptying import Bucket, bucket, opened
from glasshouse_verify.foreign import store_handle
from glasshouse_verify.relocation import Relocation, Step
from leaving import SECRET

from glasshouse.relocation.canaries import store_canaries
from glasshouse.relocation.errors import AfterTheFence
from glasshouse.relocation.stores.interface import Upload
from glasshouse.relocation.stores.s3 import S3Bucket
from glasshouse.relocation.watching import Turn, Watch

HOUR, DAY = 3_600, 86_400


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Bucket]:
    with bucket(tmp_path) as made:
        yield made


def another_object(old: Bucket) -> str:
    old.s3.put("quietly/added", b"collected after the move")
    return store_handle(SECRET, b"quietly/added", 0)


def another_version(old: Bucket) -> str:
    old.s3.put("plain", b"collected after the move")
    return store_handle(SECRET, b"plain", 1)


def a_delete_marker(old: Bucket) -> str:
    old.s3.put("plain", None)
    return store_handle(SECRET, b"plain", 1)


def under_the_same_name(old: Bucket) -> str:
    """The store's operator swaps the content of a version that is there."""
    kept = next(kept for kept in old.s3.versions if kept.key == "plain")
    kept.content = b"collected after the move"
    return store_handle(SECRET, b"plain", 0)


@pytest.mark.parametrize("cheat", [another_object, another_version, a_delete_marker, under_the_same_name])
def test_attack_written_before_the_erasure(old: Bucket, cheat: Callable[[Bucket], str]) -> None:
    handle = cheat(old)
    written = [kept.content for kept in old.s3.versions]
    with pytest.raises(AfterTheFence) as alarm:
        old.erase()
    assert [fault.handle for fault in alarm.value.faults] == [handle]
    assert [kept.content for kept in old.s3.versions] == written
    old.world.say(Step.ALARM, faults=alarm.value.faults)
    assert old.world.course.state == "alarm"
    assert old.world.course.last(Step.ERASURE) is None


def test_attack_written_while_it_is_erased(old: Bucket) -> None:
    """What comes behind the back of the erasure is seen by the other client's list."""
    written = old.s3

    class Slow(S3Bucket):
        def uploads(self) -> Iterator[Upload]:
            written.put("a//b", b"collected meanwhile")
            return super().uploads()

    with opened(Slow, old.s3) as store, pytest.raises(AfterTheFence, match="written after the fence"):
        old.erase(store=store)
    assert [key for key, _ in old.left] == ["a//b"]


def watch_over(old: Bucket, place: Path) -> Callable[[int], Turn]:
    """The supervisor's, with the credentials that it was given; every version that was erased may be asked for."""
    versions = [(version, store_handle(SECRET, version.key, version.ordinal)) for version in old.emptied.store.list()]
    statement = old.erase()
    old.world.log(statement)
    canaries = store_canaries(
        old.emptied.checking, old.emptied.store, versions, fenced_ms=int((time.time() - HOUR) * 1_000)
    )
    watch = Watch(canaries, place / "watch", party="lab")

    def turn(after: int) -> Turn:
        old.world.later(after)
        return watch.turn(lambda: old.world.course, lambda says: old.world.log(says, "lab"), old.world.now)

    return turn


def alarms(old: Bucket) -> list[Relocation]:
    return [record.predicate for record in old.world.course.records(Step.ALARM)]


def test_attack_written_afterwards(old: Bucket, tmp_path: Path) -> None:
    turn = watch_over(old, tmp_path)
    assert turn(HOUR).faults == ()
    old.s3.put("quietly/added", b"collected after the move")
    assert turn(HOUR).said == (Step.ALARM,)
    (alarm,) = alarms(old)
    assert "store-list" in (alarm.faults or ())[0].text


def test_attack_restored_from_a_backup(old: Bucket, tmp_path: Path) -> None:
    before = list(old.s3.versions)
    turn = watch_over(old, tmp_path)
    assert turn(HOUR).faults == ()
    old.s3.versions[:] = before
    for kept in before:
        kept.erased = False
    assert {fault.text.partition(":")[0] for fault in turn(HOUR).faults} == {"store-list", "store-read"}


def test_attack_the_fence_is_lifted(old: Bucket, tmp_path: Path) -> None:
    turn = watch_over(old, tmp_path)
    old.emptied.store.accept_writes()
    assert [fault.text.partition(":")[0] for fault in turn(HOUR).faults] == ["store-write"]
    # The canary takes back what it wrote.
    assert old.left == []


def test_control_nobody_writes(old: Bucket, tmp_path: Path) -> None:
    turn = watch_over(old, tmp_path)
    for _ in range(25):
        assert turn(HOUR).faults == ()
    (watch,) = (record.predicate for record in old.world.course.records(Step.WATCH))
    assert watch.tried == {"store-list": 24, "store-read": 24, "store-write": 24}
    assert alarms(old) == []
