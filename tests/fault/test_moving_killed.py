"""kill -9 of the old site and of the new ones while a region moves and customers upload, at seeded moments.

Afterwards every receipt that was handed out, before the fence and after it, is honoured at both new sites, and nothing
is there twice. A handful of kills; GLASSHOUSE_SOAK=1 makes it two hundred.
"""

import os
import random
from pathlib import Path

import pytest
from ledgers import until
from moves import NEW, OLD
from moving_kills import PATIENCE_SECONDS, Customers, everything_has_moved, region

KILLS = 200 if os.environ.get("GLASSHOUSE_SOAK") else 5
SEED = 20260705


@pytest.mark.timeout(3600 if os.environ.get("GLASSHOUSE_SOAK") else 900)
def test_kill_9_while_a_region_moves(memory_path: Path) -> None:
    chance = random.Random(SEED)
    with region(memory_path / "killed-moving") as killed:
        killed.start(OLD)
        with Customers(killed, SEED) as customers:
            customers.wait_for_more()
            killed.start(*NEW)
            until(
                lambda: all(killed.state(name)["state"] == "arriving" for name in NEW), timeout_seconds=PATIENCE_SECONDS
            )
            for number in range(KILLS):
                if number == KILLS - 2:
                    killed.fence()
                killed.again(*chance.choice([[OLD], [NEW[0]], [NEW[1]], [OLD, NEW[0]], [*NEW]]))
                until(lambda: killed.state(OLD)["state"] in ("leaving", "left"), timeout_seconds=PATIENCE_SECONDS)
                if killed.state(OLD)["state"] == "leaving":
                    customers.wait_for_more(4)
            killed.fence_until_it_stands()
            until(killed.taken_over, timeout_seconds=PATIENCE_SECONDS)
            customers.wait_for_more()
        killed.kill(*killed.processes)
        everything_has_moved(killed, customers.receipts)
