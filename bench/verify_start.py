"""The whole process of `glasshouse verify` on a release, beside an interpreter that does nothing.

A release with two rebuilds, a status and its charter, all honest, is laid into three files; the command reads them and
says verified. What it costs beyond `python -c pass` is its imports, its parsing and some tens of signatures.
"""

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

from glasshouse_verify.evidence import format_evidence

from bench import Figure, median_seconds

TESTS = Path(__file__).resolve().parent.parent / "tests"
ROUNDS = 25


def run() -> Figure:
    """Times in milliseconds, files in the page cache."""
    program = Path(sys.executable).parent / "glasshouse"
    with tempfile.TemporaryDirectory() as folder:
        arguments = _lay_out(Path(folder))

        def verify() -> None:
            subprocess.run([program, "verify", *arguments], check=True, stdout=subprocess.DEVNULL)

        def nothing() -> None:
            subprocess.run([sys.executable, "-c", "pass"], check=True, stdout=subprocess.DEVNULL)

        verify()
        ours, floor = (seconds * 1_000 for seconds in median_seconds(verify, nothing, rounds=ROUNDS))
    return {
        "name": "verify_start",
        "ours": ours,
        "floor": floor,
        "ratio": ours / floor,
        "unit": "ms",
        "target": "at most 150 ms more than the floor",
        "notes": f"{ours - floor:.0f} ms more; median of {ROUNDS} runs each, exit 0 checked",
    }


def _lay_out(folder: Path) -> list[str]:
    """Write the file, its evidence and the pin; returns the command's arguments."""
    # The initiative in memory that the tests judge the gate by; tests/ is no package, so it is found by its path.
    sys.path.insert(0, str(TESTS))
    world = importlib.import_module("world")
    initiative = world.World()
    initiative.honest()
    (folder / world.FILE).write_bytes(world.SHIPPED)
    (folder / "evidence").write_bytes(format_evidence(initiative.evidence()))
    (folder / "charter.json").write_bytes(initiative.pin)
    files = [str(folder / name) for name in (world.FILE, "evidence", "charter.json")]
    return [files[0], "--evidence", files[1], "--charter", files[2], "--at", str(world.NOW)]
