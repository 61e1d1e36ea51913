"""Look-ups per second in batches of 1,000 at a site, beside a bare server that asks a dictionary.

8 connections each ask the customers' interface for 1,000 digests, one in ten of them listed, wait, ask again; the site
has a list of 200,000. The floor is a server of a few lines over the same HTTP: JSON in, a dictionary, JSON out.
"""

import asyncio
import contextlib
import functools
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import Figure
from bench.intake import free_port, wait_for
from bench.telemetry import CONNECTIONS, SECONDS, load, request, sites

BATCH = 1_000
LISTED = 200_000


def run() -> Figure:
    """Measure the floor, then ours."""
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        with bare() as port:
            floor = rate(port)
        with sites(directory) as port:
            ours = rate(port)
    return {
        "name": "lookups",
        "ours": ours,
        "floor": floor,
        "ratio": ours / floor,
        "unit": "look-ups/s",
        "target": ">= 50,000 look-ups/s",
        "notes": f"{CONNECTIONS} connections, {BATCH} digests a request, a list of {LISTED:,}; one process each; "
        f"all on one machine with {os.cpu_count()} cores, load included",
    }


def rate(port: int) -> float:
    """Look-ups answered per second."""
    return BATCH * asyncio.run(load(port, ask, answers=200, seconds=SECONDS))


def ask(number: int) -> bytes:
    """One of a few requests, each for other digests."""
    return asked(number % 64)


@functools.cache
def asked(number: int) -> bytes:
    """A request for digests, one in ten of them listed."""
    chosen = random.Random(number)
    names = (f"{'listed' if at % 10 == 0 else 'other'} {chosen.randrange(LISTED)}" for at in range(BATCH))
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    return request("/reputation/v1/lookup", json.dumps({"sha256": digests}).encode())


@contextlib.contextmanager
def bare() -> Iterator[int]:
    """The port of the bare server, a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", f"from bench import lookups; lookups.serve({port})"])
    try:
        wait_for(port, [process])
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def serve(port: int) -> None:
    """Run the bare server until it is interrupted; what the child process does."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    listed = {hashlib.sha256(b"listed %d" % at).hexdigest(): "listed" for at in range(LISTED)}

    async def look_up(request: Request) -> Response:
        wanted = (await request.json())["sha256"]
        return JSONResponse({"listed": {digest: listed[digest] for digest in wanted if digest in listed}})

    app = Starlette(routes=[Route("/reputation/v1/lookup", look_up, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")
