"""Files per second, sealed and durable at two sites, beside a program that does the bare minimum over the same hops.

64 connections each send a file, wait for the answer, send the next; the figure is the worst of 4 KiB, 64 KiB and 1 MiB.
Ours: two sites with their PostgreSQL, signed receipts, wrapped keys. The floor: a program at two places that hashes
once, encrypts once, and writes and flushes twice, each file by itself, over the same HTTP and TLS.
"""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import Figure

CONNECTIONS = 64
SECONDS = 2.0
ROUNDS = 3
START_SECONDS = 60.0
SIZES = (4 << 10, 64 << 10, 1 << 20)
SITES = ("zurich-1", "zurich-2")


def run() -> Figure:
    """Measure each size, both programs in turns in the same run; the smallest ratio is the figure."""
    found = {size: measured(size) for size in SIZES}
    worst = min(found, key=lambda size: found[size][0] / found[size][1])
    ours, floor = found[worst]
    each = "; ".join(
        f"{size >> 10} KiB: {mine:,.0f} files/s ({mine * size / 1e6:,.1f} MB/s), floor {bare:,.0f}, {mine / bare:.2f}"
        for size, (mine, bare) in found.items()
    )
    return {
        "name": "intake",
        "ours": ours,
        "floor": floor,
        "ratio": ours / floor,
        "unit": "files/s",
        "target": ">= 0.5",
        "notes": f"{CONNECTIONS} connections; {each}; all on one machine with {os.cpu_count()} cores, load included",
    }


def measured(size: int) -> tuple[float, float]:
    """Files per second of ours and of the floor: the median of rounds that alternate."""
    rates: dict[str, list[float]] = {"ours": [], "floor": []}
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch, contextlib.ExitStack() as stack:
        ports = {}
        for program in rates:
            place = Path(scratch) / program
            place.mkdir()
            Path(scratch).chmod(0o755)
            ports[program] = stack.enter_context(pair(program, place))
            asyncio.run(load(ports[program], size, SECONDS))
        for _ in range(ROUNDS):
            for program, taken in rates.items():
                taken.append(asyncio.run(load(ports[program], size, SECONDS)))
    return statistics.median(rates["ours"]), statistics.median(rates["floor"])


# --- load ----------------------------------------------------------------------------------------------------------


async def load(port: int, size: int, seconds: float) -> float:
    """Files acknowledged per second."""
    done = 0
    numbers = iter(range(1 << 60))
    block = os.urandom(size)
    end = time.monotonic() + seconds

    async def sender() -> None:
        nonlocal done
        reader, stream = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            content = os.urandom(16) + next(numbers).to_bytes(8, "big") + block[24:]
            digest = hashlib.sha256(content).hexdigest()
            head = f"PUT /files/{digest} HTTP/1.1\r\nHost: bench\r\nContent-Length: {size}\r\n\r\n"
            stream.write(head.encode())
            stream.write(content)
            await read_answer(reader)
            done += 1
        stream.close()
        await stream.wait_closed()

    start = time.monotonic()
    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    return done / (time.monotonic() - start)


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer of known length; raises RuntimeError unless it is 201."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    body = await reader.readexactly(int(lengths[0]))
    if not head.startswith(b"HTTP/1.1 201"):
        raise RuntimeError(f"{head.decode(errors='replace')}{body.decode(errors='replace')}")


# --- processes -----------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pair(program: str, directory: Path) -> Iterator[int]:
    """Two sites of one program, each a process; the port where the first takes files."""
    ports = [free_port() for _ in range(4)]
    prepare(directory, ports)
    processes = []
    try:
        for number in (1, 0):
            command = [sys.executable, "-m", "bench.sites", program, str(directory), str(number)]
            processes.append(subprocess.Popen([*command, *map(str, ports)]))
            (directory / f"{number}.pid").write_text(str(processes[-1].pid))
        for port in ports:
            wait_for(port, processes)
        yield ports[0]
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()


def process_ids(directory: Path) -> list[int]:
    """Of both sites of a pair."""
    return [int((directory / f"{number}.pid").read_text()) for number in (0, 1)]


def prepare(directory: Path, ports: list[int]) -> None:
    """Keys and certificates of both sites."""
    from glasshouse.parties.certificates import create_peer
    from glasshouse.regions.keys.file_keyring import FileKeyring

    for name, port in zip(SITES, ports[2:], strict=True):
        keys = directory / name / "keys"
        keys.mkdir(parents=True)
        create_peer(keys, name, f"https://127.0.0.1:{port}", int(time.time()))
        FileKeyring(keys).next_epoch()


def wait_for(port: int, processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if any(process.poll() is not None for process in processes) or time.monotonic() > end:
            raise RuntimeError("a site did not start")
        time.sleep(0.05)
