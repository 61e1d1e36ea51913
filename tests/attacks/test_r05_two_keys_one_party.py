"""R5 One party posing as two rebuilders with two keys.

Cheat: the charter asks for two rebuilds. One rebuilder, in league with the vendor, makes both: with two keys of its
    own, or in the name of the other rebuilder.
Noticed by: the customer, whose gate counts parties and never keys; the other rebuilder and every auditor where its
    name was used.
Seen: exit 5, one of two rebuilds; exit 4 where a rebuild is signed in another's name; the auditor's rule `entitlement`
    raises an alarm.
"""

from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.errors import CharterError
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use, make_statement
from onlookers import alarms
from world import PRODUCT, World, charter_key, seeded, texts

SPARE = seeded("lab-spare")


def two_keyed() -> tuple[World, str]:
    """The lab has a second key that may sign rebuilds and status, at another site."""
    uses = ["rebuild", "status"]
    world = World(parties={"lab": {"keys": {SPARE.keyid: charter_key(SPARE, "oslo", uses)}}})
    world.keys["lab-spare"] = SPARE
    return world, world.release()


def test_control_two_parties() -> None:
    world, release = two_keyed()
    world.rebuild(release, "lab", signer="lab-spare")
    world.rebuild(release, "second")
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


def test_attack_one_rebuild_with_each_key() -> None:
    world, release = two_keyed()
    verdicts = [
        world.rebuild(release, "lab", time=world.now - 500),
        world.rebuild(release, "lab", time=world.now - 400, signer="lab-spare"),
    ]
    status = world.status()
    for evidence in (world.evidence(), forge(world, release, rebuilds=verdicts[:1], status=status)):
        report = world.verify(evidence)
        assert report.outcome == Outcome.UNDECIDED
        assert texts(report)["rebuild"].startswith("1 of the 2 rebuilds")
    both = world.verify(forge(world, release, rebuilds=verdicts, status=status))
    assert both.outcome == Outcome.MISMATCH


def test_attack_without_a_status_too() -> None:
    world, release = two_keyed()
    for n, signer in enumerate(("lab", "lab-spare")):
        world.rebuild(release, "lab", time=world.now - n, signer=signer)
    assert texts(world.verify())["rebuild"].startswith("1 of the 2 rebuilds")


def test_attack_one_rebuild_signed_by_both_keys() -> None:
    world, release = two_keyed()
    world.post(make_statement(Use.REBUILD, world.rebuild_of(release, "lab")), "lab", "lab-spare")
    world.status()
    assert texts(world.verify())["rebuild"].startswith("1 of the 2 rebuilds")


def test_attack_one_rebuild_logged_twice() -> None:
    world, release = two_keyed()
    payload = make_statement(Use.REBUILD, world.rebuild_of(release, "lab"))
    world.post(payload, "lab")
    again = len(world.entries)
    world.post(payload, "lab-spare")
    status = world.status()
    report = world.verify(forge(world, release, rebuilds=[again - 1, again], status=status))
    assert report.outcome == Outcome.UNDECIDED
    assert texts(report)["rebuild"].startswith("1 of the 2 rebuilds")


@pytest.mark.parametrize("signers", [("lab",), ("lab-spare",), ("lab", "lab-spare"), ("mallory", "lab")])
def test_attack_in_the_name_of_the_other(signers: tuple[str, ...]) -> None:
    world, release = two_keyed()
    honest = world.rebuild(release, "lab")
    posed = world.post(make_statement(Use.REBUILD, world.rebuild_of(release, "second")), *signers)
    status = world.status()
    assert world.verify().outcome == Outcome.UNDECIDED
    report = world.verify(forge(world, release, rebuilds=[honest, posed], status=status))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report)["rebuild"] == "no entitled key of second signed its rebuild"
    assert "no key of second may sign this rebuild" in alarms(world)["entitlement"][0]


def test_attack_status_signed_with_both_keys() -> None:
    """The same trick for the status, which two auditors must sign."""
    world, release = two_keyed()
    for party in ("lab", "second"):
        world.rebuild(release, party)
    status = world.status("lab", "lab-spare")
    assert world.verify().outcome == Outcome.UNDECIDED
    verdicts = [3, 4]
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status))
    assert report.outcome == Outcome.UNDECIDED
    assert texts(report)["status"].startswith("the status has 1 of the 2 signatures")


SHELL: dict[str, Any] = {"name": "A shell", "roles": ["rebuilder"], "acts_for": "beta", "keys": {}}
BETA: dict[str, Any] = {"name": "Beta", "roles": ["vendor", "rebuilder"], "keys": {}}


def test_attack_two_parties_of_one_owner() -> None:
    """Two names in the charter, one owner behind them: a charter that counts both is refused."""
    with pytest.raises(CharterError, match="another rebuilder"):
        World(parties={"beta": BETA, "shell": SHELL}, products={PRODUCT: {"gate": {"rebuilders": ["beta", "shell"]}}})
