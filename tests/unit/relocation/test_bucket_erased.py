"""Emptying a bucket that keeps versions: all of them, markers and unfinished uploads; what locks keep is named."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from emptying import Bucket, bucket, opened
from glasshouse_verify.foreign import store_handle, store_row
from leaving import SECRET
from world import digest

from glasshouse.regions.shards import ShardTree
from glasshouse.relocation import erasing
from glasshouse.relocation.errors import AfterTheFence, Unavailable
from glasshouse.relocation.lists import Roots
from glasshouse.relocation.stores.interface import Locked, Version
from glasshouse.relocation.stores.probe import write_refused
from glasshouse.relocation.stores.s3 import S3Bucket

ALL = {"objects": 15, "markers": 1, "uploads": 2}


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Bucket]:
    with bucket(tmp_path) as made:
        yield made


def counts(erased: object) -> dict[str, int]:
    return {name: dict(erased)[name] for name in ALL}  # type: ignore[call-overload]


def test_every_version_marker_and_upload_goes(full: Bucket) -> None:
    size = sum(len(kept.content or b"") for kept in full.s3.versions)
    says = full.erase()
    assert (full.left, full.s3.uploads) == ([], {})
    assert counts(says.erased) == ALL
    assert dict(says.erased or {})["bytes"] == size
    assert (says.remains, says.rows) == ((), ShardTree().sharded)
    # Writes are refused as before.
    assert write_refused(full.emptied.store)


def test_what_locks_keep_is_named_by_handle_and_proven_by_row(full: Bucket) -> None:
    until = int(time.time()) + 86_400
    locked = [kept for kept in full.s3.versions if (kept.key, kept.content) == ("often", b"version 3")]
    locked[0].locked = until
    says = full.erase()
    assert full.left == [("often", locked[0].id)]
    (left,) = says.remains or ()
    handle = store_handle(SECRET, b"often", 3)
    assert (left.name, left.until) == (f"{handle}: a retention lock", until)
    roots = Roots()
    row = store_row(SECRET, b"often", 3, digest(b"version 3"), 9)
    for _ in roots.over([b'{"commitment":"%s","key":"%s"}\n' % (str(row["commitment"]).encode(), handle.encode())]):
        continue
    assert says.rows == roots.sharded
    assert counts(says.erased) == ALL | {"objects": 14}
    # Once the lock has ended it goes too, under the ordinal that it had.
    locked[0].locked = 0
    again = full.erase()
    assert (full.left, again.remains, counts(again.erased)) == ([], (), ALL)


def test_it_goes_on_although_versions_are_counted_anew(full: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever part of a batch was erased before it broke off, versions left are known by their ordinals of before."""
    monkeypatch.setattr(erasing, "BATCH", 3)

    class Breaking(S3Bucket):
        calls = 0

        def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
            Breaking.calls += 1
            if Breaking.calls % 2 and Breaking.calls < 14:
                # The oldest first: the opposite of what was asked for.
                super().erase(versions[-1:])
                raise Unavailable("broken off in the middle")
            return super().erase(versions)

    full.s3.versions[9].locked = time.time() + 86_400
    broken = 0
    with opened(Breaking, full.s3) as store:
        while True:
            try:
                says = full.erase(store=store)
                break
            except Unavailable:
                broken += 1
    assert broken >= 3
    assert counts(says.erased) == ALL | {"objects": 14}
    assert len(full.left) == 1


@pytest.mark.parametrize("content", [b"late", None])
def test_a_version_that_came_late_stays(full: Bucket, content: bytes | None) -> None:
    late = full.s3.put("plain", content)
    with pytest.raises(AfterTheFence, match="was not there at the fence") as error:
        full.erase()
    assert error.value.faults[0].handle == store_handle(SECRET, b"plain", 1)
    assert late in full.s3.versions
