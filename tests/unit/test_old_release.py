"""An old release is rebuilt after every mirror, the package index and the ledger's blobs have gone."""

from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.statement import Verdict
from rebuilds import Rebuilder, unreachable
from workshop import RECIPES, c_recipe, environment, origins, run_script
from world import World

from glasshouse.conveyor.deposit import Deposit
from glasshouse.conveyor.errors import OriginUnavailable
from glasshouse.conveyor.store import Store
from glasshouse.supervision.workshop import forget

HELLO = (RECIPES / "hello-c/source/hello.c").read_text()
RECIPE = c_recipe(["cc", "-O2", "-o", "/build/out/out", "hello.c"], ["out"])


def test_the_verdict_is_the_same_when_everything_is_gone(tmp_path: Path) -> None:
    environment()
    run_script(tmp_path / "vendor", f"cat > hello.c <<'END'\n{HELLO}END\ncc -O2 -o /build/out/out hello.c")
    shipped = (tmp_path / "vendor/out/out").read_bytes()
    deposit = Deposit(tmp_path / "lab/data/archive")
    rebuilder = Rebuilder(World(), tmp_path / "lab", origins=replace(origins(), deposit=deposit))
    world = rebuilder.world
    source = rebuilder.source(RECIPE, {"hello.c": HELLO})
    release = world.release(shipped=shipped, name="out", source=source)
    before = rebuilder.judge(release).rebuild
    assert before.verdict == Verdict.IDENTICAL
    forget(world.history.records[release].predicate.source, rebuilder.workshop)

    lock = environment().lock
    wanted = {row.sha256 for row in (*lock.debs, *lock.wheels, *lock.indexes)}
    wanted |= {source.lock_file, source.pack.sha256, world.history.records[release].predicate.files[0].sha256}
    assert all(deposit.has(sha) for sha in wanted)

    world.blobs.clear()
    again = replace(
        rebuilder,
        origins=replace(unreachable(origins()), deposit=deposit),
        store=Store(tmp_path / "lab/cache/downloads"),
        roots=tmp_path / "lab/cache/roots",
        asked=[],
    )
    after = again.judge(release).rebuild
    assert replace(after, provenance=before.provenance, log=before.log) == before
    assert again.asked == []


def test_control_without_a_deposit_there_is_no_verdict(tmp_path: Path) -> None:
    environment()
    rebuilder = Rebuilder(World(), tmp_path / "lab", origins=unreachable(origins()), store=Store(tmp_path / "empty"))
    source = rebuilder.source(RECIPE, {"hello.c": HELLO})
    release = rebuilder.world.release(name="out", source=source)
    with pytest.raises(OriginUnavailable):
        rebuilder.judge(release)
