"""Requests and grants as the ledger has them; what a custodian has to say; looking at one object; holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from custodians import CUSTODIAN, SITE, guarded, guarded_world, say
from glasshouse_verify.access import Step
from glasshouse_verify.statement import Use, make_statement
from keepers import Opener
from onlookers import alarms
from sites import Ground, Site, running_region
from world import NOW, World, charter_key, seeded

from glasshouse.regions.access import Accesses, Opening, ask, check_standing, new_nonce
from glasshouse.regions.custody_reports import ended_accesses, tallies_to_log
from glasshouse.regions.custody_request import Item, Reason, access_commitment
from glasshouse.regions.errors import CustodyRefused, InvalidInput
from glasshouse.regions.keeping.holds import hold, noted, release, standing
from glasshouse.regions.keeping.looking import look
from glasshouse.regions.keeping.wishes import wish
from glasshouse.storage.db import Database

HANDLE = "5a" * 32
HOUR = 3_600
STRANGER = seeded("a stranger with an access key")


@pytest.fixture
def world() -> World:
    return guarded_world()


def requested(world: World, **limits: Any) -> str:
    asked, opening = ask(
        HANDLE,
        party="acme",
        region="au",
        site=SITE,
        purpose="why",
        now=NOW,
        **({"uses": 2, "until": NOW + HOUR} | limits),
    )
    assert asked.about == access_commitment(HANDLE, opening.nonce)
    return world.post(make_statement(Use.ACCESS, asked), "intake")


def grant(world: World, request: str, *, uses: int = 2, until: int = NOW + HOUR) -> str:
    return say(world, "custody", Step.GRANT, request=request, uses=uses, until=until)


def use(world: World, request: str) -> str:
    about = access_commitment(HANDLE, new_nonce())
    return say(world, "intake", Step.USE, request=request, about=about, uses=1, site=SITE)


def state(world: World, request: str, now: int = NOW) -> str:
    accesses = Accesses(world.history)
    return accesses.state(accesses.courses[request], now)


def test_an_access_runs_its_course(world: World) -> None:
    request = requested(world)
    assert state(world, request) == "requested"
    given = grant(world, request)
    assert state(world, request) == "granted"
    assert state(world, request, NOW + HOUR) == "expired"
    found = Accesses(world.history).granted(given)
    assert found is not None
    assert (found[1].uses, found[1].until) == (2, NOW + HOUR)
    use(world, request)
    assert state(world, request) == "granted"
    use(world, request)
    assert state(world, request) == "used up"
    say(world, "intake", Step.CLOSE, request=request)
    assert state(world, request) == "closed"
    assert Accesses(world.history).granted(given) is None


@pytest.mark.parametrize(
    ("steps", "now", "reason"),
    [
        ((), NOW, "no-grant"),
        (("grant",), NOW + HOUR, "expired"),
        (("grant", "use", "use"), NOW, "used-up"),
        (("grant", "close"), NOW, "no-grant"),
    ],
)
def test_a_site_refuses_what_it_can_see_to_be_missing(
    world: World, steps: tuple[str, ...], now: int, reason: str
) -> None:
    request = requested(world)
    for step in steps:
        if step == "grant":
            grant(world, request)
        elif step == "use":
            use(world, request)
        else:
            say(world, "intake", Step.CLOSE, request=request)
    accesses = Accesses(world.history)
    with pytest.raises(CustodyRefused) as refused:
        check_standing(accesses, accesses.courses[request], now)
    assert refused.value.reason == reason


def test_a_close_of_a_stranger_closes_nothing(world: World) -> None:
    other = charter_key(STRANGER, "oslo", ["access"])
    world.amend({"parties": {"second": {"keys": {STRANGER.keyid: other}}}})
    world.keys["stranger"] = STRANGER
    request = requested(world)
    grant(world, request)
    say(world, "stranger", Step.CLOSE, request=request, party="second")
    assert state(world, request) == "granted"
    assert alarms(world)["access"] == ["second says close, and has no part in au"]
    say(world, "custody", Step.CLOSE, request=request)
    assert state(world, request) == "closed"


def test_a_grant_that_gives_more_does_not_count(world: World) -> None:
    request = requested(world)
    for more in ({"uses": 3}, {"until": NOW + HOUR + 1}):
        grant(world, request, **more)
    assert state(world, request) == "requested"
    grant(world, request, uses=1)
    assert state(world, request) == "granted"
    assert alarms(world)["access"] == ["lab grants more than was asked for"] * 2


def test_where_custody_is_the_sites_own_a_use_needs_a_request_only() -> None:
    regions = {"regions": {"au": {"custody": {"mode": "site", "party": None, "url": None, "key": None}}}}
    world = guarded_world()
    world.amend(regions)
    request = requested(world)
    use(world, request)
    assert "access" not in alarms(world)
    say(world, "custody", Step.GRANT, request=request, uses=1, until=NOW + HOUR)
    assert alarms(world)["access"] == ["lab grants what it does not guard"]


def test_tallies_say_what_was_counted_since(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:

        def unwrap(count: int, job: str) -> None:
            from custodians import INTAKE, request_of

            from glasshouse.regions.custody_request import KEY_HEADER, SIGNATURE_HEADER, format_request, sign_request

            items: list[Item] = [guard.item() for _ in range(count)]
            body = format_request(request_of(*items, reason=Reason(job=job)))  # type: ignore[arg-type]
            signed = sign_request(body, INTAKE)
            guard.custodian.unwrap(body, signed[KEY_HEADER], signed[SIGNATURE_HEADER])

        def tally() -> list[dict[str, int]]:
            said = tallies_to_log(guard.custodian, Accesses(guard.world.history), CUSTODIAN, NOW)
            for access in said:
                guard.world.post(make_statement(Use.ACCESS, access), "custody")
            return [dict(access.counts or {}) for access in said]

        assert tally() == []
        unwrap(2, "analysis")
        assert tally() == [{"analysis": 2}]
        assert tally() == []
        unwrap(1, "analysis")
        unwrap(3, "rewrap")
        assert tally() == [{"analysis": 1, "rewrap": 3}]
        total = Accesses(guard.world.history).tallies(CUSTODIAN)
        assert dict(total) == {("au", SITE, "analysis"): 3, ("au", SITE, "rewrap"): 3}


def test_what_has_expired_is_closed_once(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        request = requested(guard.world)
        grant(guard.world, request)
        for now, ends in ((NOW, []), (NOW + HOUR, ["expired"]), (NOW + HOUR, [])):
            said = ended_accesses(guard.custodian, Accesses(guard.world.history), CUSTODIAN, now)
            assert [access.purpose for access in said] == ends
            for access in said:
                guard.world.post(make_statement(Use.ACCESS, access), "custody")
        assert state(guard.world, request) == "closed"


# At real sites


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    with running_region(Ground(tmp_path_factory.mktemp("access")), database, other_database) as sites:
        yield sites


@pytest.mark.parametrize("size", [0, 15, 200_000])
def test_one_object_is_opened_with_both_layers(region: tuple[Site, Site], size: int) -> None:
    content = bytes(size)
    for site, handle in ((site, region[0].upload(content).handle) for site in region):
        opening = Opening(handle=handle, nonce=new_nonce())  # type: ignore[arg-type]
        looked = look(site.place, Opener(), opening, "11" * 32)
        assert b"".join(looked.content) == content
        assert looked.metadata == {"name": "sample.bin"}


def test_nothing_is_opened_by_the_site_alone(region: tuple[Site, Site]) -> None:
    opening = Opening(handle=region[0].upload(b"guarded").handle, nonce=new_nonce())  # type: ignore[arg-type]
    for custodian, named in ((None, "11" * 32), (Opener(), None)):
        with pytest.raises(InvalidInput, match="custodian has to open"):
            look(region[0].place, custodian, opening, named)


@pytest.mark.parametrize("handle", ["", "zz", "00" * 32, "../../etc/passwd"])
def test_what_is_no_object_here_is_said_to_be_none(region: tuple[Site, Site], handle: str) -> None:
    place = region[0].place
    with pytest.raises(InvalidInput, match="handle"):
        look(place, Opener(), Opening(handle=handle, nonce=new_nonce()), "11" * 32)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="handle"):
        hold(place, handle, "why", NOW)


def test_holds_are_said_and_ended_under_one_commitment(region: tuple[Site, Site]) -> None:
    from keepers import keeper
    from ledgers import until

    one = region[0]
    handle = one.upload(b"on hold").handle

    def happens(access: Any) -> None:
        with one.place.database.transaction() as connection:
            wish(connection, noted(access, handle, "22" * 32))
        until(lambda: keeper(one).step() is False)

    with pytest.raises(InvalidInput, match="not on hold"):
        release(one.place, handle, "why", NOW)
    begun = hold(one.place, handle, "a court", NOW)
    happens(begun)
    assert standing(one.place, handle).on_hold
    with pytest.raises(InvalidInput, match="on hold already"):
        hold(one.place, handle, "another court", NOW)
    ended = release(one.place, handle, "done", NOW)
    assert (ended.step, ended.about) == (Step.RELEASE, begun.about)
    happens(ended)
    again = hold(one.place, handle, "a court", NOW)
    assert again.about != begun.about
