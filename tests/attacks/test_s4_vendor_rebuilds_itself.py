"""S4 Vendor's own party as its rebuilder.

Cheat: the vendor has a rebuilder of its own in the charter: itself, a subsidiary, a company that acts for it, at one or
    more removes, or a party that holds one of its keys; or it buys a rebuilder after the release.
Noticed by: everybody who reads the charter: such a charter is refused before anybody can pin or vote for it; the
    customer, where a rebuilder changed sides later.
Seen: a charter that names the rule it breaks (exit 1 or 4); exit 5 where the rebuild no longer counts. A puppet whom
    nobody declares is beyond any check of this kind: the members who vote for a charter answer for that.
"""

from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.report import Outcome
from onlookers import alarms
from world import PRODUCT, World, charter_key, seeded, texts

OWN = seeded("own")
KEY = charter_key(OWN, "bern", ["rebuild", "status"])
ACME_KEY = charter_key(seeded("acme"), "bern", ["rebuild"])
PARTY: dict[str, Any] = {"name": "Own lab", "roles": ["rebuilder", "auditor"], "keys": {OWN.keyid: KEY}}
SUBSIDIARY: dict[str, Any] = {"name": "Subsidiary", "roles": ["vendor"], "acts_for": "acme", "keys": {}}
WITH_OWN = {PRODUCT: {"gate": {"rebuilders": ["lab", "own"]}}}
HIDDEN: dict[str, tuple[dict[str, Any], str]] = {
    "declared to act for it": ({"own": PARTY | {"acts_for": "acme"}}, "stands with the vendor"),
    "a second vendor of the same house": (
        {"own": PARTY | {"roles": ["vendor", "rebuilder"], "acts_for": "acme"}},
        "stands with the vendor",
    ),
    "acting for a subsidiary": (
        {"subsidiary": SUBSIDIARY, "own": PARTY | {"acts_for": "subsidiary"}},
        "acts for nobody else",
    ),
    "acting for itself": ({"own": PARTY | {"acts_for": "own"}}, "acts for nobody else"),
    "with the vendor's key": (
        {"own": PARTY | {"keys": {seeded("acme").keyid: ACME_KEY}}},
        "a key belongs to one party only",
    ),
    "with the vendor's key under another id": ({"own": PARTY | {"keys": {OWN.keyid: ACME_KEY}}}, "is not the SHA-256"),
}


def world_with_own_lab() -> World:
    world = World(parties={"own": PARTY}, products=WITH_OWN)
    world.keys["own"] = OWN
    return world


def test_control_an_independent_party() -> None:
    world = world_with_own_lab()
    release = world.release()
    for party in ("lab", "own"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    assert alarms(world) == {}


def test_attack_the_vendor_itself() -> None:
    for rebuilders in (["lab", "acme"], ["acme", "second"], ["acme"]):
        with pytest.raises(VerifyError, match="stands with the vendor"):
            World(
                parties={"acme": {"roles": ["vendor", "ledger", "member", "rebuilder"]}},
                products={PRODUCT: {"gate": {"rebuilders": rebuilders, "quorum": 1}}},
            )


@pytest.mark.parametrize(("parties", "words"), HIDDEN.values(), ids=HIDDEN.keys())
def test_attack_hidden_behind_another_party(parties: dict[str, Any], words: str) -> None:
    with pytest.raises(VerifyError, match=words):
        World(parties=parties, products=WITH_OWN)


@pytest.mark.parametrize(("parties", "words"), HIDDEN.values(), ids=HIDDEN.keys())
def test_attack_brought_in_by_an_amendment(parties: dict[str, Any], words: str) -> None:
    with pytest.raises(VerifyError, match=words):
        World().amend({"parties": parties, "products": WITH_OWN})


def test_attack_key_moved_to_the_own_lab() -> None:
    """The key cannot leave the vendor to become somebody else's either."""
    world, acme = World(), seeded("acme")
    moved = {
        "acme": {"keys": {acme.keyid: None}},
        "own": PARTY | {"keys": {acme.keyid: ACME_KEY | {"site": "zurich-1"}}},
    }
    world.amend({"parties": moved, "products": WITH_OWN}, "acme", "ngo")
    assert world.history.chain.newest.charter.version == 1
    assert "a key is never removed" in alarms(world)["charter-chain"][0]


def test_attack_subsidiarys_product_rebuilt_by_the_house() -> None:
    """The other way round: the mother, or a sister, is no independent rebuilder of the daughter's product."""
    gate = {"rebuilders": ["lab", "own"], "quorum": 2, "accept": ["identical"], "blind": False}
    rule = {"platforms": ["any"], "channels": ["stable"], "reviewers": 0}
    rule |= {"gate": gate | {"build_in": ["CH"], "sign_in": ["CH"]}}
    with pytest.raises(VerifyError, match="stands with the vendor"):
        World(
            parties={"own": PARTY | {"acts_for": "acme"}, "daughter": SUBSIDIARY | {"keys": {}}},
            products={"daughter/tool": rule},
        )


def test_attack_rebuilder_bought_after_the_release() -> None:
    """Judged by the charter of the release it may rebuild; by the one at its own entry it acts for the vendor."""
    world = world_with_own_lab()
    release = world.release()
    honest = world.rebuild(release, "lab")
    patch = {
        "parties": {"own": {"acts_for": "acme"}},
        "products": {PRODUCT: {"gate": {"rebuilders": ["lab", "second"]}}},
    }
    bought = world.amend(patch)
    bent = world.rebuild(release, "own")
    status = world.status()
    for evidence in (
        world.evidence(),
        forge(world, release, rebuilds=[honest, bent], status=status, amendments=[bought]),
    ):
        report = world.verify(evidence)
        assert report.outcome == Outcome.UNDECIDED
        assert "own: identical, which does not count here" in texts(report)["rebuild"]


def test_control_bought_after_it_had_rebuilt() -> None:
    """What it said before it changed sides stands."""
    world = world_with_own_lab()
    release = world.release()
    for party in ("lab", "own"):
        world.rebuild(release, party)
    world.amend(
        {"parties": {"own": {"acts_for": "acme"}}, "products": {PRODUCT: {"gate": {"rebuilders": ["lab", "second"]}}}}
    )
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


def test_attack_vendors_side_signs_the_status() -> None:
    for patch in (
        {"parties": {"second": {"acts_for": "acme"}}},
        {"parties": {"own": PARTY | {"acts_for": "acme"}}, "status": {"parties": ["lab", "own"]}},
    ):
        with pytest.raises(VerifyError, match="cannot sign the status"):
            World(**patch)
