"""Damaged evidence of a relocation never verifies: every truncation, single bits, bytes lost and doubled, steps moved.

Two moves, of a site and of a store. The normal run tries a seeded sample of the bits; with GLASSHOUSE_SOAK=1 every bit.
"""

import os
import random
from dataclasses import replace

import pytest
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation_check import (
    check_relocation,
    format_relocation_evidence,
    parse_relocation_evidence,
)
from glasshouse_verify.report import Outcome
from relocation_world import MoveWorld

SOAK = os.environ.get("GLASSHOUSE_SOAK") == "1"
SAMPLE = 300


class Case:
    def __init__(self, source: Origin) -> None:
        world = MoveWorld(source)
        world.run()
        self.pin, self.now = world.pin, world.now
        self.evidence = format_relocation_evidence(world.evidence_of_move())

    def verifies(self, evidence: bytes) -> bool:
        """Whether the check says verified; any error that is not the verifier's own is a fault and is let through."""
        try:
            shown = parse_relocation_evidence(evidence)
            return check_relocation(self.pin, shown, self.now).outcome == Outcome.VERIFIED
        except VerifyError:
            return False


CASES = {source: Case(source) for source in Origin}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_the_undamaged_files_verify(case: Case) -> None:
    assert case.verifies(case.evidence)


def test_truncated(case: Case) -> None:
    for length in range(0, len(case.evidence), 1 if SOAK else 97):
        assert not case.verifies(case.evidence[:length]), length


@pytest.mark.timeout(3_600)
def test_flipped_bits(case: Case) -> None:
    every, whole = range(8 * len(case.evidence)), case.evidence
    for bit in every if SOAK else random.Random(2018).sample(every, SAMPLE):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not case.verifies(bytes(damaged)), f"bit {bit % 8} of {whole[max(0, bit // 8 - 20) :][:40]!r}"


def test_bytes_lost_and_doubled(case: Case) -> None:
    whole = case.evidence
    for place in random.Random(2019).sample(range(len(whole)), 1_000 if SOAK else 60):
        for damaged in (whole[:place] + whole[place + 1 :], whole[:place] + whole[place : place + 1] + whole[place:]):
            assert damaged == whole or not case.verifies(damaged), place


def test_steps_lost_doubled_and_in_each_others_place(case: Case) -> None:
    shown = parse_relocation_evidence(case.evidence)
    steps, chance = shown.steps, random.Random(2020)
    for place in range(len(steps)):
        others = [*steps[:place], *steps[place + 1 :]]
        assert not case.verifies(format_relocation_evidence(replace(shown, steps=tuple(others)))), place
        doubled = (*steps[: place + 1], *steps[place:])
        assert not case.verifies(format_relocation_evidence(replace(shown, steps=doubled))), place
        moved = list(steps)
        other = chance.choice([n for n in range(len(steps)) if n != place])
        moved[place] = replace(steps[place], index=steps[other].index)
        moved[other] = replace(steps[other], index=steps[place].index)
        assert not case.verifies(format_relocation_evidence(replace(shown, steps=tuple(moved)))), place


def test_evidence_of_one_is_no_evidence_of_another() -> None:
    one, other = CASES.values()
    assert not one.verifies(other.evidence)
    assert not other.verifies(one.evidence)
