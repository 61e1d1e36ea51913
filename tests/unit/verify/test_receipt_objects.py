"""What a receipt's check says of the object: held, erased by right, lost, kept too long; and of a tampered file."""

from dataclasses import replace
from typing import Any

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import EnvelopeSignature
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.receipt import Reason
from glasshouse_verify.receipt_check import format_receipt_evidence, parse_receipt_evidence
from glasshouse_verify.report import Outcome
from region_world import DAY, NOW, SITES, YEAR, RegionWorld, altered, receipt_of, refused
from world import digest


@pytest.fixture
def world() -> RegionWorld:
    return RegionWorld()


# --- object --------------------------------------------------------------------------------------------------------


def test_another_object_under_the_handle(world: RegionWorld) -> None:
    mine = world.take()
    world.rows.held[receipt_of(mine).handle] = receipt_of(altered(mine, world, size=16)).row
    world.close()
    refused(world.check(mine), "object", Outcome.MISMATCH, "the commitments differ")


def test_lost_without_a_tombstone(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    del world.rows.held[receipt_of(mine).handle]
    world.later(DAY)
    counts = replace(world.counts(), pending=6, stored=6, received=6, held=6)
    world.close(counts=counts)
    refused(world.check(mine), "object", Outcome.UNDECIDED, "no inspected inventory that covers it")
    world.inspect()
    refused(world.check(mine), "object", Outcome.MISMATCH, "it was lost")
    bare = replace(world.receipt_evidence(mine), erased=None)
    refused(world.check(mine, bare), "object", Outcome.UNDECIDED, "does not show whether it is among the erased")


def test_lost_or_never_there(world: RegionWorld) -> None:
    """Where every key on the receipt was stopped, somebody else may have signed it."""
    mine = world.honest_receipt()
    del world.rows.held[receipt_of(mine).handle]
    for number, site in enumerate(SITES):
        stopped = {world.keys[site].keyid: {"stops": len(world.entries) + 20}}
        world.amend({"parties": {"acme": {"keys": stopped}}})
        world.close(counts=replace(world.counts(), pending=6, stored=6, received=6, held=6))
        world.inspect()
        outcome, words = ((Outcome.MISMATCH, "was lost"), (Outcome.UNDECIDED, "the keys on it were stopped"))[number]
        refused(world.check(mine), "object", outcome, words)


def test_both_held_and_erased(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    world.later(YEAR)
    world.erase(mine)
    world.rows.held[receipt_of(mine).handle] = receipt_of(mine).row
    counts = replace(world.counts(), stored=8, received=8, held=7, pending=7)
    world.close(counts=counts)
    refused(world.check(mine), "object", Outcome.MISMATCH, "among the held and among the erased")


@pytest.mark.parametrize(
    ("seconds", "on_hold", "outcome"),
    [
        (YEAR, 0, Outcome.VERIFIED),
        (YEAR + 1, 0, Outcome.UNDECIDED),
        (YEAR + DAY, 0, Outcome.UNDECIDED),
        (YEAR + DAY + 1, 0, Outcome.MISMATCH),
        (YEAR + DAY + 1, 1, Outcome.UNDECIDED),
    ],
)
def test_kept_past_its_time(world: RegionWorld, seconds: int, on_hold: int, outcome: Outcome) -> None:
    mine = world.take()
    world.later(seconds)
    world.close(counts=replace(world.counts(), on_hold=on_hold))
    world.inspect()
    assert world.check(mine).outcome == outcome


@pytest.mark.parametrize(
    ("reason", "changes", "words"),
    [
        (Reason.RETENTION, {"removed": NOW + YEAR - 1}, "for the end of its time"),
        (Reason.RETENTION, {"removed": NOW + YEAR + DAY + 1}, "before it came or after the inventory"),
        (Reason.CUSTOMER, {"removed": NOW - 1}, "before it came or after the inventory"),
        (Reason.CUSTOMER, {"request": bytes(64)}, "that the customer did not sign"),
        (Reason.CUSTOMER, {"request": b""}, "that the customer did not sign"),
        (Reason.CATEGORY, {}, "which no charter had ended or shortened"),
    ],
)
def test_tombstones_that_nothing_justifies(
    world: RegionWorld, reason: Reason, changes: dict[str, Any], words: str
) -> None:
    mine = world.take()
    world.later(YEAR + DAY)
    world.erase(mine, reason, **changes)
    world.close()
    world.inspect()
    refused(world.check(mine), "object", Outcome.MISMATCH, words)


def test_a_request_without_a_key(world: RegionWorld) -> None:
    mine = world.take(customer_key=None)
    world.erase(mine, Reason.CUSTOMER)
    world.close()
    world.inspect()
    refused(world.check(mine), "object", Outcome.MISMATCH, "names no key")


def test_a_request_for_another_object(world: RegionWorld) -> None:
    mine, other = world.take(), world.take(b"other")
    request = world.erase(other, Reason.CUSTOMER).request
    world.erase(mine, Reason.CUSTOMER, request=request)
    world.close()
    world.inspect()
    refused(world.check(mine), "object", Outcome.MISMATCH, "did not sign")


def test_a_category_ended_too_late(world: RegionWorld) -> None:
    """An amendment after the inventory, or one of before the receipt, justifies nothing."""
    world.amend({"regions": {"au": {"categories": {"telemetry": None}}}})
    mine = world.take()
    world.erase(mine, Reason.CATEGORY)
    world.close()
    world.inspect()
    world.amend({"regions": {"au": {"categories": {"suspicious": None}}}})
    refused(world.check(mine), "object", Outcome.MISMATCH, "no charter had ended")


def test_still_not_irrecoverable(world: RegionWorld) -> None:
    mine = world.take()
    world.erase(mine, Reason.CUSTOMER)
    for seconds, outcome in ((31 * DAY, Outcome.VERIFIED), (1, Outcome.MISMATCH)):
        world.later(seconds)
        world.close()
        world.inspect()
        assert world.check(mine).outcome == outcome


# --- the file ------------------------------------------------------------------------------------------------------


def test_round_trip_and_size(world: RegionWorld) -> None:
    evidence = world.receipt_evidence(world.honest_receipt())
    data = format_receipt_evidence(evidence)
    assert parse_receipt_evidence(data) == evidence
    assert len(data) < 10_000


def test_every_member_tampered(world: RegionWorld) -> None:
    """Whatever is changed in the file, it is refused; what may be left out leaves the rest as it was."""
    mine = world.honest_receipt()
    world.amend({"status": {"maximum_age": 3_600}})
    honest = world.receipt_evidence(mine)
    assert world.check(mine, honest).outcome == Outcome.VERIFIED
    document = encode(honest)
    for place in places(document):
        for value in spoilt_values(at(document, place)):
            changed = copied(document, place, value)
            try:
                evidence = parse_receipt_evidence(format_json(changed))
                assert world.check(mine, evidence).outcome != Outcome.VERIFIED, (place, value)
            except FormatError:
                continue


def places(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for key, item in pairs for place in places(item, (*prefix, key))]
    return [prefix]


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for step in place:
        value = value[step]
    return value


def copied(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    if isinstance(value, dict):
        return value | {place[0]: copied(value[place[0]], place[1:], new)}
    return [copied(item, place[1:], new) if n == place[0] else item for n, item in enumerate(value)]


def spoilt_values(value: Any) -> list[Any]:
    if isinstance(value, int):
        return [value + 1, max(value - 1, 0)] if value else [1]
    return [value[:-1], ("0" if value[:1] != "0" else "1") + value[1:], value[::-1] if value != value[::-1] else "x"]


def test_a_signature_more_on_the_receipt(world: RegionWorld) -> None:
    mine = world.honest_receipt()
    more = EnvelopeSignature(keyid=digest(b"nobody"), sig=bytes(64))
    padded = replace(mine, signatures=(*mine.signatures, more))
    refused(world.check(padded, world.receipt_evidence(mine)), "receipt", Outcome.NOT_AUTHORISED, "of nobody")
