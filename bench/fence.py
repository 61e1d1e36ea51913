"""Seconds in which a region takes no writes while it moves, at 100 writes a second from products with the real client.

A site holds some thousands of objects; the charter opens the move to two others, which take over its journal while
products go on sending; then it is fenced. Measured from the first write that was refused to the last, and by the sites'
own records; afterwards every receipt's object is opened at both new sites.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench import Figure
from bench.intake import free_port

OBJECTS = 3_000
SIZE = 4 << 10
PRODUCTS = 20
WRITES_PER_SECOND = 100
BEFORE_SECONDS = 5.0
AFTER_SECONDS = 5.0
# How far behind the new sites may be when the region is fenced, in seconds of writes.
LAG_SECONDS = 2
LIMIT_SECONDS = 5.0
PATIENCE_SECONDS = 600.0


class Process:
    """One site."""

    def __init__(self, directory: Path, name: str, ports: list[int]) -> None:
        words = [sys.executable, "-m", "bench.moving", str(directory), name, *map(str, ports)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def wait(self) -> Any:
        """Its next line."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise RuntimeError("a site's process has ended")
        return json.loads(line)

    def ask(self, line: str) -> Any:
        """Have it do something; its answer."""
        if self._process.stdin:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        return self.wait()

    def stop(self) -> None:
        """Let it end."""
        if self._process.stdin:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait()


class Products:
    """Threads that together send so many files a second, each when its time has come, whatever became of the others."""

    def __init__(self, directory: Path, ports: list[int]) -> None:
        from bench.moving import TOKEN, departure
        from glasshouse.regions.client import SiteClient
        from glasshouse.regions.destination import destination_of
        from glasshouse.regions.errors import SiteAnswered, SiteUnavailable

        refusals = self.refusals = list[float]()

        class Product(SiteClient):
            """The client as it is, and a note of every refusal that it comes across."""

            def _ask(self, *words: Any, **more: Any) -> httpx.Response:
                try:
                    return super()._ask(*words, **more)
                except (SiteAnswered, SiteUnavailable):
                    refusals.append(time.time())
                    raise

        ground = departure(directory, ports[:3], ports[3:])
        ground.open()
        destination = destination_of(ground.link, "AU")
        self.sent: list[tuple[str, str, str, float]] = []
        self.failed: list[str] = []
        self.seconds = 0.0
        self._stop, self._start = threading.Event(), time.monotonic()
        self._directory = directory
        self._clients = [Product(destination, TOKEN) for _ in range(PRODUCTS)]
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(PRODUCTS)]

    def _send(self, number: int) -> None:
        path, client, turn = self._directory / f"product-{number}", self._clients[number], 0
        while not self._stop.wait(max(0.0, self._due(number, turn) - time.monotonic())):
            turn += 1
            path.write_bytes(os.urandom(SIZE))
            began = time.monotonic()
            try:
                sent = client.send_file(path, {"category": "suspicious"})
            except Exception as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                continue
            took = time.monotonic() - began
            self.sent.append((sent.receipt.handle, sent.receipt.sha256, str(sent.receipt.site), took))

    def _due(self, number: int, turn: int) -> float:
        return self._start + (turn * PRODUCTS + number) / WRITES_PER_SECOND

    def __enter__(self) -> "Products":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._start
        for client in self._clients:
            client.close()


@contextlib.contextmanager
def sites(directory: Path, ports: list[int]) -> Iterator[dict[str, Process]]:
    """The old site; the others are added by the caller."""
    running = {"moscow": Process(directory, "moscow", ports)}
    try:
        running["moscow"].wait()
        yield running
    finally:
        for process in running.values():
            process.stop()


def run() -> Figure:
    """Move a region under load; fails where anything was lost."""
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch:
        place = Path(scratch)
        place.chmod(0o755)
        os.environ.setdefault("GLASSHOUSE_STATE", str(place / "state"))
        (place / "state").mkdir(mode=0o755)
        ports = [free_port() for _ in range(6)]
        with sites(place, ports) as running:
            return measured(place, ports, running)


def measured(place: Path, ports: list[int], running: dict[str, Process]) -> Figure:
    """The move itself."""
    old = running["moscow"]
    old.ask(f"fill {OBJECTS} {SIZE}")
    with Products(place, ports) as products:
        time.sleep(BEFORE_SECONDS)
        began = time.monotonic()
        for name in ("zurich-1", "zurich-2"):
            running[name] = Process(place, name, ports)
        old.ask("open")
        for name in ("zurich-1", "zurich-2"):
            running[name].wait()
        end = time.monotonic() + PATIENCE_SECONDS
        while not (behind := old.ask("lag")) or max(behind.values()) > LAG_SECONDS * WRITES_PER_SECOND:
            if time.monotonic() > end:
                raise RuntimeError(f"the new sites do not catch up: {behind}")
            time.sleep(0.2)
        caught_up = time.monotonic() - began
        sent_before = len(products.sent)
        products.refusals.clear()
        fenced = time.time()
        old.ask("fence")
        time.sleep(AFTER_SECONDS)
    while max(old.ask("lag").values()) > 0:
        time.sleep(0.1)
    refused = max(products.refusals, default=fenced) - min(products.refusals, default=fenced)
    times = [running[name].ask("times") for name in ("zurich-1", "zurich-2")]
    # The second site takes nothing by itself as long as all products go to the first.
    first = min(shown[2] for shown in times if shown[2] is not None)
    by_sites = (first - times[0][0]) / 1000
    counted = old.ask("times")[3]
    lost = check(place, products, running)
    longest = max(took for _, _, site, took in products.sent if site != "moscow")
    ours = max(refused, by_sites)
    after = len(products.sent) - sent_before
    rate = len(products.sent) / products.seconds
    return {
        "name": "fence",
        "ours": ours,
        "limit": LIMIT_SECONDS,
        "ratio": LIMIT_SECONDS / max(ours, 0.001),
        "unit": "s",
        "target": f"<= {LIMIT_SECONDS:g}",
        "notes": (
            f"{OBJECTS:,} objects, {WRITES_PER_SECOND} writes/s of {SIZE >> 10} KiB offered, {rate:.0f} taken;"
            f" refused for {refused:.2f} s, by the sites' records {by_sites:.2f} s; the longest write at a new site"
            f" {longest:.2f} s;"
            f" caught up in {caught_up:.0f} s; {len(products.sent):,} writes acknowledged, {after:,} after the fence;"
            f" {counted} refused by the old site, {len(products.failed)} given up, {lost} lost;"
            f" load average {os.getloadavg()[0]:.1f}"
        ),
    }


def check(place: Path, products: Products, running: dict[str, Process]) -> int:
    """Have both new sites open everything that was acknowledged; raises RuntimeError where anything is not there."""
    listed = place / "receipts"
    listed.write_text("".join(f"{handle} {sha256}\n" for handle, sha256, *_ in products.sent))
    lost = 0
    for name in ("zurich-1", "zurich-2"):
        found = running[name].ask(f"held {listed}")
        lost += len(products.sent) - found
    if lost:
        raise RuntimeError(f"{lost} acknowledged objects are not at the new sites")
    return lost
