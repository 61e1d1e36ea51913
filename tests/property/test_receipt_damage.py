"""Damaged receipts and damaged evidence of receipts never verify: every truncation, single bits, bytes lost and moved.

Two kinds of evidence: an object that is held, and one that was erased on its customer's request, inspected. The normal
run tries a seeded sample of the bits; with GLASSHOUSE_SOAK=1 every bit.
"""

import os
import random

import pytest
from glasshouse_verify.dsse import format_envelope, parse_envelope
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.receipt import Reason
from glasshouse_verify.receipt_check import check_receipt, format_receipt_evidence, parse_receipt_evidence
from glasshouse_verify.report import Outcome
from region_world import DAY, RegionWorld

SOAK = os.environ.get("GLASSHOUSE_SOAK") == "1"
SAMPLE = 300


class Case:
    def __init__(self, reason: Reason | None) -> None:
        world = RegionWorld()
        mine = world.honest_receipt()
        if reason is not None:
            world.amend({"status": {"maximum_age": 3_600}})
            world.later(DAY // 2)
            world.erase(mine, reason)
            world.close()
            world.inspect()
        self.pin, self.now = world.pin, world.now
        self.receipt = format_envelope(mine)
        self.evidence = format_receipt_evidence(world.receipt_evidence(mine))

    def verifies(self, *, receipt: bytes | None = None, evidence: bytes | None = None) -> bool:
        """Whether the check says verified; any error that is not the verifier's own is a fault and is let through."""
        try:
            envelope = parse_envelope(self.receipt if receipt is None else receipt)
            shown = parse_receipt_evidence(self.evidence if evidence is None else evidence)
            return check_receipt(self.pin, shown, envelope, self.now).outcome == Outcome.VERIFIED
        except VerifyError:
            return False


CASES = {"held": Case(None), "erased": Case(Reason.CUSTOMER)}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_the_undamaged_files_verify(case: Case) -> None:
    assert case.verifies()


def test_truncated(case: Case) -> None:
    for length in range(0, len(case.receipt), 1 if SOAK else 7):
        assert not case.verifies(receipt=case.receipt[:length]), length
    for length in range(0, len(case.evidence), 1 if SOAK else 29):
        assert not case.verifies(evidence=case.evidence[:length]), length


@pytest.mark.timeout(3_600)
def test_flipped_bits(case: Case) -> None:
    chance = random.Random(2018)
    for name, whole in (("receipt", case.receipt), ("evidence", case.evidence)):
        every = range(8 * len(whole))
        for bit in every if SOAK else chance.sample(every, SAMPLE):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            assert not case.verifies(**{name: bytes(damaged)}), f"bit {bit % 8} of {whole[bit // 8 - 20 :][:40]!r}"


def test_bytes_lost_and_doubled(case: Case) -> None:
    chance = random.Random(2019)
    for name, whole in (("receipt", case.receipt), ("evidence", case.evidence)):
        for place in chance.sample(range(len(whole)), 1_000 if SOAK else 60):
            for damaged in (
                whole[:place] + whole[place + 1 :],
                whole[:place] + whole[place : place + 1] + whole[place:],
            ):
                assert damaged == whole or not case.verifies(**{name: damaged}), place


def test_evidence_of_one_is_no_evidence_of_another() -> None:
    held, erased = CASES.values()
    assert not held.verifies(evidence=erased.evidence)
    world = RegionWorld()
    mine, other = world.take(b"mine"), world.take(b"other")
    world.close()
    evidence = world.receipt_evidence(mine)
    assert check_receipt(world.pin, evidence, mine, world.now).outcome == Outcome.VERIFIED
    assert check_receipt(world.pin, evidence, other, world.now).outcome == Outcome.NOT_AUTHORISED
