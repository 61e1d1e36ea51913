"""Auditors and a region whose data moves: nothing to say of an honest move, and the truth about another one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import encode
from glasshouse_verify.receipt import Counts, Inspection, Inventory, Reason
from glasshouse_verify.relocation import Step as Stage
from glasshouse_verify.statement import Use, make_statement
from onlookers import alarms
from overseeing import Overseeing
from region_moves import OLD, MovingWorld
from region_world import DAY, SITES
from world import charter_key, digest, seeded


class Watched(Overseeing, MovingWorld):
    """The move with an auditor."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.oversee(place)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.books.close()


def begun(world: Watched) -> None:
    """Two epochs of moscow's, of which the second is under the charter that opens the move."""
    world.take_at(OLD)
    world.close_epoch(OLD)
    world.audit()
    world.open_move()
    world.take_at(OLD)
    world.erase(world.take_at(OLD), Reason.CUSTOMER)
    world.close_epoch(OLD)
    world.audit()


def beside_the_move(world: Watched) -> dict[str, list[str]]:
    """What the rules say that are not about the steps of a move: here it has no other than the fence."""
    return {rule: texts for rule, texts in alarms(world).items() if not rule.startswith("relocation")}


def inspected(world: Watched) -> dict[int, set[str]]:
    """Epoch → the sites whose inventories were inspected."""
    found: dict[int, set[str]] = {}
    for record in world.history.standing(Use.INSPECTION):
        says: Inspection = record.predicate
        sites = {world.history.records[one].predicate.site for one in says.inventories}
        found.setdefault(says.epoch, set()).update(sites)
    return found


def test_an_honest_move(world: Watched) -> None:
    begun(world)
    world.close_epoch(OLD, *SITES)
    world.fence()
    world.audit()
    world.leave()
    for closing in range(3):
        mine = world.take_at("zurich-2")
        world.erase(mine, Reason.CUSTOMER)
        world.close_epoch(*SITES)
        world.audit()
        if closing == 1:
            world.close_move()
    assert beside_the_move(world) == {}
    everywhere = {OLD, *SITES}
    assert inspected(world) == {1: {OLD}, 2: {OLD}, 3: everywhere, 4: set(SITES), 5: set(SITES), 6: set(SITES)}
    assert world.books.epoch("au") == 6


def test_whoever_looks_before_the_new_sites_have_spoken_looks_again(world: Watched) -> None:
    begun(world)
    world.close_epoch(OLD)
    world.audit()
    assert inspected(world)[3] == {OLD}
    world.fence()
    world.audit()
    world.epoch, now = 2, world.now
    for site in SITES:
        # What both log later is of the same moment, and of the same delta.
        shown: Inventory = world.statement(world.last[OLD])
        world.last[site] = world.post(make_statement(Use.INVENTORY, replace(shown, site=site)), site)
    world.later(60)
    world.audit()
    assert (inspected(world)[3], beside_the_move(world)) == ({OLD, *SITES}, {})
    assert now < world.now


def test_a_new_site_with_other_rows(world: Watched) -> None:
    begun(world)
    world.close_epoch(OLD, "zurich-1")
    world.fence()
    shown: Inventory = world.statement(world.last[OLD])
    wrong = replace(shown, site="zurich-2", held=replace(shown.held, size=1), counts=_short(shown.counts))
    world.post(make_statement(Use.INVENTORY, wrong), "zurich-2")
    world.audit()
    said = alarms(world)["inventory-sites"]
    assert said == ["inventory 3 of au: moscow and zurich-2 disagree about held, counts"]
    assert 3 not in inspected(world)


def _short(counts: Counts) -> Counts:
    gone = {"stored": counts.stored - 1, "received": counts.received - 1, "held": counts.held - 1}
    return replace(counts, **gone, pending=counts.pending - 1)


def test_a_new_site_that_never_speaks(world: Watched) -> None:
    begun(world)
    world.close_epoch(OLD, "zurich-1")
    world.fence()
    world.audit()
    assert 3 not in inspected(world)
    world.later(2 * DAY)
    assert "zurich-2 has not logged inventory 3 of au" in alarms(world)["inventory-dates"]


def test_the_old_site_goes_on_after_its_last(world: Watched) -> None:
    begun(world)
    world.close_epoch(OLD, *SITES)
    world.fence()
    world.audit()
    world.take_at(OLD)
    world.close_epoch(OLD)
    (text,) = alarms(world)["inventory-sites"]
    assert text == "inventory 4 of au at moscow is of a site whose last one was to be 3"
    world.close_move()
    world.close_epoch(OLD)
    assert any("is of a site that the charter does not have" in text for text in alarms(world)["inventory-sites"])


def test_a_fence_that_another_party_claims_ends_nothing(world: Watched) -> None:
    begun(world)
    world.close_epoch(OLD)
    world.fence(site="zurich-1")
    world.close_epoch(OLD)
    world.audit()
    assert inspected(world)[4] == {OLD}
    assert "inventory-sites" not in alarms(world)


def test_new_sites_before_the_amendment_have_nothing_to_say(world: Watched) -> None:
    world.take_at(OLD)
    world.close_epoch(OLD, "zurich-1")
    assert any("zurich-1 is of a site that the charter does not have" in t for t in alarms(world)["inventory-sites"])


def test_a_new_site_may_hold_and_look(world: Watched) -> None:
    begun(world)
    about = digest(b"a commitment")
    held = Access(party="acme", region="au", site="zurich-1", step=Step.HOLD, about=about, purpose="a", time=world.now)
    world.post(make_statement(Use.ACCESS, held), "zurich-1")
    assert "access" not in alarms(world)


def council(world: Watched, **counts: int) -> list[str]:
    tally = Access(party="council", region="au", site=OLD, step=Step.TALLY, counts=counts, time=world.now)
    world.post(make_statement(Use.ACCESS, tally), "council")
    world.close_epoch(OLD)
    return alarms(world).get("access", [])


def guarded(world: Watched) -> None:
    """The custodian has a key."""
    key = seeded("council")
    world.keys["council"] = key
    world.amend({"parties": {"council": {"keys": {key.keyid: charter_key(key, "bern", ["access"])}}}})


@pytest.mark.parametrize(("opened", "words"), [(12, []), (19, ["where 3 objects were ever stored"])])
def test_a_move_hands_every_object_over_once_for_each_site(world: Watched, opened: int, words: list[str]) -> None:
    guarded(world)
    begun(world)
    said = council(world, relocation=opened)
    assert len(said) == len(words)
    assert all(word in text for word, text in zip(words, said, strict=True))


@pytest.mark.parametrize("erased", [True, False])
def test_what_the_end_of_the_old_site_makes_irrecoverable(world: Watched, erased: bool) -> None:
    guarded(world)
    begun(world)
    world.close_epoch(OLD, *SITES)
    world.fence()
    world.leave()
    mine = world.erase(world.take_at("zurich-1"), Reason.CUSTOMER)
    world.close_epoch(*SITES)
    world.close_move()
    world.later(5 * DAY)
    if erased:
        says = {"step": Stage.ERASURE, "epoch": None, "size": None, "refused": None, "at_ms": None, "inventory": None}
        more = {"charter": world.history.chain.newest.id, "erased": {"objects": 3}, "remains": ()}
        world.last[OLD] = world.last["zurich-1"]
        world.fence(**says, **more)
        world.leave()
    world.rows.erased[mine.key] = encode(replace(mine, residue_until=None))
    world.close_epoch(*SITES)
    world.later(3 * DAY // 2)
    said = alarms(world).get("erasure", [])
    assert bool(said) != erased
    assert erased or "no data key" in said[0]
