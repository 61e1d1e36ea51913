"""S6 One member signs two successors of one charter.

Cheat: a member votes for two versions that both follow the same charter. Each has its quorum, and each could be shown
    to other people: the one that is in force, and one that suits the cheat.
Noticed by: everybody who reads the ledger, at once, and with the member's own two signatures as proof; the customer,
    because the status names the charter in force.
Seen: the lower entry is the charter; the auditor's rule `charter-chain` names the member and both votes; exit 4 for
    evidence that shows the other one.
"""

from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.errors import CharterError
from glasshouse_verify.report import Outcome
from onlookers import alarms
from world import PRODUCT, World, charter_key, seeded, texts

STRICTER: dict[str, Any] = {"status": {"maximum_age": 3600}}
WEAKER: dict[str, Any] = {"products": {PRODUCT: {"gate": {"quorum": 1}}}}
TWICE = "acme signed two successors of one charter"


def blamed(world: World) -> list[str]:
    return [text.partition(": ")[2] for text in alarms(world).get("charter-chain", [])]


def two_successors() -> tuple[World, int, int]:
    """Version 2 in force at the first index, another version 2 with a full quorum at the second."""
    world = World()
    second = world.amendment(WEAKER)
    world.amend(STRICTER, "acme", "ngo")
    world.post(second, "acme", "lab")
    return world, 1, 2


def test_control_one_successor_after_another() -> None:
    world = World()
    world.amend(STRICTER, "acme", "ngo")
    world.amend(WEAKER, "acme", "lab")
    assert world.history.chain.newest.charter.version == 3
    assert blamed(world) == []
    world.honest()
    assert world.verify().outcome == Outcome.VERIFIED


def test_control_the_lower_one_is_the_charter() -> None:
    world, first, _ = two_successors()
    assert world.history.chain.newest.index == first
    world.honest()
    report = world.verify()
    assert report.outcome == Outcome.VERIFIED
    assert world.evidence().amendments[0].index == first


def test_attack_second_successor() -> None:
    world, _, _ = two_successors()
    assert TWICE in blamed(world)
    (anomaly,) = (found for found in world.history.anomalies if found.rule == "two-successors")
    assert len(set(anomaly.about)) == 2


def test_attack_the_other_successor_shown_to_a_customer() -> None:
    """One rebuild would be enough under it, and there is one: but the status was made under the charter in force."""
    world, _, other = two_successors()
    release = world.release()
    rebuild = world.rebuild(release, "lab")
    status = world.status()
    report = world.verify(forge(world, release, rebuilds=[rebuild], status=status, amendments=[other]))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report) == {"status": "the status was made under a charter that the evidence does not show"}


def test_attack_both_shown_as_a_chain() -> None:
    world, first, other = two_successors()
    release = world.release()
    report = world.verify(forge(world, release, amendments=[first, other]))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "does not follow version 2" in texts(report)["charter"]


def test_attack_vote_added_once_the_first_is_in_force() -> None:
    """Lab joins the charter in force in a later entry, then votes against it: that entry counts as a vote too."""
    world = World()
    first, second = world.amendment(STRICTER), world.amendment(WEAKER)
    world.post(first, "acme", "ngo")
    world.post(first, "acme", "ngo", "lab")
    world.post(second, "lab")
    assert "lab signed two successors of one charter" in blamed(world)


def test_attack_by_a_member_whom_the_first_successor_removes() -> None:
    """It is a member of the charter that both name as their predecessor: that is what its vote is judged by."""
    world = World()
    first = world.amendment({"members": {"parties": ["lab", "ngo"]}})
    second = world.amendment(WEAKER)
    world.post(first, "acme", "ngo")
    world.post(second, "acme", "lab")
    assert TWICE in blamed(world)


def test_attack_with_another_key_of_the_same_member() -> None:
    spare = seeded("acme-spare")
    world = World(parties={"acme": {"keys": {spare.keyid: charter_key(spare, "zurich-1", ["charter"])}}})
    world.keys["acme-spare"] = spare
    first, second = world.amendment(STRICTER), world.amendment(WEAKER)
    world.post(first, "acme", "ngo")
    world.post(second, "acme-spare")
    assert TWICE in blamed(world)


def test_attack_before_either_is_in_force() -> None:
    world = World()
    first, second = world.amendment(STRICTER), world.amendment(WEAKER)
    world.post(first, "acme")
    world.post(second, "acme")
    assert world.history.chain.newest.charter.version == 1
    assert TWICE in blamed(world)


def test_control_nobody_is_blamed_for_a_stolen_key() -> None:
    """A vote with a key after its stop index is no vote, for whichever successor."""
    world = World()
    spare, acme = seeded("acme-spare"), world.keys["acme"].keyid
    keys = {acme: {"stops": 1}, spare.keyid: charter_key(spare, "zurich-1", ["charter"])}
    first, second = world.amendment({"parties": {"acme": {"keys": keys}}}), world.amendment(WEAKER)
    world.post(first, "lab", "ngo")
    world.post(second, "acme")
    assert not any("acme signed two" in text for text in blamed(world))


def test_control_quorums_always_share_a_member() -> None:
    """Two disjoint quorums could amend twice without anybody voting twice: no charter allows that."""
    with pytest.raises(CharterError, match="more than half"):
        World(members={"parties": ["acme", "lab"], "quorum": 1})
