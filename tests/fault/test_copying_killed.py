"""kill -9 of a destination's copying process in every phase: nothing lost, nothing twice, nothing that landed again."""

import os
import random
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from foreign_stores import SECRET, fill, inventory, landing
from glasshouse_verify.foreign import store_handle
from ledgers import until

from glasshouse.relocation.landing import Landings
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

KILLS = 200 if os.environ.get("GLASSHOUSE_SOAK") else 12
PROCESS = Path(__file__).parent.parent / "copying_process.py"
# Where to die: (step, how often it was reached).
PHASES = ("listed", "sealed", "kept", "landed", "vanished")


def content(count: int, seed: int) -> dict[bytes, bytes]:
    chance = random.Random(seed)
    return {b"k%04d" % n: chance.randbytes(chance.choice((0, 10, 4_000, 70_000))) for n in range(count)}


def run(dsn: str, source: Path, directory: Path, move: str, phase: str = "", after: int = 0) -> int:
    command = [sys.executable, str(PROCESS), dsn, source.as_uri(), str(directory), move, phase, str(after)]
    return subprocess.run(command, timeout=300, check=False).returncode


def rows_of(landings: Landings) -> dict[str, tuple[str | None, str | None]]:
    """Handle, and digests of content and ciphertext, of everything that has landed."""
    return {one.handle: (one.content, one.sealed) for one in landings.everything()}


def right(stored: dict[bytes, bytes]) -> dict[str, str]:
    """Handle and digest of what the store has now."""
    return {store_handle(SECRET, key, 0): sha256(data).hexdigest() for key, data in stored.items()}


@pytest.mark.timeout(3_600 if os.environ.get("GLASSHOUSE_SOAK") else 900)
def test_killed_in_every_phase_it_goes_on(database: Database, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    chance = random.Random(20_261_122)
    stored = content(900, 1)
    source = fill(tmp_path / "source", stored)
    here = landing(database, tmp_path / "zurich", lease_seconds=0.5)
    landings, move = here.to.landings, here.to.relocation
    before: dict[str, tuple[str | None, str | None]] = {}
    for kill in range(KILLS):
        phase = PHASES[kill % len(PHASES)] if kill < 2 * len(PHASES) else chance.choice(PHASES)
        # The store goes on living: each time some objects are new, changed and gone.
        changed = {b"k%04d" % chance.randrange(900): chance.randbytes(50) for _ in range(5)}
        fill(tmp_path / "source", changed)
        gone = chance.choice([key for key in stored if key not in changed])
        (tmp_path / "source" / gone.decode()).unlink()
        del stored[gone]
        stored |= changed
        code = run(postgres.dsn, tmp_path / "source", tmp_path / "zurich", move, phase, chance.randrange(1, 4))
        assert code in (0, -signal.SIGKILL)
        now = rows_of(landings)
        there = right(stored)
        done = {handle: found for handle, found in before.items() if there.get(handle) == found[0]}
        again = [handle for handle, found in done.items() if now.get(handle) != found]
        assert again == [], "what had landed was copied again, or lost"
        before = now
    assert run(postgres.dsn, tmp_path / "source", tmp_path / "zurich", move) == 0
    arrival = here.arrival()
    assert arrival.rows.sharded == inventory(source, tmp_path / "old").rows.sharded
    assert arrival.rows.sharded.size == len(stored)
    # Nothing is twice: as many ciphertexts as versions, and after the listing no other object is there.
    objects = [path for path in (tmp_path / "zurich" / "vault" / "archive" / move).rglob("?" * 64) if path.is_file()]
    assert len(objects) == len(stored)


def test_a_killed_worker_loses_its_range_soon(database: Database, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    fill(tmp_path / "source", content(600, 2))
    here = landing(database, tmp_path / "zurich", lease_seconds=1.0)
    move = here.to.relocation
    assert run(postgres.dsn, tmp_path / "source", tmp_path / "zurich", move, "sealed", 2) == -signal.SIGKILL
    landings, begun = here.to.landings, time.monotonic()
    until(lambda: landings.claim(1, "another") is not None)
    # Its lease and nothing more: the deadline of `until` bounds a slow machine.
    assert time.monotonic() - begun < 30
