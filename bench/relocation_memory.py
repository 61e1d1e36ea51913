"""Peak memory of a process that inventories, copies and lists a store of 10^6 objects.

The store is generated, the destination is a directory with its own PostgreSQL; everything else is what a move runs.
GLASSHOUSE_RELOCATION_OBJECTS sets another number. The figure is how many times the peak fits into 300 MB.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import Figure

OBJECTS = int(os.environ.get("GLASSHOUSE_RELOCATION_OBJECTS", "1000000"))
OBJECT_BYTES = 1_024
LIMIT_MB = 300
MEMORY = "/dev/shm"  # noqa: S108  a file system: a million flushes are not what is measured


def run() -> Figure:
    """Measure a process of its own."""
    told = alone(OBJECTS, OBJECT_BYTES)
    peak = max(peak for _, peak in told.values())
    return {
        "name": "relocation_memory",
        "ours": peak,
        "limit": LIMIT_MB,
        "ratio": LIMIT_MB / peak,
        "unit": "MB",
        "target": f"<= {LIMIT_MB} MB",
        "notes": f"{OBJECTS:,} objects of {OBJECT_BYTES} bytes; "
        + ", ".join(f"{part} {seconds:.0f} s, peak so far {peak:.0f} MB" for part, (seconds, peak) in told.items()),
    }


def alone(count: int, size: int) -> dict[str, tuple[float, float]]:
    """Seconds, and peak megabytes so far, of each part of one destination's move."""
    place = MEMORY if Path(MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-", dir=place) as scratch:
        Path(scratch).chmod(0o755)
        command = [sys.executable, "-m", "bench.relocating.alone", scratch, str(count), str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {part: (float(seconds), float(peak)) for part, (seconds, peak) in json.loads(done.stdout).items()}
