"""A store of 20,000 objects of 4 KiB, and one of 500 of 1 MiB, moved to two destinations and checked, beside rclone.

Ours: the old site lists and hashes the source; the supervisor lists it too and compares; each destination copies every
version by itself, sealed under a fresh data key, reads it back, commits it to its PostgreSQL and passes again until
nothing is new, then lists its archive with another client, reads all of it and opens it; the supervisor reads the
sample at both. The peer: `rclone copy` to each at once, then `rclone check --download` of each at once, which seals
nothing, commits to nothing, and proves nothing to anybody else. Three S3 servers, the same for both, in one run.
"""

import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import Figure
from bench.relocating.servers import ACCESS, BUCKET, SECRET, rclone, s3_server, versitygw

SIZES = {4 << 10: 20_000, 1 << 20: 500}
SHARE = float(os.environ.get("GLASSHOUSE_RELOCATION_SHARE", "1"))
ROUNDS = int(os.environ.get("GLASSHOUSE_RELOCATION_ROUNDS", "1"))
SITES = ("zurich-1", "zurich-2")
MEMORY, MEMORY_BYTES = "/dev/shm", 6 << 30  # noqa: S108  a file system; names in it are not guessed
PROCESSOR = "processor"
_PARALLEL = ["--transfers=32", "--checkers=32"]
_DIRECTORIES = 100


def run() -> Figure:
    """Measure each size, both programs in turns in the same run; the smaller ratio is the figure."""
    found = {}
    # Both keep everything in memory, where there is enough: a disk would be what is measured.
    place = MEMORY if Path(MEMORY).is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-", dir=place) as scratch:
        Path(scratch).chmod(0o755)
        program = versitygw(Path(scratch))
        for size, count in SIZES.items():
            found[size] = measured(program, Path(scratch) / str(size), size, round(count * SHARE))
    worst = min(found, key=lambda size: found[size].ratio)
    each = "; ".join(f"{count * SHARE:,.0f} × {size >> 10} KiB: {found[size]}" for size, count in SIZES.items())
    return {
        "name": "relocation",
        "ours": found[worst].ours,
        "peer": found[worst].peer,
        "ratio": found[worst].ratio,
        "unit": "s",
        "target": ">= 1.0, aim 1.5",
        "notes": f"ratio = rclone's time over ours; {each}; servers: {'versitygw' if program else 'rclone serve s3'}; "
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
    }


class Measured:
    """Seconds of both, and where ours went."""

    def __init__(self, ours: Sequence[Mapping[str, float]], peer: Sequence[Mapping[str, float]]) -> None:
        self.ours = statistics.median(_wall(one) for one in ours)
        self.peer = statistics.median(_wall(one) for one in peer)
        self.ratio = self.peer / self.ours
        self._parts = (ours[-1], peer[-1])

    def __str__(self) -> str:
        mine, theirs = (", ".join(f"{name} {value:.1f}" for name, value in part.items()) for part in self._parts)
        used = self._parts[1][PROCESSOR] / self._parts[0][PROCESSOR]
        times = f"{self.ours:.1f} s ({mine}), rclone {self.peer:.1f} s ({theirs})"
        return f"{times}, {self.ratio:.2f}, and {used:.2f} in processor time"


def _wall(parts: Mapping[str, float]) -> float:
    return sum(value for name, value in parts.items() if name != PROCESSOR)


@contextlib.contextmanager
def processor(directory: Path, into: dict[str, float]) -> Iterator[None]:
    """Processor seconds of what is started and ends meanwhile, and of the servers below a directory."""
    before = _used(directory)
    yield
    into[PROCESSOR] = _used(directory) - before


def _used(directory: Path) -> float:
    """Of children that have ended, and of servers that run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = 0.0
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(directory).encode() in (place / "cmdline").read_bytes():
                fields = (place / "stat").read_text().rpartition(")")[2].split()
                running += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return ended.ru_utime + ended.ru_stime + running


def measured(program: Path | None, directory: Path, size: int, count: int) -> Measured:
    """Both, alternating, each with empty destinations."""
    ours: list[Mapping[str, float]] = []
    peer: list[Mapping[str, float]] = []
    fill(directory / "source" / "files", size, count)
    with s3_server(program, directory / "source") as source:
        rclone_run([remote(source)], directory, ["copy", str(directory / "source" / "files"), f"r0:{BUCKET}"])
        for turn in range(ROUNDS):
            with destinations(program, directory / f"peer-{turn}") as endpoints:
                used: dict[str, float] = {}
                with processor(directory, used):
                    found = peer_seconds(directory, source, endpoints)
                peer.append({**found, **used})
            with destinations(program, directory / f"ours-{turn}") as endpoints:
                with processor(directory, used):
                    found = our_seconds(directory / f"ours-{turn}", source, endpoints, count)
                ours.append({**found, **used})
    return Measured(ours, peer)


def fill(directory: Path, size: int, count: int) -> None:
    """Files that do not compress, in some directories."""
    for number in range(count):
        place = directory / f"{number % _DIRECTORIES:02}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"object-{number:06}").write_bytes(os.urandom(size))


@contextlib.contextmanager
def destinations(program: Path | None, directory: Path) -> Iterator[list[str]]:
    """Two empty stores."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(s3_server(program, directory / f"store-{number}")) for number in range(2)]


# --- the peer ------------------------------------------------------------------------------------------------------


def remote(endpoint: str) -> str:
    return (
        f"type = s3\nprovider = Other\naccess_key_id = {ACCESS}\nsecret_access_key = {SECRET}\nendpoint = {endpoint}\n"
    )


def rclone_run(remotes: Sequence[str], directory: Path, *commands: Sequence[str]) -> None:
    """Run several at once."""
    settings = directory / "rclone.conf"
    settings.write_text("".join(f"[r{number}]\n{text}" for number, text in enumerate(remotes)))
    line = [str(rclone()), f"--config={settings}", "--quiet", *_PARALLEL]
    running = [subprocess.Popen([*line, *command]) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise RuntimeError(f"rclone ended with {codes}")


def peer_seconds(directory: Path, source: str, endpoints: Sequence[str]) -> dict[str, float]:
    """Copy to each, then compare each."""
    remotes, found = [remote(endpoint) for endpoint in (source, *endpoints)], {}
    for name, verb in {"copy": ["copy"], "check": ["check", "--download"]}.items():
        start = time.perf_counter()
        rclone_run(remotes, directory, *([*verb, f"r0:{BUCKET}", f"r{number}:{BUCKET}"] for number in (1, 2)))
        found[name] = time.perf_counter() - start
    return found


# --- ours ----------------------------------------------------------------------------------------------------------


class Party:
    """One process of the move."""

    def __init__(self, part: str, directory: Path, source: str, endpoints: Sequence[str]) -> None:
        place = directory / part
        place.mkdir(parents=True)
        for one in (directory, place):
            one.chmod(0o755)
        command = [sys.executable, "-m", "bench.relocating", part, str(place), source, *endpoints]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told: list[dict[str, object]] = []

    def ready(self) -> None:
        if self._read().strip() != "ready":
            raise RuntimeError("a party did not start")

    def begin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def end(self) -> dict[str, object]:
        self.told.append(json.loads(self._read()))
        return self.told[-1]

    def close(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _read(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise RuntimeError("a party of the move ended; see what it wrote above")
        return line


def our_seconds(directory: Path, source: str, endpoints: Sequence[str], count: int) -> dict[str, float]:
    """The parties are up, as nodes are; every step of the move that touches objects is timed."""
    with contextlib.ExitStack() as stack:
        parties = {}
        for part in ("old", "supervisor", *SITES):
            parties[part] = Party(part, directory, source, endpoints)
            stack.callback(parties[part].close)
        for party in parties.values():
            party.ready()
        old, supervisor, sites = parties["old"], parties["supervisor"], [parties[site] for site in SITES]
        found = {}
        for name, at_once in {
            "inventory": [old],
            "copy": [supervisor, *sites],
            "arrival": sites,
            "open": sites,
            "sample": [supervisor],
        }.items():
            start = time.perf_counter()
            for party in at_once:
                party.begin()
            for party in at_once:
                party.end()
            found[name] = time.perf_counter() - start
        roots = {str(party.told[place]["rows"]) for party, place in ((old, 0), (sites[0], 1), (sites[1], 1))}
        if len(roots) != 1 or old.told[0]["objects"] != count:
            raise RuntimeError("the destinations do not have what the source has")
        return found
