"""M5 Crash in each phase: a site is killed while its region moves.

Cheat: none is needed. The old site, a new one, or both are killed while journals are handed over, while an object is
    sealed anew, at the fence and right after it, in the hope that something is forgotten, taken twice, or taken at both
    ends.
Noticed by: every customer who holds a receipt; the journals' positions and numbers, where the databases refuse a gap.
Seen: the move goes on where it was: every receipt is honoured at both new sites, before the fence under the old site's
    signature and after it under theirs; nothing is there twice, and the old site has taken nothing after its fence.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from ledgers import until
from moves import NEW, OLD
from moving_kills import PATIENCE_SECONDS, Customers, Killed, everything_has_moved, region

SEED = 5


def catching_up(killed: Killed) -> None:
    """As soon as a new site has begun to take in, and again while the old one is told to stop."""
    killed.start(*NEW)
    until(lambda: killed.reached(NEW[0]) > 0, timeout_seconds=PATIENCE_SECONDS)
    killed.again(OLD, NEW[0])
    until(lambda: killed.reached(NEW[1]) > 0, timeout_seconds=PATIENCE_SECONDS)
    killed.fence()
    killed.again(OLD, NEW[1])


def once_it_is_fenced(killed: Killed) -> None:
    """A new site comes to the fence long after the other, which takes nothing alone."""
    killed.start(*NEW)
    until(lambda: all(killed.reached(name) > 0 for name in NEW), timeout_seconds=PATIENCE_SECONDS)
    killed.kill(NEW[1])
    killed.fence_until_it_stands()
    until(lambda: killed.state(NEW[0])["state"] == "taking", timeout_seconds=PATIENCE_SECONDS)
    killed.again(OLD)
    killed.start(NEW[1])


def moves(directory: Path, interrupted: Callable[[Killed], None]) -> None:
    with region(directory) as killed:
        killed.start(OLD)
        with Customers(killed, SEED) as customers:
            customers.wait_for_more()
            interrupted(killed)
            killed.fence_until_it_stands()
            until(killed.taken_over, timeout_seconds=PATIENCE_SECONDS)
            customers.wait_for_more()
        killed.kill(*killed.processes)
        everything_has_moved(killed, customers.receipts)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("phase", [catching_up, once_it_is_fenced])
def test_attack_sites_are_killed(memory_path: Path, phase: Callable[[Killed], None]) -> None:
    moves(memory_path / f"m05-{phase.__name__}", phase)


@pytest.mark.timeout(900)
def test_control_nobody_is_killed(memory_path: Path) -> None:
    moves(memory_path / "m05-undisturbed", lambda killed: killed.start(*NEW))
