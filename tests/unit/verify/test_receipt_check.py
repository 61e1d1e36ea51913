"""A receipt against its evidence, claim by claim: what each says when it holds, and every way in which it does not."""

from dataclasses import replace
from typing import Any

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.errors import FormatError
from glasshouse_verify.receipt import Counts, Reason
from glasshouse_verify.receipt_check import (
    ReceiptEvidence,
    check_receipt,
)
from glasshouse_verify.report import Outcome, utc
from region_world import DAY, NOW, YEAR, RegionWorld, altered, receipt_of, refused, says
from world import digest, seeded, texts

CLAIMS = ["charter", "ledger", "receipt", "inventory", "inspection", "object"]


@pytest.fixture
def world() -> RegionWorld:
    return RegionWorld()


# --- honest --------------------------------------------------------------------------------------------------------


def test_the_whole_answer(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    report = world.check(mine)
    assert texts(report) == {}
    assert [claim.claim for claim in report.claims] == CLAIMS
    assert says(report)["receipt"] == (
        "zurich-1 (CH), zurich-2 (CH) took in 15 bytes for kookaburra: suspicious, kept until " + utc(NOW + YEAR)
    )
    assert says(report)["object"] == f"it is held as of {utc(world.now)}, to be erased by {utc(NOW + YEAR)}"
    for claim in report.claims:
        assert claim.by
        assert claim.when is not None
        assert claim.recheck.startswith("glasshouse ")
        assert claim.limit
    limits = {claim.claim: claim.limit for claim in report.claims}
    assert "covers what was sent through the intake" in limits["receipt"]
    assert "No cryptography shows that no copy exists" in limits["object"]


def test_a_row_needs_no_inspection(world: RegionWorld) -> None:
    mine = world.take()
    world.close()
    report = world.check(mine)
    assert report.outcome == Outcome.VERIFIED
    assert [claim.claim for claim in report.claims] == ["charter", "ledger", "receipt", "inventory", "object"]


def test_an_inspection_that_is_shown_is_judged(world: RegionWorld) -> None:
    mine = world.take()
    world.close()
    world.inspect(epoch=7)
    refused(world.check(mine), "inspection", Outcome.MISMATCH, "other rows")


@pytest.mark.parametrize("reason", list(Reason))
def test_erased_by_right(world: RegionWorld, reason: Reason) -> None:
    mine = world.honest_receipt()
    if reason == Reason.RETENTION:
        world.later(YEAR)
    if reason == Reason.CATEGORY:
        world.amend({"regions": {"au": {"categories": {"suspicious": None}}}})
    world.later(DAY // 4)
    removed = world.erase(mine, reason)
    world.close()
    refused(world.check(mine), "object", Outcome.UNDECIDED, "no auditor has checked")
    world.inspect()
    report = world.check(mine)
    assert texts(report) == {}
    assert says(report)["object"] == (
        f"it was erased on {utc(removed.removed)} ({reason}): "
        f"removed; backups and logs may hold it until {utc(removed.removed + 30 * DAY)}"
    )
    world.later(DAY)
    world.rows.erased[removed.key] = encode(replace(removed, residue_until=None))
    world.close()
    world.inspect()
    assert says(world.check(mine))["object"].endswith(": irrecoverable")


def test_a_shortened_category(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    world.amend({"regions": {"au": {"categories": {"suspicious": {"retention": 2 * DAY}}}}})
    world.later(DAY)
    world.erase(mine, Reason.CATEGORY)
    world.close()
    world.inspect()
    refused(world.check(mine), "object", Outcome.MISMATCH, "which no charter had ended or shortened by then")
    world.rows.erased.clear()
    world.later(DAY)
    world.erase(mine, Reason.CATEGORY)
    world.close()
    world.inspect()
    assert world.check(mine).outcome == Outcome.VERIFIED


def test_amendments_between_receipt_and_inventory(world: RegionWorld) -> None:
    mine = world.take()
    world.amend({"status": {"maximum_age": 3_600}})
    world.close()
    world.amend({"regions": {"au": {"interval": DAY // 2}}})
    world.inspect()
    assert world.check(mine).outcome == Outcome.VERIFIED


# --- receipt -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signers", "outcome"),
    [
        (("zurich-1", "zurich-2"), Outcome.VERIFIED),
        (("zurich-2", "zurich-1"), Outcome.VERIFIED),
        (("zurich-1",), Outcome.NOT_AUTHORISED),
        (("zurich-2",), Outcome.NOT_AUTHORISED),
        (("zurich-1", "acme"), Outcome.NOT_AUTHORISED),
        (("zurich-1", "bern-site"), Outcome.NOT_AUTHORISED),
        (("acme", "lab"), Outcome.NOT_AUTHORISED),
        (("mallory",), Outcome.NOT_AUTHORISED),
        (("zurich-1", "zurich-2", "mallory"), Outcome.NOT_AUTHORISED),
    ],
)
def test_sites_that_sign(world: RegionWorld, signers: tuple[str, ...], outcome: Outcome) -> None:
    mine = world.take(b"mine", *signers)
    world.close()
    assert world.check(mine).outcome == outcome


def test_two_keys_of_one_site_are_one_site() -> None:
    second = seeded("zurich-1 again")
    key = {second.keyid: {"public": encode(second.public), "site": "zurich-1", "uses": ["receipt"]}}
    world = RegionWorld(parties={"acme": {"keys": key}})
    world.keys["again"] = second
    mine = world.take(b"mine", "zurich-1", "again")
    world.close()
    refused(world.check(mine), "receipt", Outcome.NOT_AUTHORISED, "signed by 1 of the 2 sites")


def test_a_key_of_another_party_at_the_site() -> None:
    lodger = seeded("lodger")
    key = {lodger.keyid: {"public": encode(lodger.public), "site": "zurich-2", "uses": ["receipt", "inventory"]}}
    world = RegionWorld(parties={"lab": {"keys": key}})
    world.keys["lodger"] = lodger
    mine = world.take(b"mine", "zurich-1", "lodger")
    world.close()
    refused(world.check(mine), "receipt", Outcome.NOT_AUTHORISED, "signed by 1 of the 2 sites")


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        ({"category": "secret"}, Outcome.NOT_AUTHORISED, "keeps no secret"),
        ({"retention": YEAR - 1}, Outcome.NOT_AUTHORISED, "keeps no suspicious for 31535999 s"),
        ({"retention": 10 * YEAR}, Outcome.NOT_AUTHORISED, "keeps no suspicious"),
        ({"country": "DE"}, Outcome.NOT_AUTHORISED, "does not belong to the region au"),
        ({"epoch": 0}, Outcome.NOT_AUTHORISED, "in force from epoch 1, not 0"),
        ({"region": "eu"}, Outcome.NOT_AUTHORISED, "has no region eu"),
        ({"site": "zurich-2", "party": "lab"}, Outcome.NOT_AUTHORISED, "no key of lab at zurich-2"),
        ({"site": "bern"}, Outcome.NOT_AUTHORISED, "no key of acme at bern"),
        ({"charter": digest(b"other")}, Outcome.NOT_AUTHORISED, "does not follow from the one you pinned"),
        ({"time": NOW + 1}, Outcome.UNDECIDED, "after the time given"),
    ],
)
def test_receipts_that_say_something_else(
    world: RegionWorld, changes: dict[str, Any], outcome: Outcome, words: str
) -> None:
    mine = world.take()
    world.close()
    refused(world.check(altered(mine, world, **changes)), "receipt", outcome, words)


def test_a_charter_that_was_replaced_long_ago(world: RegionWorld) -> None:
    first = world.history.chain.newest.id
    world.amend({"status": {"maximum_age": 3_600}})
    for seconds, outcome in ((DAY, Outcome.VERIFIED), (1, Outcome.NOT_AUTHORISED)):
        world.later(seconds)
        mine = world.take(charter=first)
        world.close()
        world.inspect()
        assert world.check(mine).outcome == outcome, seconds


def test_another_statement_is_no_receipt(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    evidence = world.receipt_evidence(mine)
    with pytest.raises(FormatError, match="another kind of statement"):
        check_receipt(world.pin, evidence, world.envelope(world.pin, "acme"), NOW)


def test_every_member_of_the_receipt_altered(world: RegionWorld) -> None:
    """Under the signatures that the sites gave for another: nothing but the whole receipt is theirs."""
    mine = world.honest_receipt()
    evidence, receipt = world.receipt_evidence(mine), receipt_of(mine)
    for name, value in encode(receipt).items():
        wrong = value + 1 if isinstance(value, int) else digest(b"x") if len(value) == 64 else "nz"
        if name in ("country", "customer_key"):
            wrong = {"country": "NZ", "customer_key": bytes(range(32))}[name]
        changed = altered(mine, world, **{name: wrong})
        forged = replace(changed, signatures=mine.signatures)
        assert world.check(forged, evidence).outcome == Outcome.NOT_AUTHORISED, name


# --- inventory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "signers", "words"),
    [
        ({"site": "zurich-1"}, ("zurich-2",), "no key of acme at zurich-1"),
        ({"site": "bern", "party": "lab"}, ("lab",), "the ledger has no inventory"),
        ({"party": "lab"}, ("zurich-1",), "the ledger has no inventory"),
        ({}, ("mallory",), "the ledger has no inventory"),
        ({"charter": digest(b"other")}, (), "under a charter that the evidence does not show"),
    ],
)
def test_whose_inventory_it_is(
    world: RegionWorld, changes: dict[str, Any], signers: tuple[str, ...], words: str
) -> None:
    mine = world.take()
    world.close("zurich-1", signers=signers, **changes)
    if "ledger" in words:
        with pytest.raises(Exception, match=words):
            world.check(mine)
    else:
        refused(world.check(mine), "inventory", Outcome.NOT_AUTHORISED, words)


def test_a_charter_amended_after_the_inventory_is_not_its_charter(world: RegionWorld) -> None:
    mine = world.take()
    future = world.history.chain.newest
    world.close()
    amended = world.amend({"status": {"maximum_age": 3_600}})
    assert world.check(mine).outcome == Outcome.VERIFIED
    assert future.id != amended


def test_an_inventory_of_another_region() -> None:
    eu = encode(__import__("region_examples").region()) | {"countries": ["DE"]}
    world = RegionWorld(regions={"eu": eu})
    mine = world.take()
    world.close(region="eu")
    report = world.check(mine)
    refused(report, "inventory", Outcome.UNDECIDED, "of the region eu")
    refused(report, "object", Outcome.UNDECIDED, "nothing is said")


def spoilt(counts: Counts) -> dict[str, Counts]:
    return {name: replace(counts, **{name: value + 1}) for name, value in encode(counts).items()}


def test_counts_that_do_not_reconcile(world: RegionWorld) -> None:
    mine = world.take()
    for name, counts in spoilt(world.counts()).items():
        if name == "on_hold":
            continue
        world.close(counts=counts)
        refused(world.check(mine), "inventory", Outcome.MISMATCH, "counts do not reconcile")


def test_counts_of_rows_that_are_not_there(world: RegionWorld) -> None:
    mine = world.take()
    counts = world.counts()
    more = replace(counts, received=2, stored=2, pending=2, held=2)
    world.close(counts=more)
    refused(world.check(mine), "inventory", Outcome.MISMATCH, "1 rows for 2 held")
    buried = replace(counts, received=2, stored=2, erased_before_analysis=1, erased=1)
    world.close(counts=buried)
    refused(world.check(mine), "inventory", Outcome.MISMATCH, "0 rows for 1 erased")


@pytest.mark.parametrize(
    "changes", [{"receipts": {"zurich-1": 0, "zurich-2": 9}}, {"receipts": {"zurich-2": 9}}, {"receipts": {}}]
)
def test_no_inventory_covers_it_yet(world: RegionWorld, changes: dict[str, Any]) -> None:
    mine = world.take()
    world.later(DAY)
    world.close(**changes)
    world.inspect()
    refused(world.check(mine), "inventory", Outcome.UNDECIDED, "no inventory covers it yet")
    world.later(DAY + 30)
    evidence = world.receipt_evidence(mine)
    refused(world.check(mine, evidence), "inventory", Outcome.UNDECIDED, "no inventory covers it yet")
    world.later(1)
    refused(world.check(mine), "inventory", Outcome.MISMATCH, "although it was due by " + utc(NOW + 2 * DAY))
    # The file that was made in time accuses nobody of what came after it.
    refused(world.check(mine, evidence), "inventory", Outcome.UNDECIDED, "no inventory covers it yet")


def test_an_epoch_that_never_comes(world: RegionWorld) -> None:
    mine = world.take(epoch=1_000_000)
    world.close()
    refused(world.check(mine), "inventory", Outcome.UNDECIDED, "no inventory covers it yet")


def test_an_inventory_of_tomorrow(world: RegionWorld) -> None:
    mine = world.take()
    world.close(time=NOW + 1)
    refused(world.check(mine), "inventory", Outcome.UNDECIDED, "after the time given")


def test_age_of_the_inventory(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    evidence = world.receipt_evidence(mine)
    for seconds, outcome in ((-1, 5), (0, 0), (2 * DAY, 0), (2 * DAY + 1, 5)):
        at = world.now + seconds
        assert world.check(mine, evidence, at=at).outcome == outcome, seconds


# --- inspection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signers", "changes", "outcome", "words"),
    [
        ((), {"inventories": (digest(b"x"),)}, None, ""),
        ((), {"epoch": 3}, Outcome.MISMATCH, "found other rows"),
        ((), {"region": "eu"}, Outcome.MISMATCH, "found other rows"),
        ((), {"time": NOW + DAY + 1}, Outcome.UNDECIDED, "after the time given"),
    ],
)
def test_inspections_of_something_else(
    world: RegionWorld, signers: tuple[str, ...], changes: dict[str, Any], outcome: Outcome | None, words: str
) -> None:
    mine = world.take()
    world.close()
    world.inspect(*signers, **changes)
    report = world.check(mine)
    if outcome is None:
        assert "inspection" not in says(report)
    else:
        refused(report, "inspection", outcome, words)


def test_an_inspection_of_one_site_only(world: RegionWorld) -> None:
    mine = world.take()
    ids = world.close()
    world.inspect(inventories=(ids[0],))
    refused(world.check(mine), "inspection", Outcome.UNDECIDED, "1 of 2 sites were inspected")


def test_another_inspection_than_the_inventorys(world: RegionWorld) -> None:
    mine = world.take()
    world.close()
    world.inspect()
    first = world.receipt_evidence(mine)
    world.close()
    world.inspect()
    mixed = world.receipt_evidence(mine)
    older = replace(mixed, inventory=first.inventory, held=first.held, erased=first.erased)
    report = check_receipt(world.pin, reproven(world, older), mine, world.now)
    refused(report, "inspection", Outcome.UNDECIDED, "of other inventories")


def reproven(world: RegionWorld, evidence: ReceiptEvidence) -> ReceiptEvidence:
    """The same statements with the proof that belongs to them."""
    from forgery import proof

    assert evidence.inspection is not None
    shown = [evidence.inventory.index, evidence.inspection.index]
    return replace(evidence, hashes=proof(world, shown, set(), len(world.entries)))


def test_an_auditor_who_stands_with_the_site() -> None:
    """The charter keeps vendors from signing the status; a site of another party may be an auditor's own."""
    lab = seeded("lab")
    key = {lab.keyid: {"uses": ["inspection", "receipt", "inventory", "charter"], "site": "zurich-2"}}
    site = {"sites": {"zurich-2": {"party": "lab"}}}
    world = RegionWorld(parties={"lab": {"keys": key}}, regions={"au": site})
    mine = world.take(b"mine", "zurich-1", "lab")
    world.close("zurich-1")
    world.inspect("lab", inventories=tuple(sorted((next(iter(world.last.values())), digest(b"x")))))
    refused(world.check(mine), "inspection", Outcome.NOT_AUTHORISED, "independent of the sites")


def test_an_inspection_by_nobodys_auditor(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    evidence = world.receipt_evidence(mine)
    assert evidence.inspection is not None
    index = len(world.entries)
    world.inspect("mallory")
    forged = replace(evidence.inspection, index=index, signatures=envelope_of(world, index).signatures)
    report = world.check(mine, reproven(world, replace(evidence, inspection=forged, checkpoint=shown(world))))
    refused(report, "inspection", Outcome.NOT_AUTHORISED, "no entitled key of lab")


def envelope_of(world: RegionWorld, index: int) -> Envelope:
    from glasshouse_verify.dsse import parse_envelope

    return parse_envelope(world.entries[index])


def shown(world: RegionWorld) -> str:
    return world.checkpoint().decode()
