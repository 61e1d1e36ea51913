"""Files per second, sealed and durable at two sites, beside a program that does the bare minimum over the same hops.

64 connections each send a file, wait for the answer, send the next; the figure is the worst of 4 KiB, 64 KiB and 1 MiB.
Ours: two sites with their PostgreSQL, signed receipts, wrapped keys; from the first byte of the body on, without what
a site asks of a customer before (`regions.reception`). The floor: a program at two places that hashes once, encrypts
once, and writes and flushes twice, each file by itself, over the same HTTP and TLS.

Both run in short rounds, by turns, and each round of ours is divided by the floor's round after it: so whatever else
the machine does disturbs both. The processor time of all processes for one file is less disturbed still.
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
from dataclasses import dataclass
from pathlib import Path

from bench import Figure

CONNECTIONS = 64
SECONDS = 1.5
ROUNDS = 5
START_SECONDS = 60.0
SIZES = (4 << 10, 64 << 10, 1 << 20)
SITES = ("zurich-1", "zurich-2")


@dataclass(frozen=True, kw_only=True)
class Round:
    """Files acknowledged per second, and milliseconds of processor time for each, of both sites and their databases."""

    rate: float
    processor: float


def run() -> Figure:
    """Measure each size, both programs in turns in the same run; the smallest ratio is the figure."""
    found = {size: measured(size) for size in SIZES}
    ratios = {size: statistics.median(one.rate / other.rate for one, other in found[size]) for size in SIZES}
    worst = min(ratios, key=lambda size: ratios[size])
    each = "; ".join(f"{size >> 10} KiB: {described(size, rounds)}" for size, rounds in found.items())
    ours, floor = (statistics.median(pair[place].rate for pair in found[worst]) for place in (0, 1))
    load = os.getloadavg()[0]
    return {
        "name": "intake",
        "ours": ours,
        "floor": floor,
        "ratio": ratios[worst],
        "unit": "files/s",
        "target": ">= 0.5",
        "notes": f"{CONNECTIONS} connections; {each}; one machine, {os.cpu_count()} cores, load average {load:.1f}",
    }


def described(size: int, rounds: list[tuple[Round, Round]]) -> str:
    """The medians of one size."""
    mine, bare = (statistics.median(pair[place].rate for pair in rounds) for place in (0, 1))
    cost, least = (statistics.median(pair[place].processor for pair in rounds) for place in (0, 1))
    ratio = statistics.median(one.rate / other.rate for one, other in rounds)
    return (
        f"{mine:,.0f} files/s ({mine * size / 1e6:,.1f} MB/s), floor {bare:,.0f}, {ratio:.2f}, "
        f"processor time {cost:.2f} ms a file, floor {least:.2f}"
    )


def measured(size: int) -> list[tuple[Round, Round]]:
    """Rounds of ours and of the floor, by turns."""
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch, contextlib.ExitStack() as stack:
        Path(scratch).chmod(0o755)
        running = []
        for program in ("ours", "floor"):
            place = Path(scratch) / program
            place.mkdir()
            running.append((place, stack.enter_context(pair(program, place))))
        for _, port in running:
            asyncio.run(load(port, size, SECONDS))
        return [(one_round(*running[0], size), one_round(*running[1], size)) for _ in range(ROUNDS)]


def one_round(place: Path, port: int, size: int) -> Round:
    """One program under load."""
    spent = processor_seconds(process_ids(place))
    start = time.monotonic()
    rate = asyncio.run(load(port, size, SECONDS))
    count = rate * (time.monotonic() - start)
    return Round(rate=rate, processor=1e3 * (processor_seconds(process_ids(place)) - spent) / count)


def processor_seconds(roots: list[int]) -> float:
    """Processor time that these processes and their descendants have used."""
    parents, spent = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            spent[int(path.parent.name)] = int(fields[11]) + int(fields[12])

    def belongs(process: int) -> bool:
        return process in roots or (process in parents and belongs(parents[process]))

    return sum(ticks for process, ticks in spent.items() if belongs(process)) / os.sysconf("SC_CLK_TCK")


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
