"""The proof that a region has left a site: nobody has it without the closing amendment of the members' quorum."""

from collections.abc import Callable

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.region import Origin
from leaving import Leaving, moving

from glasshouse.regions.errors import InvalidInput


def never_opened(world: Leaving) -> None:
    world.amend(world.closing())


def still_open(world: Leaving) -> None:
    world.open()


def closed_without_the_quorum(world: Leaving) -> None:
    world.open()
    world.amend(world.closing(), "acme")


def dropped_but_still_a_site(world: Leaving) -> None:
    world.open()
    world.amend({"regions": {"au": {"moving": None}}})


def taken_back_in(world: Leaving) -> None:
    world.open()
    world.amend(world.closing())
    world.amend({"regions": {"au": {"sites": {"moscow": encode(world.before.sites["moscow"])}}}})


def leaving_again(world: Leaving) -> None:
    world.open()
    world.amend(world.closing())
    other = encode(moving(Origin.STORE, id="au-2027"))
    world.amend({"regions": {"au": {"moving": other}}})


@pytest.mark.parametrize(
    "story",
    [
        never_opened,
        still_open,
        closed_without_the_quorum,
        dropped_but_still_a_site,
        taken_back_in,
        leaving_again,
    ],
)
def test_there_is_no_proof_without_the_closing_amendment(story: Callable[[Leaving], None]) -> None:
    world = Leaving()
    story(world)
    with pytest.raises(InvalidInput, match="charter"):
        world.closed()


@pytest.mark.parametrize("source", list(Origin))
def test_the_proof_names_the_amendment(source: Origin) -> None:
    world = Leaving(source)
    world.open()
    amendment = world.amend(world.closing())
    world.amend({"initiative": "Renamed since"})
    proof = world.closed()
    assert (proof.link.id, proof.moving.quarantine) == (amendment, moving().quarantine)
