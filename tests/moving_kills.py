"""A region that moves while its sites are killed: processes, customers that never stop, and what is true after that."""

import contextlib
import hashlib
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from gotools import free_port
from ledgers import until
from moves import MOVE, NEW, OLD, Departure
from moving_process import departure
from sites import Site, receipt_of, running_site, same_journals, signing_sites

from glasshouse.regions.keeping.fencing import fence_of
from glasshouse.regions.sweeping import sweep
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

PROGRAM = Path(__file__).with_name("moving_process.py")
CUSTOMERS = 3
LARGE = (1 << 20) + 200_000
# Three sites begin at once, each with its PostgreSQL, on a machine that has other work.
PATIENCE_SECONDS = 180.0


@dataclass
class Killed:
    """Three sites as processes; those that have been started."""

    directory: Path
    ports: dict[str, int] = field(default_factory=dict)
    peer_ports: list[int] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peer_ports = [free_port() for _ in range(3)]
        self.ports = {name: free_port() for name in (OLD, *NEW)}
        self.ground()

    def ground(self) -> Departure:
        return departure(self.directory, self.peer_ports)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, *names: str) -> None:
        for name in names:
            words = [str(self.directory), name, str(self.ports[name]), *map(str, self.peer_ports)]
            self.processes[name] = subprocess.Popen([sys.executable, str(PROGRAM), *words], stderr=subprocess.DEVNULL)

    def kill(self, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(signal.SIGKILL)
        for name in names:
            self.processes[name].wait()

    def again(self, *names: str) -> None:
        self.kill(*names)
        self.start(*names)

    def state(self, name: str) -> dict[str, Any]:
        """What a site says of itself; nothing while it does not answer."""
        try:
            found: dict[str, Any] = httpx.get(f"{self.url(name)}/state", timeout=5.0).json()
        except (httpx.HTTPError, ValueError):
            return {"state": "", "journals": {}}
        return found

    def reached(self, name: str) -> int:
        """How far a site has the old one's journal."""
        return int(self.state(name)["journals"].get(OLD, [0])[0])

    def fence(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"{self.url(OLD)}/fence", timeout=10.0)

    def fence_until_it_stands(self) -> None:
        def stands() -> bool:
            if self.state(OLD)["state"] != "left":
                self.fence()
            return self.state(OLD)["state"] == "left"

        until(stands, timeout_seconds=PATIENCE_SECONDS)

    def taken_over(self) -> bool:
        return all(self.state(name)["state"] == "taking" for name in NEW)


@contextlib.contextmanager
def region(directory: Path) -> Iterator[Killed]:
    directory.mkdir(mode=0o711)
    killed = Killed(directory)
    try:
        yield killed
    finally:
        killed.kill(*killed.processes)


class Customers:
    """Threads that upload one file after the other: to the old site, and where that says that it has moved, a new one.

    What was not acknowledged is sent again; now and then something that was.
    """

    def __init__(self, killed: Killed, seed: int) -> None:
        self._killed, self._seed = killed, seed
        self._stopping = threading.Event()
        self.receipts: list[bytes] = []
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CUSTOMERS)]

    def _send(self, number: int) -> None:
        chance, old = random.Random(self._seed + number), b""
        with httpx.Client(timeout=20.0) as client:
            while not self._stopping.is_set():
                size = LARGE if chance.random() < 0.03 else chance.randrange(1, 10_000)
                content = old if old and chance.random() < 0.1 else chance.randbytes(size)
                self._send_until_taken(client, content, number)
                old = content
                # The machine is the sites' too.
                self._stopping.wait(0.03)

    def _send_until_taken(self, client: httpx.Client, content: bytes, number: int) -> None:
        digest, name = hashlib.sha256(content).hexdigest(), OLD
        while not self._stopping.is_set():
            with contextlib.suppress(httpx.HTTPError):
                answer = client.put(f"{self._killed.url(name)}/{digest}", content=content)
                if answer.status_code in (200, 201):
                    self.receipts.append(answer.content)
                    return
                if answer.status_code == 421:
                    # Two new sites that are sent the same at the same moment both take it (docs/spec/journal.md).
                    name = NEW[number % len(NEW)]
                    continue
                assert answer.status_code == 503, answer.text
            self._stopping.wait(0.05)

    def __enter__(self) -> "Customers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int = 2 * CUSTOMERS) -> None:
        before = len(self.receipts)
        until(lambda: len(self.receipts) > before + count, timeout_seconds=PATIENCE_SECONDS)


@contextlib.contextmanager
def opened(killed: Killed) -> Iterator[dict[str, Site]]:
    """All three in this process, with what the killed ones have left."""
    ground = killed.ground()
    with contextlib.ExitStack() as stack:
        sites = {}
        for name in (*NEW, OLD):
            server = stack.enter_context(EmbeddedPostgres(killed.directory / name / "postgres"))
            database = stack.enter_context(Database(server.dsn))
            sites[name] = stack.enter_context(running_site(ground, name, database))
        until(lambda: all(sites[name].intake.replication.able for name in NEW), timeout_seconds=PATIENCE_SECONDS)
        yield sites


def everything_has_moved(killed: Killed, receipts: list[bytes]) -> None:
    """Every receipt is honoured at both new sites, nothing is there twice, nothing was taken after the fence."""
    with opened(killed) as sites:
        old, new = sites[OLD], [sites[name] for name in NEW]
        until(lambda: same_journals(*new), timeout_seconds=PATIENCE_SECONDS)
        fence = fence_of(old.place, MOVE)
        assert fence is not None
        said = {receipt_of(receipt).handle: receipt for receipt in receipts}
        by_content = {receipt_of(receipt).sha256 for receipt in receipts}
        assert len(said) == len(by_content)
        for handle, receipt in said.items():
            one = receipt_of(receipt)
            assert signing_sites(old.ground, receipt) == ({OLD} if one.site == OLD else set(NEW))
            assert [hashlib.sha256(site.content(handle)).hexdigest() for site in new] == [one.sha256] * 2
        for site in new:
            twice = "select customer, sha256 from regions.object group by 1, 2 having count(*) > 1"
            assert site.rows(twice) == []
            rows = site.rows("select site, count(*), max(number) from regions.object group by 1")
            assert all(count == last for _, count, last in rows), rows
            sweep(site.place)
            held = {handle.hex() for (handle,) in site.rows("select handle from regions.object where state = 'held'")}
            assert set(site.place.vault.handles()) == held
            ciphertexts = "select encode(sealed_sha256, 'hex') from regions.object where site = %s"
            theirs = {row[0] for row in old.rows(ciphertexts, OLD)}
            assert not theirs & {row[0] for row in site.rows(ciphertexts, OLD)}
        after = "select 1 from regions.event where site = %s and kind = 'stored' and position > %s"
        assert old.rows(after, OLD, fence.position) == []
