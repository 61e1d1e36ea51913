"""Receipts across a move: of moscow against inventories of Zurich, and of Zurich while the move goes on."""

import pytest
from glasshouse_verify.receipt import Reason
from glasshouse_verify.report import Outcome
from region_moves import OLD, MovingWorld
from region_world import DAY, SITES, refused, says
from world import texts


@pytest.fixture
def world() -> MovingWorld:
    return MovingWorld()


def test_receipts_of_the_old_site_before_and_during_the_move(world: MovingWorld) -> None:
    before = world.take_at(OLD)
    world.close_epoch(OLD)
    world.inspect()
    assert texts(world.check(before)) == {}
    world.open_move()
    during = world.take_at(OLD)
    erased = world.take_at(OLD)
    fenced = world.close_epoch(OLD, *SITES)
    world.inspect()
    world.fence()
    for mine in (before, during, erased):
        for inventory in fenced:
            world.last = {"shown": inventory}
            assert texts(world.check(mine)) == {}
    world.last = dict(zip((OLD, *SITES), fenced, strict=True))
    world.leave()
    world.erase(erased, Reason.CUSTOMER)
    world.close_epoch(*SITES)
    world.inspect()
    for epoch in (3, 4):
        assert says(world.check(before))["inventory"].startswith(f"inventory {epoch} covers receipt 1 of moscow")
        assert texts(world.check(during)) == {}
        assert "it was erased" in says(world.check(erased))["object"]
        world.close_move()
        world.close_epoch(*SITES)
        world.inspect()


def test_what_the_new_sites_take_while_the_charter_says_moving(world: MovingWorld) -> None:
    world.open_move()
    world.close_epoch(OLD, *SITES)
    world.fence()
    world.leave()
    mine, short = world.take_at("zurich-1"), world.take_at("zurich-2", "zurich-2")
    with_moscow = world.take_at("zurich-1", "zurich-1", OLD)
    for _ in range(2):
        world.close_epoch(*SITES)
        world.inspect()
        assert says(world.check(mine))["receipt"].startswith("zurich-1 (CH), zurich-2 (CH) took in")
        assert texts(world.check(mine)) == {}
        refused(world.check(short), "receipt", Outcome.NOT_AUTHORISED, "signed by 1 of the 2 sites")
        refused(world.check(with_moscow), "receipt", Outcome.NOT_AUTHORISED, "signed by 1 of the 2 sites")
        world.close_move()


def test_what_the_old_site_takes_after_the_fence_is_covered_by_nothing(world: MovingWorld) -> None:
    world.open_move()
    world.close_epoch(OLD, *SITES)
    world.fence()
    numbers, journals, held = dict(world.numbers), dict(world.journals), dict(world.rows.held)
    late = world.take_at(OLD)
    world.numbers, world.journals, world.rows.held = numbers, journals, held
    world.leave()
    for _ in range(4):
        world.later(DAY // 2)
        world.close_epoch(*SITES)
    world.inspect()
    refused(world.check(late), "inventory", Outcome.MISMATCH, "no inventory covers it yet")


def test_signatures_of_both_sides_make_no_receipt(world: MovingWorld) -> None:
    world.open_move()
    mixed = world.take_at(OLD, OLD, "zurich-1")
    world.close_epoch(OLD, *SITES)
    world.inspect()
    refused(world.check(mixed), "receipt", Outcome.NOT_AUTHORISED, "signature of nobody who may sign it")


def test_an_inspection_of_one_new_site_is_not_enough(world: MovingWorld) -> None:
    world.open_move()
    mine = world.take_at(OLD)
    fenced = world.close_epoch(OLD, *SITES)
    world.last = {"shown": fenced[1]}
    world.inspect(inventories=(fenced[1],))
    refused(world.check(mine), "inspection", Outcome.UNDECIDED, "1 of 2 sites were inspected")
