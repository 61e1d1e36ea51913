"""Emptying a directory: what goes, what stays, what stops it, and where it goes on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.foreign import store_handle
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from glasshouse_verify.statement import parse_statement
from leaving import SECRET, Leaving, fenced_rows

from glasshouse.regions.shards import ShardTree
from glasshouse.relocation import erasing
from glasshouse.relocation.erasing import STATE, Emptied, erase_store, survey
from glasshouse.relocation.errors import AfterTheFence, InvalidInput, NotYet, StoreLied, Unavailable
from glasshouse.relocation.stores.directory import DirectoryTree
from glasshouse.relocation.stores.interface import Locked, Version

FILES = {b"one": b"first", b"a/b": b"second", b"a/c/\xff": b"third", b"a/c/d": b"", b"z/": b""}


class Moved:
    """A directory that was fenced with FILES in it, and a world that lets it be erased."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "store"
        for key, content in FILES.items():
            path = self.root / Path(key.decode("utf-8", "surrogateescape"))
            (path if key.endswith(b"/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not key.endswith(b"/"):
                path.write_bytes(content)
        self.store = DirectoryTree(self.root)
        rows = fenced_rows(self.store, directory / "rows")
        self.world = Leaving(Origin.STORE)
        self.emptied = Emptied(
            store=self.store,
            checking=DirectoryTree(self.root),
            fenced=rows,
            secret=SECRET,
            place=directory / "state",
        )
        self.world.come_to_erasure(rows.sharded)

    def erase(self, emptied: Emptied | None = None, **changes: object) -> object:
        return erase_store(
            emptied or self.emptied,
            self.world.permit,
            clock=lambda: self.world.now,
            **changes,  # type: ignore[arg-type]
        )


@pytest.fixture
def moved(tmp_path: Path) -> Moved:
    return Moved(tmp_path)


def test_everything_goes_and_the_statement_says_so(moved: Moved) -> None:
    told: list[int] = []
    says = erase_store(moved.emptied, moved.world.permit, clock=lambda: moved.world.now, told=told.append)
    assert list(moved.store.list()) == []
    assert moved.root.is_dir()
    assert moved.root.stat().st_mode & 0o222 == 0
    assert dict(says.erased or {}) == {"objects": 5, "markers": 0, "bytes": 16, "uploads": 0}
    assert (says.rows, says.remains) == (ShardTree().sharded, ())
    assert says.charter == moved.world.history.chain.newest.id
    moved.world.log(says)
    assert moved.world.course.need(Step.ERASURE).predicate == says
    assert sum(told) == 5
    # Once more finds nothing, and says the same.
    assert moved.erase().erased == says.erased  # type: ignore[attr-defined]


def test_looking_erases_nothing(moved: Moved) -> None:
    before = [version.key for version in moved.store.list()]
    found = survey(moved.emptied, moved.world.course)
    assert (found.objects, found.size, found.markers, found.uploads, found.late) == (5, 16, 0, 0, ())
    (moved.root / "new").write_bytes(b"late")
    (late,) = survey(moved.emptied, moved.world.course).late
    assert late.handle == store_handle(SECRET, b"new", 0)
    (moved.root / "new").unlink()
    assert [version.key for version in moved.store.list()] == before


@pytest.mark.parametrize(("name", "content"), [("a/new", b"late"), ("one", b"other"), ("one", b"firsT")])
def test_what_came_after_the_fence_is_an_alarm_and_stays(moved: Moved, name: str, content: bytes) -> None:
    (moved.root / name).write_bytes(content)
    with pytest.raises(AfterTheFence) as error:
        moved.erase()
    assert [fault.handle for fault in error.value.faults] == [store_handle(SECRET, name.encode(), 0)]
    assert (moved.root / name).read_bytes() == content
    assert sum(1 for _ in moved.store.list()) >= len(FILES)


def test_it_goes_on_after_every_break(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off before and after each batch is erased, it counts each version once."""
    monkeypatch.setattr(erasing, "BATCH", 2)

    class Breaking(DirectoryTree):
        breaks = 0

        def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
            Breaking.breaks += 1
            if Breaking.breaks % 3 == 1:
                raise Unavailable("broken off before")
            locked = super().erase(versions)
            if Breaking.breaks % 3 == 2:
                raise Unavailable("broken off after")
            return locked

    broken = 0
    while True:
        try:
            says = moved.erase(replace(moved.emptied, store=Breaking(moved.root)))
            break
        except Unavailable:
            broken += 1
    assert broken >= 4
    assert dict(says.erased) == {"objects": 5, "markers": 0, "bytes": 16, "uploads": 0}  # type: ignore[attr-defined]


def test_a_file_replaced_while_it_was_broken_off_is_not_erased(moved: Moved) -> None:
    class Breaking(DirectoryTree):
        def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
            raise Unavailable(f"broken off before {len(versions)}")

    with pytest.raises(Unavailable):
        moved.erase(replace(moved.emptied, store=Breaking(moved.root)))
    (moved.root / "one").write_bytes(b"written meanwhile")
    with pytest.raises(AfterTheFence, match="has other content"):
        moved.erase()
    assert (moved.root / "one").read_bytes() == b"written meanwhile"


def test_what_was_gone_before_is_counted(moved: Moved) -> None:
    (moved.root / "one").unlink()
    says = moved.erase()
    assert says.erased["gone-before"] == 1  # type: ignore[attr-defined]


def test_a_refusal_meanwhile_ends_it(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH", 2)

    def told(count: int) -> None:
        if moved.world.course.last(Step.REFUSAL) is None:
            moved.world.refuse()
        moved.world.later(61)

    with pytest.raises(NotYet, match="refused"):
        moved.erase(told=told)
    assert len(list(moved.store.list())) == 3


def test_rows_that_are_not_the_fences_are_refused(moved: Moved, tmp_path: Path) -> None:
    (moved.root / "new").write_bytes(b"late")
    others = fenced_rows(moved.store, tmp_path / "others")
    with pytest.raises(InvalidInput, match="the ledger has 5"):
        moved.erase(replace(moved.emptied, fenced=others))
    assert len(list(moved.store.list())) == 6


def test_a_store_that_acknowledges_and_keeps_is_found_out(moved: Moved) -> None:
    class Keeping(DirectoryTree):
        def erase(self, versions: Sequence[Version]) -> Sequence[Locked]:
            return super().erase([version for version in versions if version.key != b"one"])

    with pytest.raises(StoreLied, match="still lists b'one'"):
        moved.erase(replace(moved.emptied, store=Keeping(moved.root)))


def test_the_pace_is_kept(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH", 2)
    slept: list[float] = []
    moved.erase(replace(moved.emptied, per_second=4.0), sleep=slept.append)
    assert slept == [0.5, 0.5, 0.25]


def test_the_state_is_private(moved: Moved) -> None:
    moved.erase()
    assert (moved.emptied.place / STATE).parent.stat().st_mode & 0o077 == 0


def test_the_statement_can_be_read_back(moved: Moved) -> None:
    says = moved.erase()
    moved.world.log(says)  # type: ignore[arg-type]
    from glasshouse_verify.dsse import parse_envelope

    assert parse_statement(parse_envelope(moved.world.entries[-1]).payload).predicate == says
