"""The rule on erasure: what tombstones say has to be possible, as far as the public can see it."""

from typing import Any

import pytest
from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import encode
from glasshouse_verify.receipt import Reason
from glasshouse_verify.statement import Use, make_statement
from onlookers import alarms
from region_world import DAY, YEAR, RegionWorld
from world import seeded

QUARTER = 7_776_000


def rule(world: RegionWorld) -> list[str]:
    return alarms(world).get("erasure", [])


def custodian(world: RegionWorld, **counts: int) -> None:
    """The council says what it has counted at each site."""
    for site in ("zurich-1", "zurich-2"):
        tally = Access(party="council", region="au", site=site, step=Step.TALLY, counts=counts, time=world.now)
        world.post(make_statement(Use.ACCESS, tally), "council")


@pytest.fixture
def world() -> RegionWorld:
    from world import charter_key

    key = seeded("council")
    council = {"keys": {key.keyid: charter_key(key, "bern", ["access"])}}
    made = RegionWorld(parties={"council": council})
    made.keys["council"] = key
    return made


def test_what_is_due_may_go(world: RegionWorld) -> None:
    mine = world.take(category="telemetry", retention=QUARTER)
    world.take(b"stays")
    world.close()
    world.later(QUARTER)
    world.erase(mine)
    world.close()
    assert rule(world) == []


@pytest.mark.parametrize("days", [1, 80])
def test_nothing_is_due_before_the_shortest_retention(world: RegionWorld, days: int) -> None:
    world.close()
    mine = world.take()
    world.later(DAY // 2)
    world.close()
    world.later(days * DAY)
    world.erase(mine)
    world.close()
    text = "1 objects removed as due, before the shortest retention of any category had passed"
    assert rule(world) == [f"inventory 3 of au: {text}"]


def test_a_customer_may_ask_at_once(world: RegionWorld) -> None:
    mine = world.take()
    world.close()
    world.erase(mine, Reason.CUSTOMER)
    world.close()
    assert rule(world) == []


def test_a_shorter_retention_of_an_amendment_counts_from_then_on(world: RegionWorld) -> None:
    mine = world.take(category="telemetry")
    world.close()
    patch: dict[str, Any] = {"regions": {"au": {"categories": {"telemetry": {"kind": "telemetry", "retention": DAY}}}}}
    world.later(2 * DAY)
    world.amend(patch)
    world.erase(mine)
    world.close()
    assert rule(world) == []


def test_a_category_that_nobody_ended_is_no_reason(world: RegionWorld) -> None:
    first, second = world.take(b"one"), world.take(b"two")
    world.close()
    world.erase(first, Reason.CATEGORY)
    world.close()
    text = "1 objects removed for a category that no amendment has ended or shortened"
    assert rule(world) == [f"inventory 2 of au: {text}"]
    world.amend({"regions": {"au": {"categories": {"telemetry": None}}}})
    world.erase(second, Reason.CATEGORY)
    world.close()
    assert rule(world) == [f"inventory 2 of au: {text}"]


def test_residue_has_an_end(world: RegionWorld) -> None:
    mine = world.take()
    world.take(b"stays")
    world.close()
    world.later(YEAR)
    world.erase(mine)
    world.close()
    world.later(29 * DAY)
    world.close()
    assert rule(world) == []
    world.later(2 * DAY)
    world.close()
    assert rule(world) == ["inventory 4 of au: 1 objects were to be irrecoverable by then, and are not"]


def irrecoverable(world: RegionWorld) -> None:
    """A tombstone whose residue is gone in the next inventory, with an object still held."""
    mine = world.take()
    world.take(b"stays")
    world.close()
    world.later(YEAR)
    tombstone = world.erase(mine)
    world.close()
    world.later(DAY)
    gone = encode(tombstone)
    del gone["residue_until"]
    world.rows.erased[tombstone.key] = gone
    world.close()


def test_irrecoverable_by_keys_wrapped_anew(world: RegionWorld) -> None:
    irrecoverable(world)
    world.later(DAY // 2)
    custodian(world, rewrap=1)
    world.later(2 * DAY)
    assert rule(world) == []


def test_irrecoverable_with_no_key_wrapped_anew(world: RegionWorld) -> None:
    irrecoverable(world)
    custodian(world, analysis=1)
    world.later(DAY)
    assert rule(world) == []
    world.later(1)
    text = "1 objects called irrecoverable, and the custodian has counted no data key wrapped anew around then"
    assert rule(world) == [f"inventory 3 of au: {text}"]


def test_wrapped_anew_long_before_says_nothing_of_now(world: RegionWorld) -> None:
    custodian(world, rewrap=1)
    world.later(3 * DAY)
    irrecoverable(world)
    world.later(2 * DAY)
    assert len(rule(world)) == 1


def test_nothing_else_was_held(world: RegionWorld) -> None:
    """Where nothing is left whose key could have been wrapped anew, there was nothing to count."""
    mine = world.take()
    world.close()
    world.later(YEAR)
    tombstone = world.erase(mine)
    world.close()
    gone = encode(tombstone)
    del gone["residue_until"]
    world.rows.erased[tombstone.key] = gone
    world.take(b"new")
    world.close()
    world.later(2 * DAY)
    assert rule(world) == []


def test_without_the_delta_there_is_nothing_to_judge(world: RegionWorld) -> None:
    world.close()
    mine = world.take()
    world.erase(mine)
    world.close()
    assert len(rule(world)) == 1
    world.blobs = {digest: data for digest, data in world.blobs.items() if b"inventory-delta" not in data[:200]}
    assert rule(world) == []
