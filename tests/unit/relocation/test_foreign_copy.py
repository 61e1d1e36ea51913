"""Copying, listing, and the old site's inventory of a foreign store."""

import os
import socket
import threading
from pathlib import Path

import pytest
from foreign_stores import SECRET, fill, inventory, landing, some
from glasshouse_verify.encoding import format_json
from glasshouse_verify.foreign import store_row

from glasshouse.relocation.copying import WHOLE_BYTES, Copying, copy_pass, metadata_of
from glasshouse.relocation.errors import InvalidInput, StoreLied, Unavailable
from glasshouse.relocation.foreign import fence, fingerprint
from glasshouse.relocation.landing import LeaseLost
from glasshouse.relocation.pace import Meter, Progress, Throttle
from glasshouse.relocation.stores.addresses import read_credentials
from glasshouse.relocation.stores.interface import Answer
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.db import Database


def test_a_store_lands_and_its_rows_are_those_of_the_source(database: Database, tmp_path: Path) -> None:
    content = some(600) | {b"large": os.urandom(WHOLE_BYTES + 70_001), b"empty": b"", b"deep/none/": b""}
    source = fill(tmp_path / "source", content)
    here = landing(database, tmp_path / "zurich")
    assert here.copy(source) == len(content)
    assert here.to.landings.passes() == 2
    arrival, there = here.arrival(), inventory(source, tmp_path / "old")
    assert arrival.rows.sharded == there.rows.sharded
    assert (arrival.size, arrival.removed) == (there.size, 0)
    assert arrival.size == sum(map(len, content.values()))
    assert arrival.sealed.sharded.size == len(content)
    row = arrival.rows.find(str(store_row(SECRET, b"large", 0, None, 0)["key"]))
    assert row is not None


def test_later_passes_take_what_is_new_and_forget_what_has_vanished(database: Database, tmp_path: Path) -> None:
    source, here = fill(tmp_path / "source", some(50)), landing(database, tmp_path / "zurich")
    here.copy(source)
    gone, changed = b"d00/f00000", b"d01/f00001"
    (tmp_path / "source" / os.fsdecode(gone)).unlink()
    fill(tmp_path / "source", {b"a new one": b"new", changed: b"other content"})
    assert here.copy(source) == 2
    totals = here.to.landings.totals(3)
    assert (totals.landed, totals.vanished) == (2, 1)
    assert not here.file_of(gone).exists()
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_at_the_fence_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    source = fill(tmp_path / "source", some(40))
    first = inventory(source, tmp_path / "first")
    fill(tmp_path / "source", {b"d02/f00002": b"changed", b"zz": b"new"})
    read: list[int] = []
    again = inventory(source, tmp_path / "again", before=first.seen)
    source.read = lambda version: read.append(1) or type(source).read(source, version)  # type: ignore[method-assign,func-returns-value]
    same = inventory(source, tmp_path / "same", before=again.seen)
    assert read == []
    assert again.rows.sharded == same.rows.sharded != first.rows.sharded
    assert again.rows.sharded.size == 41
    # And what was kept of it is what reading everything finds.
    assert inventory(source, tmp_path / "anew").rows.sharded == again.rows.sharded


def test_an_inventory_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    source = fill(tmp_path / "source", some(30))
    whole = inventory(source, tmp_path / "whole")
    lines = whole.seen.read_bytes().splitlines(keepends=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "seen.part").write_bytes(b"".join(lines[:12]) + lines[12][:20])
    read: list[bytes] = []
    plain = source.read
    source.read = lambda version: read.append(version.key) or plain(version)  # type: ignore[method-assign,func-returns-value]
    assert inventory(source, tmp_path / "broken").rows.sharded == whole.rows.sharded
    assert len(read) == 18


def test_what_is_no_object_stops_the_listing(tmp_path: Path) -> None:
    root = tmp_path / "source"
    source = fill(root, some(3))
    for make in (
        lambda: (root / "link").symlink_to("/etc/passwd"),
        lambda: (root / "linked-directory").symlink_to("/etc"),
        lambda: os.mkfifo(root / "pipe"),
    ):
        make()
        with pytest.raises(InvalidInput, match="is no regular file"):
            list(source.list())
        for name in ("link", "linked-directory", "pipe"):
            (root / name).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "s"))
        with pytest.raises(InvalidInput, match="is no regular file"):
            list(source.list())


def test_a_lost_lease_lands_nothing(database: Database, tmp_path: Path) -> None:
    landings = landing(database, tmp_path, lease_seconds=0.05).to.landings
    landings.begin_pass(1)
    slow = landings.claim(1, "slow")
    assert slow is not None
    assert landings.claim(1, "quick") is None or threading.Event().wait(0.1) is False
    threading.Event().wait(0.1)
    quick = landings.claim(1, "quick")
    assert quick == slow
    with pytest.raises(LeaseLost):
        landings.land(1, "slow", slow, cursor=b"k", landed=[], gone=[], vanished=0, done=False)
    landings.land(1, "quick", quick, cursor=b"k", landed=[], gone=[], vanished=0, done=True)
    assert landings.left(1) == 0


def test_two_workers_share_a_pass(database: Database, tmp_path: Path) -> None:
    source, here = fill(tmp_path / "source", some(3_000)), landing(database, tmp_path / "zurich")
    here.to.landings.begin_pass(1)
    seen: list[object] = []
    with database.transaction() as connection:
        connection.execute("update relocation.pass set wanted_until = now() + interval '60 seconds'")

    def work() -> None:
        seen.append(copy_pass(source, here.to, 1))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with database.transaction() as connection:
        shards = connection.execute(
            "select after, upto, landed from relocation.shard where relocation = %s and pass = 1 order by after",
            (here.to.relocation,),
        ).fetchall()
    assert len(shards) > 1
    assert [upto for _, upto, _ in shards[:-1]] == [after for after, _, _ in shards[1:]]
    assert sum(int(str(landed)) for _, _, landed in shards) == 3_000
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_data_keys_for_the_site_alone_are_wiped_after_the_arrival(database: Database, tmp_path: Path) -> None:
    here = landing(database, tmp_path / "zurich")
    here.copy(fill(tmp_path / "source", some(20)))
    here.arrival()
    assert here.to.landings.forget_transfers() == 20
    assert here.to.landings.forget_transfers() == 0
    assert all(one.transfer is None and one.wrapping is not None for one in here.to.landings.everything())


def test_a_store_that_is_away(database: Database, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.toml"
    credentials.write_text('access_key = "a"\nsecret_key = "b"\n')
    credentials.chmod(0o644)
    with pytest.raises(InvalidInput, match="others than its owner"):
        read_credentials(credentials)
    credentials.chmod(0o600)
    source = open_store("s3://bucket?endpoint=http://127.0.0.1:9", read_credentials(credentials))
    with pytest.raises(Unavailable):
        list(source.list())
    with pytest.raises(Unavailable):
        copy_pass(source, landing(database, tmp_path / "zurich").to, 1)
    with pytest.raises(InvalidInput):
        open_store("s3://bucket/prefix", read_credentials(credentials))


def test_a_directory_says_what_it_honours_and_is_fenced(tmp_path: Path) -> None:
    store = open_store((fill(tmp_path / "source", some(3)), tmp_path / "source")[1].as_uri())
    found = store.probe()
    assert (found.readable, found.writable, found.conditional_create) == (Answer.YES, Answer.YES, Answer.YES)
    assert (found.versions, found.locks, found.read_after_write) == (Answer.NO, Answer.NO, Answer.YES)
    before = fingerprint(store)
    fenced = fence(store, store)
    # Permissions do not hold root back, and it says so.
    assert fenced.refused == (os.geteuid() != 0)
    assert "root" in fenced.words
    store.accept_writes()
    assert fingerprint(store)[1] == before[1] == 3


def test_progress_tells_rate_and_time_left() -> None:
    told: list[Progress] = []
    meter = Meter(told.append, objects_expected=10, size_expected=400, every_seconds=0)
    meter.add(5, 100)
    assert told[-1].objects == 5
    left = Progress(objects=5, size=100, seconds=10, objects_expected=10, size_expected=400).seconds_left
    assert left == 30
    assert Progress(objects=5, size=100, seconds=10).seconds_left is None


def test_bytes_are_held_back(database: Database, tmp_path: Path) -> None:
    import asyncio
    import time

    async def take() -> float:
        throttle, start = Throttle(100_000), time.monotonic()
        for _ in range(30):
            await throttle.take(5_000)
        return time.monotonic() - start

    # 150,000 bytes, of which the first second's worth is free.
    assert asyncio.run(take()) >= 0.45
    source, here = fill(tmp_path / "source", some(20, 4_000)), landing(database, tmp_path / "zurich")
    copied = copy_pass(source, here.to, 1, Copying(bytes_per_second=10_000_000))
    assert copied.landed == 20


def test_what_the_archive_lost_or_altered_is_copied_again(database: Database, tmp_path: Path) -> None:
    source, here = fill(tmp_path / "source", some(20)), landing(database, tmp_path / "zurich")
    here.copy(source)
    here.file_of(b"d03/f00003").unlink()
    altered = here.file_of(b"d04/f00004")
    altered.write_bytes(altered.read_bytes()[:-1] + b"x")
    stray = altered.with_name(altered.name[0] + "0" * 63)
    stray.write_bytes(b"left by a worker that was killed")
    with pytest.raises(StoreLied, match="2 objects are not as they landed"):
        here.arrival()
    assert not stray.exists()
    assert here.copy(source) == 2
    assert here.arrival().rows.sharded == inventory(source, tmp_path / "old").rows.sharded


def test_the_page_on_archives_shows_what_objects_say_of_themselves() -> None:
    page = (Path(__file__).parents[3] / "docs" / "spec" / "archive.md").read_text()
    example = page.partition("```archive-metadata\n")[2].partition("\n```")[0]
    assert format_json(metadata_of("au-2026", b"../up", 2)).decode() == example
