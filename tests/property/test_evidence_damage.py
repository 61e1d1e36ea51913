"""Damaged evidence never verifies: every truncation, every single bit, bytes lost, doubled and moved.

The evidence is as rich as it gets: an amendment, a handover to a new log key, more cosignatures than the quorum needs.
The normal run tries every truncation and a seeded sample of the bits; with GLASSHOUSE_SOAK=1 every bit.
"""

import os
import random
from collections.abc import Iterator

import pytest
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import format_evidence, parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, format_vkey
from glasshouse_verify.report import Outcome
from world import NOW, ORIGIN, SHIPPED, World, digest, seeded

SOAK = os.environ.get("GLASSHOUSE_SOAK") == "1"
SAMPLE = 800
FILE = digest(SHIPPED)


def rich_world() -> World:
    plain = World()
    names = ("w1", "w2", "w3", "w4")
    plain.keys |= {f"{name}-note": seeded(f"{name}-note") for name in names}
    witnesses = {
        name: {
            "party": name,
            "key": format_vkey(plain.vkey(f"{name}.example", f"{name}-note", COSIGNATURE_V1)),
            "url": f"http://{name}.example",
        }
        for name in names
    }
    parties = {name: {"name": name, "roles": ["witness"], "keys": {}} for name in names[2:]}
    world = World(parties=parties, ledger={"faulty": 1, "witnesses": witnesses})
    world.keys |= plain.keys | {"log-2": seeded("log-2")}
    world.witnesses = names
    world.honest()
    world.amend({"ledger": {"key": format_vkey(world.vkey(ORIGIN, "log-2", ED25519))}})
    world.handovers[2] = world.checkpoint()
    world.log_key = "log-2"
    world.status()
    return world


WORLD = rich_world()
HONEST = format_evidence(WORLD.evidence())


def verifies(data: bytes) -> bool:
    """Whether the gate says verified; any error that is not the verifier's own is a fault and is let through."""
    try:
        return check_file(WORLD.pin, parse_evidence(data), FILE, NOW).outcome == Outcome.VERIFIED
    except VerifyError:
        return False


def test_the_undamaged_evidence_verifies() -> None:
    assert verifies(HONEST)
    assert b'"handovers":["' in HONEST
    assert HONEST.count("— w4.example".encode()) == 2


def test_every_truncation() -> None:
    for length in range(len(HONEST)):
        assert not verifies(HONEST[:length]), length


def test_every_head_cut_off() -> None:
    for start in range(1, len(HONEST), 1 if SOAK else 37):
        assert not verifies(HONEST[start:]), start


def bits() -> Iterator[int]:
    every = range(8 * len(HONEST))
    return iter(every if SOAK else random.Random(2018).sample(every, SAMPLE))


@pytest.mark.timeout(3_600)
def test_every_flipped_bit() -> None:
    for bit in bits():
        damaged = bytearray(HONEST)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not verifies(bytes(damaged)), f"bit {bit % 8} of byte {bit // 8}: {HONEST[bit // 8 - 20 :][:40]!r}"


@pytest.mark.timeout(3_600)
def test_flipped_bits_of_every_cosignature() -> None:
    """The surplus ones too: nothing in the file may be beyond every check."""
    lines = [n for n in range(len(HONEST)) if HONEST.startswith(("— w".encode()), n)]
    assert len(lines) == 8
    for start in lines:
        for offset in range(0, 130, 1 if SOAK else 11):
            damaged = bytearray(HONEST)
            damaged[start + offset] ^= 1
            assert not verifies(bytes(damaged)), HONEST[start : start + offset + 1]


def test_bytes_lost_doubled_and_swapped() -> None:
    chance = random.Random(2019)
    for _ in range(4_000 if SOAK else 100):
        place, other = sorted(chance.sample(range(len(HONEST)), 2))
        for damaged in (
            HONEST[:place] + HONEST[place + 1 :],
            HONEST[:place] + HONEST[place : place + 1] + HONEST[place:],
            HONEST[:place] + HONEST[other:],
            HONEST[:place] + HONEST[other:] + HONEST[place:other],
        ):
            assert damaged == HONEST or not verifies(damaged)


def test_bytes_replaced() -> None:
    chance = random.Random(2020)
    for _ in range(20_000 if SOAK else 200):
        damaged = bytearray(HONEST)
        damaged[chance.randrange(len(HONEST))] = chance.randrange(256)
        assert bytes(damaged) == HONEST or not verifies(bytes(damaged))
