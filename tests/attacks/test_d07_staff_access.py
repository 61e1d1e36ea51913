"""D7 Staff access without the second approval.

Cheat: somebody of the vendor's staff, with the site's own keys, opens an object that nobody allowed to be opened: with
    no request, with one that was not granted, with a grant of the vendor's own, for another object, once more than
    granted, or after the end; or the site logs uses that it was not granted, or the custodian opens more than it says.
Noticed by: the custodian, whose part of the wrapping is missing: it refuses and says so in the ledger, without the
    site's help; of what was opened all the same, by any auditor, from the ledger alone.
Seen: the refusal names why, and is in the ledger; the auditor's rule `access` names the party and what it did.
"""

from pathlib import Path

import pytest
from custodians import (
    CUSTODIAN,
    CUSTODY,
    REGION,
    SITE,
    Guarded,
    Moment,
    asking,
    grant_access,
    guarded,
    guarded_world,
    say,
)
from glasshouse_verify.access import Access, Step
from glasshouse_verify.statement import Use, make_statement
from onlookers import alarms
from region_world import RegionWorld
from world import NOW, World, charter_key, digest

from glasshouse.regions.access import Accesses
from glasshouse.regions.custody_reports import ended_accesses, refusals_to_log, tallies_to_log
from glasshouse.regions.custody_request import Item, Reason, access_commitment
from glasshouse.regions.errors import CustodyRefused

HANDLE = "5a" * 32
NONCE = bytes(range(32))
HOUR = 3_600


def log(guard: Guarded, statements: list[Access]) -> None:
    """What the custodian's worker does with what there is to say."""
    for access in statements:
        guard.world.post(make_statement(Use.ACCESS, access), "custody")


def refused(guard: Guarded, item: Item, reason: Reason, clock: Moment | None = None) -> str:
    """Why the custodian declines what staff asks for with the site's own key, as its public statement says it."""
    with asking(guard, clock=clock or (lambda: NOW)) as client, pytest.raises(CustodyRefused) as told:
        client.unwrap([item], reason)
    logged = refusals_to_log(guard.custodian, Accesses(guard.world.history), CUSTODIAN)
    assert len(logged) == 1
    log(guard, logged)
    assert not refusals_to_log(guard.custodian, Accesses(guard.world.history), CUSTODIAN)
    said = list(guard.world.history.standing(Use.ACCESS))[-1].predicate
    assert (said.step, said.party, said.region, said.site) == (Step.REFUSAL, CUSTODIAN, REGION, SITE)
    assert told.value.reason in said.purpose
    return told.value.reason


def test_control_requested_granted_read_and_closed(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        handle, wrapping = guard.wrapping()
        opened = grant_access(guard.world, handle)
        say(guard.world, "intake", Step.USE, request=opened.request, uses=1, site=SITE)
        with asking(guard) as client:
            inner = client.unwrap([Item(handle=handle, blob=wrapping.blob)], opened.reason)
        assert len(guard.wrapper.unwrap(wrapping, handle=handle, region=REGION, opened=inner[0])) == 32
        accesses = Accesses(guard.world.history)
        assert not refusals_to_log(guard.custodian, accesses, CUSTODIAN)
        tallies = tallies_to_log(guard.custodian, accesses, CUSTODIAN, NOW)
        assert [dict(tally.counts or {}) for tally in tallies] == [{opened.grant: 1}]
        log(guard, [*tallies, *ended_accesses(guard.custodian, accesses, CUSTODIAN, NOW)])
        accesses = Accesses(guard.world.history)
        assert accesses.state(accesses.courses[opened.request], NOW) == "closed"
        assert not tallies_to_log(guard.custodian, accesses, CUSTODIAN, NOW)
        assert "access" not in alarms(guard.world)


def test_attack_no_grant_at_all(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        assert refused(guard, guard.item(), Reason(grant=digest(b"none"), nonce=NONCE)) == "no-grant"


def test_attack_a_request_that_nobody_granted(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        item = guard.item()
        about = access_commitment(item.handle, NONCE)
        request = say(guard.world, "intake", Step.REQUEST, about=about, purpose="curiosity", site=SITE)
        assert refused(guard, item, Reason(grant=request, nonce=NONCE)) == "no-grant"


def test_attack_a_grant_of_the_vendors_own(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        item = guard.item()
        about = access_commitment(item.handle, NONCE)
        request = say(guard.world, "intake", Step.REQUEST, about=about, purpose="curiosity", site=SITE)
        grant = say(guard.world, "intake", Step.GRANT, request=request, uses=1, until=NOW + HOUR)
        assert refused(guard, item, Reason(grant=grant, nonce=NONCE)) == "no-grant"
        assert alarms(guard.world)["access"] == ["acme grants what it does not guard"]


def test_attack_another_object(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        opened = grant_access(guard.world, guard.item().handle)
        assert refused(guard, guard.item(), opened.reason) == "object"


def test_attack_once_more(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        item = guard.item()
        opened = grant_access(guard.world, item.handle)
        with asking(guard) as client:
            client.unwrap([item], opened.reason)
        assert refused(guard, item, opened.reason) == "used-up"


def test_attack_after_the_end(tmp_path: Path) -> None:
    clock = Moment()
    with guarded(tmp_path, clock=clock) as guard:
        item = guard.item()
        opened = grant_access(guard.world, item.handle)
        clock.now += HOUR
        assert refused(guard, item, opened.reason, clock) == "expired"


def test_attack_after_it_was_closed(tmp_path: Path) -> None:
    with guarded(tmp_path) as guard:
        item = guard.item()
        opened = grant_access(guard.world, item.handle)
        say(guard.world, "custody", Step.CLOSE, request=opened.request)
        assert refused(guard, item, opened.reason) == "no-grant"


def test_attack_the_job_as_a_pretext(tmp_path: Path) -> None:
    """A person who names a job instead of a grant gets a key, and shows in the count of that job."""
    with guarded(tmp_path) as guard:
        with asking(guard) as client:
            client.unwrap([guard.item(), guard.item()], Reason(job="analysis"))
        assert refused(guard, guard.item(), Reason(job="curiosity")) == "job"
        tallies = tallies_to_log(guard.custodian, Accesses(guard.world.history), CUSTODIAN, NOW)
        assert [dict(tally.counts or {}) for tally in tallies] == [{"analysis": 2}]


# What an auditor sees where site or custodian help each other to look


def granted(world: World, **limits: int) -> tuple[str, str]:
    about = access_commitment(HANDLE, NONCE)
    request = say(world, "intake", Step.REQUEST, about=about, purpose="a false alarm", site=SITE, **limits)
    return request, say(world, "custody", Step.GRANT, request=request, uses=1, until=NOW + HOUR)


def use(world: World, request: str, **changes: int) -> str:
    return say(world, "intake", Step.USE, request=request, site=SITE, **({"uses": 1} | changes))


def test_attack_a_use_without_a_grant() -> None:
    world = guarded_world()
    about = access_commitment(HANDLE, NONCE)
    use(world, say(world, "intake", Step.REQUEST, about=about, purpose="curiosity", site=SITE))
    assert alarms(world)["access"] == ["acme looked at an object without a grant by the custodian"]


def test_attack_a_use_of_nothing() -> None:
    world = guarded_world()
    use(world, digest(b"no request"))
    assert alarms(world)["access"] == ["acme says use of a request that is not in the ledger"]


def test_attack_uses_beyond_the_grant() -> None:
    world = guarded_world()
    request, _ = granted(world)
    use(world, request)
    assert "access" not in alarms(world)
    use(world, request, uses=2)
    assert alarms(world)["access"] == ["acme looked at an object more often than the 1 times granted"]


def test_attack_a_use_after_the_close() -> None:
    world = guarded_world()
    request, _ = granted(world)
    say(world, "intake", Step.CLOSE, request=request)
    use(world, request)
    assert alarms(world)["access"] == ["acme looked at an object after the access was closed"]


def test_attack_a_grant_of_more_than_was_asked() -> None:
    world = guarded_world()
    granted(world, until=NOW + 60)
    assert alarms(world)["access"] == ["lab grants more than was asked for"]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"curiosity": 3}, "3 data keys were opened at zurich-1 for curiosity, which is neither a job nor a grant"),
        ({digest(b"no grant"): 1}, "which is neither a job nor a grant"),
    ],
)
def test_attack_a_tally_of_what_nobody_allowed(counts: dict[str, int], text: str) -> None:
    world = guarded_world()
    say(world, "custody", Step.TALLY, counts=counts, site=SITE)
    assert text in alarms(world)["access"][0]


def test_attack_opened_and_not_logged() -> None:
    """The custodian counts what the site keeps silent about."""
    world = guarded_world()
    _, grant = granted(world)
    say(world, "custody", Step.TALLY, counts={grant: 1}, site=SITE)
    assert "of which 0 uses are logged" in alarms(world)["access"][0]
    say(world, "custody", Step.TALLY, counts={grant: 1, "analysis": 5}, site=SITE)
    assert "2 data keys were opened under the grant" in alarms(world)["access"][1]


def test_attack_a_job_that_opens_more_than_there_is() -> None:
    """A site that opens everything over and over under a job's name: the counts stand beside the inventory's."""
    world = RegionWorld(parties={"council": {"keys": {CUSTODY.keyid: charter_key(CUSTODY, "bern", ["access"])}}})
    world.keys["custody"] = CUSTODY
    world.take(b"the only object")
    for count, found in (
        (2, []),
        (3, ["3 data keys were opened at zurich-1 for analysis, where 1 objects were ever stored"]),
    ):
        say(world, "custody", Step.TALLY, party="council", counts={"analysis": count}, site=SITE)
        assert alarms(world).get("access", []) == []
        world.close()
        assert alarms(world).get("access", []) == found
