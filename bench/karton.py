"""Files per second taken in and stored, beside Karton with Redis and an S3 server, which seals nothing and stores once.

64 files are on their way at any time; the figure is the worst of 4 KiB, 64 KiB and 1 MiB.
Ours: sent to a site over HTTP, counted when the receipt is there: sealed, flushed, signed for, at two sites, as in
`bench intake`. Karton: 64 threads of two producer processes send tasks with the file as a local resource, which goes
to the S3 server; `karton-system` routes them; two consumer processes fetch each file and write it, unsealed and not
flushed, to a directory. Counted when consumed, until none is left of what was sent. In favour of Karton, its services
do not publish their logs, and the files of a round are removed from the S3 server by nobody.
"""

import asyncio
import contextlib
import os
import statistics
import tempfile
from pathlib import Path

from bench import Figure
from bench.intake import CONNECTIONS, ROUNDS, SECONDS, SIZES, load, pair
from bench.pipeline import karton


def run() -> Figure:
    """Measure each size, both in turns in the same run; the smallest ratio is the figure."""
    found, server = {}, ""
    for size in SIZES:
        mine, theirs, server = measured(size)
        found[size] = (mine, theirs)
    worst = min(found, key=lambda size: found[size][0] / found[size][1])
    ours, peer = found[worst]
    each = "; ".join(
        f"{size >> 10} KiB: {mine:,.0f} files/s, Karton {theirs:,.0f}, {mine / theirs:.2f}"
        for size, (mine, theirs) in found.items()
    )
    return {
        "name": "karton",
        "ours": ours,
        "peer": peer,
        "ratio": ours / peer,
        "unit": "files/s",
        "target": ">= 2",
        "notes": f"{CONNECTIONS} at a time; {each}; S3 by {server}; all on one machine with {os.cpu_count()} cores, "
        "load included",
    }


def measured(size: int) -> tuple[float, float, str]:
    """Files per second of ours and of Karton, the medians of rounds that alternate, and which S3 server Karton had."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch, contextlib.ExitStack() as stack:
        Path(scratch).chmod(0o755)
        (place := Path(scratch) / "ours").mkdir()
        port = stack.enter_context(pair("ours", place))
        peer = stack.enter_context(karton(Path(scratch) / "karton"))
        asyncio.run(load(port, size, SECONDS))
        peer.load(size, SECONDS)
        for _ in range(ROUNDS):
            ours.append(asyncio.run(load(port, size, SECONDS)))
            theirs.append(peer.load(size, SECONDS))
    return statistics.median(ours), statistics.median(theirs), peer.s3
