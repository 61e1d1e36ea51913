"""Random lives of a region against what a person would say of each object; and random cheats, none of which verifies.

Objects come at both sites, are erased for every reason, become irrecoverable, are forgotten past their time; epochs are
closed and inspected in between. For each receipt an oracle of a few lines says what the check has to come to.
"""

import os
import random
from dataclasses import replace

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.receipt import Reason, Tombstone
from glasshouse_verify.report import Outcome
from region_world import DAY, YEAR, RegionWorld, receipt_of, says, tombstone_of
from world import digest

SOAK = os.environ.get("GLASSHOUSE_SOAK") == "1"
LIVES = 200 if SOAK else 12
STEPS = 25


class Life:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.world = RegionWorld()
        self.mine: list[Envelope] = []
        # When each was erased, why, and whether it was due.
        self.gone: dict[str, Tombstone] = {}

    def step(self) -> None:
        act = self.chance.choice((self.take, self.take, self.erase, self.wait, self.settle, self.close))
        act()

    def take(self) -> None:
        site = self.chance.choice(("zurich-1", "zurich-2"))
        self.mine.append(self.world.take(b"object %d" % len(self.mine), site=site))

    def held(self) -> list[Envelope]:
        return [envelope for envelope in self.mine if receipt_of(envelope).handle not in self.gone]

    def erase(self) -> None:
        if held := self.held():
            mine = self.chance.choice(held)
            due = self.world.now >= receipt_of(mine).time + YEAR
            self.gone[receipt_of(mine).handle] = self.world.erase(mine, Reason.RETENTION if due else Reason.CUSTOMER)

    def settle(self) -> None:
        """What was erased becomes irrecoverable, before it is overdue."""
        for handle, tombstone in list(self.gone.items()):
            if self.chance.random() < 0.5 or self.world.now > (tombstone.residue_until or 0) - DAY:
                done = replace(tombstone, residue_until=None)
                self.gone[handle] = done
                self.world.rows.erased[handle] = encode(done)

    def wait(self) -> None:
        self.world.later(self.chance.choice((60, DAY // 3, 5 * DAY, 40 * DAY, YEAR // 2)))
        self.settle()

    def close(self) -> None:
        self.world.close()
        self.world.inspect()

    def expected(self, mine: Envelope) -> Outcome:
        receipt = receipt_of(mine)
        if receipt.handle in self.gone:
            residue = self.gone[receipt.handle].residue_until
            return Outcome.MISMATCH if residue is not None and self.world.now > residue + DAY else Outcome.VERIFIED
        over = self.world.now - receipt.time - YEAR
        if over <= 0:
            return Outcome.VERIFIED
        return Outcome.MISMATCH if over > DAY else Outcome.UNDECIDED


@pytest.mark.parametrize("seed", range(LIVES))
def test_every_receipt_comes_to_what_a_person_would_say(seed: int) -> None:
    life = Life(seed)
    for _ in range(STEPS):
        life.step()
    life.take()
    life.close()
    for mine in life.mine:
        report = life.world.check(mine)
        assert report.outcome == life.expected(mine), says(report)
        text = says(report)["object"]
        assert ("it was erased on" in text) == (receipt_of(mine).handle in life.gone and report.outcome == 0)


def cheats(life: Life, mine: Envelope) -> dict[str, bool]:
    """Change the rows behind a receipt in every way; name → whether it was possible."""
    world, receipt = life.world, receipt_of(mine)
    kind = life.chance.choice(("lose", "swap", "bury", "unbury", "both", "forge"))
    held, erased = receipt.handle in world.rows.held, receipt.handle in world.rows.erased
    if kind == "lose" and held:
        del world.rows.held[receipt.handle]
    elif kind == "swap" and held:
        world.rows.held[receipt.handle] = {"commitment": digest(b"another"), "key": receipt.handle}
    elif kind == "bury" and held:
        world.erase(mine, Reason.RETENTION, removed=min(world.now, receipt.time + YEAR - 1))
    elif kind == "unbury" and erased:
        del world.rows.erased[receipt.handle]
    elif kind == "both" and erased:
        world.rows.held[receipt.handle] = receipt.row
    elif kind == "forge" and erased and tombstone_of(world.rows.erased[receipt.handle]).reason == Reason.CUSTOMER:
        old = tombstone_of(world.rows.erased[receipt.handle])
        world.rows.erased[receipt.handle] = encode(replace(old, request=bytes(64)))
    else:
        return {kind: False}
    return {kind: True}


@pytest.mark.parametrize("seed", range(LIVES))
def test_no_cheat_verifies(seed: int) -> None:
    """Whatever the counts then say, and although an auditor signs it all: somebody's receipt tells."""
    life = Life(seed)
    life.take()
    for _ in range(STEPS):
        life.step()
    mine = life.chance.choice(life.mine)
    (done,) = cheats(life, mine).values()
    held, erased = len(life.world.rows.held), len(life.world.rows.erased)
    fitting = replace(
        life.world.counts(),
        received=held + erased + life.world.refused,
        stored=held + erased,
        pending=held,
        held=held,
        erased=erased,
        erased_before_analysis=erased,
    )
    life.world.close(counts=fitting)
    life.world.inspect()
    outcome = life.world.check(mine).outcome
    assert outcome == Outcome.MISMATCH if done else outcome == life.expected(mine)
