"""M2 Lost or altered at the destination.

Cheat: a destination says that everything has arrived, and an object is not in its store, is another one, was damaged,
    or is the old site's ciphertext under a data key wrapped anew; or it hides that behind what it says of the object: a
    delete marker, an erasure, another list.
Noticed by: the supervisor, which reads what the seed draws, or everything, from the destination's store with its own
    credentials, opens it, and holds the content against the row that the old site had at its fence.
Seen: a refusal in the ledger that names site and object; no countersignature, and so nothing is erased.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.codec import Digest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Fault, Step
from leaving import TO
from supervised import Supervised
from world import digest

from glasshouse.relocation.errors import InvalidInput, NotYet
from glasshouse.relocation.giving import SEALED
from glasshouse.relocation.lists import ciphertext_row, in_order, keep_list
from glasshouse.relocation.openings import Opening, VersionFacts

BAD = "zurich-2"
Cheat = Callable[[Supervised, str], None]


def is_lost(world: Supervised, handle: str) -> None:
    world.held[BAD].path(handle).unlink()


def is_damaged(world: Supervised, handle: str) -> None:
    path = world.held[BAD].path(handle)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def is_cut_short(world: Supervised, handle: str) -> None:
    path = world.held[BAD].path(handle)
    path.write_bytes(path.read_bytes()[:-1])


def is_another(world: Supervised, handle: str) -> None:
    """Sealed as it should be, with something else in it."""
    held = world.held[BAD]
    before = held.openings[handle]
    held.seal(handle, b"something else", object=before.object, version=before.version)


def is_told_erased(world: Supervised, handle: str) -> None:
    world.held[BAD].openings[handle] = Opening(handle=Digest(handle))
    world.held[BAD].path(handle).unlink()


def is_told_a_marker(world: Supervised, handle: str) -> None:
    version = VersionFacts(key=b"a//1", ordinal=0, marker=True)
    world.held[BAD].openings[handle] = Opening(handle=Digest(handle), version=version)


def is_the_old_one(world: Supervised, handle: str) -> None:
    """The other destination's ciphertext and data key: nothing was sealed anew."""
    mine, other = world.held[BAD], world.held["zurich-1"]
    mine.path(handle).write_bytes(other.path(handle).read_bytes())
    mine.openings[handle] = other.openings[handle]


AFTER_IT_WAS_LISTED = [is_lost, is_damaged, is_cut_short, is_another, is_told_erased, is_told_a_marker, is_the_old_one]
BEFORE_IT_WAS_LISTED = [is_damaged, is_cut_short, is_another, is_the_old_one]


def drawn(world: Supervised, site: str = BAD) -> str:
    """Some object that the sample draws there; the destination cannot know it before it has spoken."""
    return world.drawn(site)[3]


def is_refused(world: Supervised, handle: str) -> None:
    with world.serving() as supervisor:
        found = supervisor.sample()
        assert found.statement.step == Step.REFUSAL
        assert {fault.handle for fault in found.faults} == {handle}
        # Where two share a data key, nobody can tell which of them did not seal anew.
        assert BAD in {fault.site for fault in found.faults} <= ({BAD} if is_told(found.faults) else set(TO))
        supervisor.log(found)
    with pytest.raises(NotYet, match="has not said countersign"):
        world.course.before(Step.QUARANTINE, "acme", "moscow")
    # Nor does the supervisor take the same sample again, of which everybody knows what is in it.
    with world.serving() as supervisor, pytest.raises(NotYet, match="only a full rescan"):
        supervisor.sample(draws=400)


def is_told(faults: Iterable[Fault]) -> bool:
    """Whether what is wrong is one destination's alone."""
    return not any("not sealed anew" in fault.text for fault in faults)


@pytest.mark.parametrize("cheat", AFTER_IT_WAS_LISTED)
@pytest.mark.parametrize(("source", "draws"), [(Origin.SITE, 400), (Origin.STORE, None)], ids=["sample", "full"])
def test_attack_after_it_was_listed(tmp_path: Path, cheat: Cheat, source: Origin, draws: int | None) -> None:
    world = Supervised(tmp_path, source=source)
    world.draws = draws
    world.arrive()
    handle = sorted(world.rows)[7] if draws is None else drawn(world)
    cheat(world, handle)
    is_refused(world, handle)


@pytest.mark.parametrize("cheat", BEFORE_IT_WAS_LISTED)
def test_attack_before_it_was_listed(tmp_path: Path, cheat: Cheat) -> None:
    """What a destination lists in its arrival is what it has; rows and content tell that it is wrong."""
    world = Supervised(tmp_path)
    handle = sorted(world.rows)[7]
    cheat(world, handle)
    opening = world.held[BAD].openings[handle]
    world.held[BAD].openings[handle] = replace(opening, sealed=digest(world.held[BAD].path(handle).read_bytes()))
    world.draws = None
    world.arrive()
    is_refused(world, handle)


def test_attack_the_arrival_lists_no_ciphertext_for_it(tmp_path: Path) -> None:
    world = Supervised(tmp_path)
    world.draws = None
    handle = sorted(world.rows)[7]
    is_lost(world, handle)
    world.arrive()
    is_refused(world, handle)


def test_attack_another_list_than_that_of_the_arrival(tmp_path: Path) -> None:
    """The list is fetched from the destination, and has to have the root that its arrival has signed."""
    world = Supervised(tmp_path)
    world.arrive()
    held = world.held[BAD]
    is_damaged(world, drawn(world))
    held.lists[SEALED] = keep_list(held.directory / SEALED, in_order(held.sealed(), held.directory))
    with world.serving() as supervisor, pytest.raises(InvalidInput, match="zurich-2's sealed"):
        supervisor.sample()


def test_attack_many_are_lost_and_a_sample_of_few_finds_one(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=150)
    world.arrive()
    world.draws = 60
    lost = sorted(world.rows)[::10]
    for handle in lost:
        is_lost(world, handle)
    with world.serving() as supervisor:
        found = supervisor.sample()
    assert found.statement.step == Step.REFUSAL
    assert {str(fault.handle) for fault in found.faults} == set(lost) & set(world.drawn(BAD))


def test_control_one_that_is_not_drawn_takes_a_full_rescan(tmp_path: Path) -> None:
    """What a sample cannot find, said in words in its document."""
    world = Supervised(tmp_path, count=150)
    world.draws = 30
    world.arrive()
    handle = next(name for name in sorted(world.rows) if name not in world.drawn(BAD))
    is_lost(world, handle)
    with world.serving() as supervisor:
        found = supervisor.sample()
    assert found.statement.step == Step.COUNTERSIGN
    assert b"That none is bad, only a full rescan shows" in found.document
    world.draws = None
    is_refused(world, handle)


@pytest.mark.parametrize("draws", [400, None], ids=["sample", "full"])
def test_control_everything_has_arrived(tmp_path: Path, draws: int | None) -> None:
    world = Supervised(tmp_path)
    world.draws = draws
    world.arrive()
    with world.serving() as supervisor:
        found = supervisor.sample()
        supervisor.log(found)
    assert found.statement.step == Step.COUNTERSIGN
    assert found.statement.read == dict.fromkeys(TO, 400 if draws else len(world.rows))
    assert world.course.before(Step.QUARANTINE, "acme", "moscow")


def test_control_the_lists_are_as_they_were_signed(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=5)
    world.arrive()
    with world.serving() as supervisor:
        arrival = world.course.arrivals[BAD].predicate  # type: ignore[index]
        listed = list(supervisor.asks(BAD).list(SEALED, arrival.sealed))
    assert listed == [
        ciphertext_row(handle, digest(data), len(data))
        for handle in sorted(world.rows)
        for data in [world.held[BAD].path(handle).read_bytes()]
    ]
