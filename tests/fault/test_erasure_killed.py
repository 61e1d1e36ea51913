"""kill -9 in the middle of an erasure, again and again: it goes on, counts each object once, touches nothing else."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from leaving import fenced_rows

from glasshouse.relocation.stores.directory import DirectoryTree

FILES, KILLS = 200, 6
SCRIPT = Path(__file__).parent.parent / "erasing_process.py"


def start(directory: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, str(SCRIPT), str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("seed", [1])
def test_an_erasure_survives_kills(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store, beside = tmp_path / "store", tmp_path / "store-of-others"
    for number in range(FILES):
        for root in (store, beside):
            path = root / f"{number % 13}" / f"object {number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d" % number)
    fenced_rows(DirectoryTree(store), tmp_path / "rows")
    kills = 0
    while kills < KILLS:
        process = start(tmp_path)
        assert process.stdout is not None
        # The batch that the kill falls into, and how far into it.
        lines = [process.stdout.readline() for _ in range(chance.randrange(1, 4))]
        time.sleep(chance.random() * 0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        kills += 1
        assert lines[-1], "it ended before it was killed"
    process = start(tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    size = sum(len(str(number)) for number in range(FILES))
    assert json.loads(output.splitlines()[-1]) == {"objects": FILES, "markers": 0, "bytes": size, "uploads": 0}
    assert list(DirectoryTree(store).list()) == []
    assert sum(1 for path in beside.rglob("*") if path.is_file()) == FILES
