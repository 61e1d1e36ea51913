"""Ledger entries per second, durable, from 64 concurrent writers over HTTP, beside groups of entries flushed to a file.

A writer posts an entry of 1 KiB, waits for its index, posts the next. The server is a process of its own with its
embedded PostgreSQL, integrating and publishing meanwhile. The floor is one thread that appends the same entries to a
file, 64 at a time, and flushes each group to the disk: what any log has to do that acknowledges only what is durable.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import Figure

WRITERS = 64
ENTRY_BYTES = 1024
SECONDS = 6.0
BATCH_ENTRIES = 256
START_SECONDS = 60.0
_ORIGIN = "bench.example/log"


def run() -> Figure:
    """Measure single entries; batches are reported in the notes."""
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        floor = flushed_groups(directory / "floor", group=WRITERS)
        with served(directory / "node") as port:
            single = asyncio.run(load(port, request_of_one, entries_per_request=1))
            batch = asyncio.run(load(port, request_of_many, entries_per_request=BATCH_ENTRIES))
    return {
        "name": "ledger",
        "ours": single,
        "floor": floor,
        "ratio": single / floor,
        "unit": "entries/s",
        "target": "write the figure down",
        "notes": f"{WRITERS} writers, entries of {ENTRY_BYTES} bytes, published meanwhile; in batches of "
        f"{BATCH_ENTRIES}: {batch:,.0f} entries/s; floor: one thread appending {WRITERS} entries at a time, flushed",
    }


def flushed_groups(path: Path, *, group: int) -> float:
    """Entries per second appended to a file that is flushed after each group."""
    block, count = os.urandom(group * ENTRY_BYTES), 0
    with path.open("wb", buffering=0) as file:
        end = time.monotonic() + SECONDS / 3
        while time.monotonic() < end:
            file.write(block)
            os.fdatasync(file.fileno())
            count += group
    return count / (SECONDS / 3)


def entry(number: int) -> bytes:
    """An entry that no other number has."""
    return number.to_bytes(16, "big") + bytes(ENTRY_BYTES - 16)


def request_of_one(number: int) -> bytes:
    """A POST /add of one entry."""
    return b"POST /add HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (ENTRY_BYTES, entry(number))


def request_of_many(number: int) -> bytes:
    """A POST /add-batch."""
    framed = (entry((number << 32) + place + 1) for place in range(BATCH_ENTRIES))
    body = b"".join(len(item).to_bytes(2, "big") + item for item in framed)
    return b"POST /add-batch HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def load(port: int, make: Callable[[int], bytes], *, entries_per_request: int) -> float:
    """Entries acknowledged per second by WRITERS connections, each with one request under way."""
    numbers = iter(range(1 << 40))
    done = 0
    end = time.monotonic() + SECONDS

    async def writer() -> None:
        nonlocal done
        reader, stream = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            stream.write(make(next(numbers)))
            await read_answer(reader)
            done += entries_per_request
        stream.close()
        await stream.wait_closed()

    start = time.monotonic()
    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return done / (time.monotonic() - start)


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer of known length; raises RuntimeError unless it is 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode(errors="replace").partition("\r\n")[0])
    (length,) = (line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length))


@contextlib.contextmanager
def served(directory: Path) -> Iterator[int]:
    """The port of an open log in a process of its own."""
    directory.mkdir(mode=0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-c", f"from bench import ledger; ledger.serve({str(directory)!r}, {port})"]
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the ledger did not start")
            time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def serve(directory: str, port: int) -> None:
    """Run the ledger until it is interrupted; what the child process does."""
    # Imported here: the parent measures, and needs none of it.
    import uvicorn
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from glasshouse_verify.note import ED25519, VerifierKey

    from glasshouse.ledger.admission import OpenAdmission
    from glasshouse.ledger.cosign import Witnessing
    from glasshouse.ledger.log import create_log
    from glasshouse.ledger.running import FixedWitnessing, RunningLog
    from glasshouse.ledger.server import create_app
    from glasshouse.parties.ring import KeyRing
    from glasshouse.parties.signer import FileSigner
    from glasshouse.storage.db import Database
    from glasshouse.storage.objects import DirectoryStore
    from glasshouse.storage.postgres import EmbeddedPostgres

    place = Path(directory)
    signer, store = FileSigner(Ed25519PrivateKey.generate()), DirectoryStore(place / "objects")
    with EmbeddedPostgres(place / "postgres") as postgres, Database(postgres.dsn) as database:
        key = VerifierKey(name=_ORIGIN, algorithm=ED25519, public=signer.public)
        log = create_log(database, store, key)
        with RunningLog(
            database=database,
            store=store,
            log=log,
            keys=KeyRing(signer),
            admission=OpenAdmission(),
            witnessing=FixedWitnessing(Witnessing()),
        ) as running:
            app = create_app(running, spool=place)
            uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")
