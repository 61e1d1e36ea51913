"""M10 Openings for objects that no seed draws.

Cheat: whoever has the supervisor's key asks a site for what opens objects of its own choice: before the seed stands,
    beside the sample, for another site's sample, once more after the countersignature; a member with no part in it asks
    too; the operator of the log dates and orders the reveals until another object is drawn.
Noticed by: the site, which draws by itself from its own view of the ledger, takes a request once, and counts what it
    gives; the custodian, which counts each data key.
Seen: the site refuses with a reason, gives nothing, and has recorded it; the custodian's counts show no more than the
    sample.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from glasshouse_verify.relocation import Step
from supervised import MOVE, Supervised, Supervisor

from glasshouse.relocation.errors import NotGiven
from glasshouse.relocation.giving import Refusal

HERE, THERE = "zurich-1", "zurich-2"


@pytest.fixture
def world(tmp_path: Path) -> Supervised:
    made = Supervised(tmp_path, count=60)
    made.draws = 12
    return made


def chosen(world: Supervised, site: str = HERE) -> str:
    """An object that somebody would like to read, and that the sample of this site does not have."""
    return next(handle for handle in sorted(world.rows) if handle not in world.drawn(site))


def refused(supervisor: Supervisor, ask: Callable[[], object], why: Refusal) -> None:
    with pytest.raises(NotGiven) as found:
        ask()
    assert found.value.reason == why
    assert why in supervisor.givers[HERE].refused()
    assert not supervisor.world.held[HERE].asked
    assert supervisor.givers[HERE].given() == {}


def test_attack_before_the_seed_stands(world: Supervised) -> None:
    world.arrive(until=Step.ARRIVAL)
    with world.serving() as supervisor:
        refused(supervisor, lambda: supervisor.asks(HERE).open(sorted(world.rows)[:1]), Refusal.NOT_OPEN)
        # The supervisor's own secret is not enough for it.
        world.reveal("lab")
        refused(supervisor, lambda: supervisor.asks(HERE).open(sorted(world.rows)[:1]), Refusal.NOT_OPEN)


def test_attack_one_more_beside_the_sample(world: Supervised) -> None:
    world.arrive()
    with world.serving() as supervisor:
        asked = [*world.drawn(HERE), chosen(world)]
        refused(supervisor, lambda: supervisor.asks(HERE).open(asked), Refusal.NOT_DRAWN)


def test_attack_the_sample_of_another_site(world: Supervised) -> None:
    world.arrive()
    elsewhere = sorted(set(world.drawn(THERE)) - set(world.drawn(HERE)))
    with world.serving() as supervisor:
        refused(supervisor, lambda: supervisor.asks(HERE).open(elsewhere[:1]), Refusal.NOT_DRAWN)


def test_attack_once_more_after_the_countersignature(world: Supervised) -> None:
    world.arrive()
    with world.serving() as supervisor:
        supervisor.log(supervisor.sample())
        given = supervisor.givers[HERE].given()
        with pytest.raises(NotGiven, match="no sample is open"):
            supervisor.asks(HERE).open(world.drawn(HERE)[:1])
        assert supervisor.givers[HERE].given() == given == {(MOVE, ""): len(world.drawn(HERE))}


def test_attack_a_member_without_a_part_in_it(world: Supervised) -> None:
    world.arrive()
    with world.serving() as supervisor:
        for name in ("ngo", "acme", "moscow"):
            asks = supervisor.asks(HERE, signer=world.keys[name])
            refused(supervisor, lambda asks=asks: asks.open(world.drawn(HERE)[:1]), Refusal.STRANGER)  # type: ignore[misc]


def test_attack_the_log_dates_and_orders_the_reveals(tmp_path: Path) -> None:
    """Whatever it does, the same objects are drawn, and no other is given."""
    drawn = []
    for number, parties in enumerate([("lab", "ngo"), ("ngo", "lab")]):
        world = Supervised(tmp_path / str(number), count=60)
        world.draws = 12
        world.arrive(until=Step.ARRIVAL)
        for party in parties:
            world.later(60 + 900 * number)
            world.reveal(party)
        drawn.append(world.drawn(HERE))
        with world.serving() as supervisor:
            refused(supervisor, lambda: supervisor.asks(HERE).open([chosen(world)]), Refusal.NOT_DRAWN)  # noqa: B023
    assert drawn[0] == drawn[1]


def test_control_the_sample_is_given_and_nothing_else_is_asked_for(world: Supervised) -> None:
    world.arrive()
    with world.serving() as supervisor:
        found = supervisor.sample()
        assert found.statement.step == Step.COUNTERSIGN
        assert sorted(set(world.held[HERE].asked)) == world.drawn(HERE)
        assert supervisor.givers[HERE].given() == {(MOVE, ""): len(world.drawn(HERE))}
        assert supervisor.givers[HERE].refused() == {}
