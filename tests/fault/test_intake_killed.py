"""kill -9 of sites and of their PostgreSQL while customers upload.

Afterwards every receipt that was handed out is honoured at both sites, nothing is there twice, receipt numbers have no
gaps, both sites have the same journals, and the vaults hold what the databases say. A dozen kills at seeded moments;
GLASSHOUSE_SOAK=1 makes it two hundred.
"""

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gotools import free_port
from ledgers import until
from sites import Ground, Site, honoured, receipt_of, running_site, same_journals

from glasshouse.regions.sweeping import sweep
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

TESTS = Path(__file__).resolve().parents[1]
KILLS = 200 if os.environ.get("GLASSHOUSE_SOAK") else 12
SEED = 20201117
CUSTOMERS = 6
LARGE = (1 << 20) + 300_000


class Customers:
    """Threads that upload one file after the other, to one of the sites; what was not acknowledged is sent again."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._stopping = threading.Event()
        self.receipts: list[bytes] = []
        self.contents: set[str] = set()
        self.again = 0
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CUSTOMERS)]

    def _send(self, number: int) -> None:
        chance = random.Random(SEED + number)
        with httpx.Client(timeout=20.0) as client:
            while not self._stopping.is_set():
                content = chance.randbytes(LARGE if chance.random() < 0.05 else chance.randrange(1, 20_000))
                self._send_until_taken(client, content, self._urls[number % len(self._urls)])

    def _send_until_taken(self, client: httpx.Client, content: bytes, url: str) -> None:
        digest = hashlib.sha256(content).hexdigest()
        while not self._stopping.is_set():
            with contextlib.suppress(httpx.HTTPError):
                answer = client.put(f"{url}/{digest}", content=content)
                if answer.status_code in (200, 201):
                    self.again += answer.status_code == 200
                    self.receipts.append(answer.content)
                    self.contents.add(digest)
                    return
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

    def wait_for_more(self, count: int = 3 * CUSTOMERS) -> None:
        before = len(self.receipts)
        # Both sites start anew in it, and their databases.
        until(lambda: len(self.receipts) > before + count, timeout_seconds=120)


class Process:
    """One site's process."""

    def __init__(self, directory: Path, name: str, port: int, peer_ports: list[int]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        program = str(TESTS / "site_process.py")
        self._command = [sys.executable, program, str(directory), name, str(port), *map(str, peer_ports)]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def both(ground: Ground) -> Iterator[list[Process]]:
    peer_ports = [ground.ports[name] for name in ground.names]
    processes = [Process(ground.directory, name, free_port(), peer_ports) for name in ground.names]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


@contextlib.contextmanager
def opened(ground: Ground) -> Iterator[list[Site]]:
    """Both sites in this process, with what the killed ones have left."""
    with contextlib.ExitStack() as stack:
        sites = []
        for name in ground.names:
            server = stack.enter_context(EmbeddedPostgres(ground.directory / name / "postgres"))
            database = stack.enter_context(Database(server.dsn))
            sites.append(stack.enter_context(running_site(ground, name, database)))
        until(lambda: all(site.intake.replication.able for site in sites), timeout_seconds=60)
        until(lambda: same_journals(*sites), timeout_seconds=60)
        yield sites


def everything_is_there(ground: Ground, receipts: list[bytes], contents: set[str]) -> None:
    with opened(ground) as sites:
        said = [receipt_of(receipt) for receipt in receipts]
        assert len({(one.site, one.number) for one in said}) == len({one.handle for one in said}) == len(contents)
        assert all(honoured(receipt, *sites) for receipt in receipts)
        for site in sites:
            rows = site.rows(
                "select site, count(*), count(distinct number), max(number) from regions.object group by 1"
            )
            assert all(count == distinct == last for _, count, distinct, last in rows), rows
            twice = "select customer, sha256 from regions.object group by 1, 2 having count(*) > 1"
            assert site.rows(twice) == []
            sweep(site.place)
            held = {handle.hex() for (handle,) in site.rows("select handle from regions.object where state = 'held'")}
            assert set(site.place.vault.handles()) == held


@pytest.mark.timeout(1800)
def test_kill_9_loses_no_receipt_and_doubles_nothing(memory_path: Path) -> None:
    directory = memory_path / "killed-sites"
    directory.mkdir(mode=0o711)
    chance = random.Random(SEED)
    ground = Ground(directory)
    with both(ground) as processes, Customers([process.url for process in processes]) as customers:
        customers.wait_for_more()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 0.4))
            victims = chance.choice([processes[:1], processes[1:], processes])
            for victim in victims:
                victim.kill()
            for victim in victims:
                victim.start()
            customers.wait_for_more()
    assert len(customers.receipts) > 10 * KILLS
    everything_is_there(ground, customers.receipts, customers.contents)


def test_kill_9_of_postgresql_loses_no_receipt(memory_path: Path) -> None:
    directory = memory_path / "restarted-databases"
    directory.mkdir(mode=0o711)
    chance = random.Random(SEED)
    ground = Ground(directory)
    with both(ground) as processes, Customers([process.url for process in processes]) as customers:
        customers.wait_for_more()
        for name in (*ground.names, *ground.names):
            time.sleep(chance.uniform(0.0, 0.3))
            postmaster = directory / name / "postgres"
            os.kill(postmaster_of(postmaster), signal.SIGKILL)
            customers.wait_for_more()
    everything_is_there(ground, customers.receipts, customers.contents)


def postmaster_of(directory: Path) -> int:
    location = directory / "location"
    home = Path(location.read_text()) if location.is_file() else directory / "home"
    return int((home / "cluster" / "postmaster.pid").read_text().splitlines()[0])
