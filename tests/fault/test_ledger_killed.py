"""kill -9 while writers post: of the whole node, and of its PostgreSQL alone.

What was acknowledged is there afterwards, at its index; the log verifies; a party that has verified it before never
sees it go back. A dozen kills at seeded moments; GLASSHOUSE_SOAK=1 makes it two hundred.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import LedgerNode, ledger_node, no_quorum, size_of, until
from notary import Notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError, NotThere, Unavailable
from glasshouse.ledger.fsck import check_log
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

TESTS = Path(__file__).resolve().parents[1]
KILLS = 200 if os.environ.get("GLASSHOUSE_SOAK") else 12
SEED = 20181113
WRITERS = 6
ORIGIN = "killed.example/log"


class Writers:
    """Threads that post one entry after the other, and remember what was acknowledged."""

    def __init__(self, url: str, generation: int, *, patience_seconds: float = 0.0) -> None:
        self._url = url
        self._generation = generation
        self._patience_seconds = patience_seconds
        self._stopping = threading.Event()
        self.acknowledged: dict[bytes, int] = {}
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def _write(self, number: int) -> None:
        with LedgerClient(self._url, patience_seconds=self._patience_seconds, timeout_seconds=5.0) as client:
            for count in range(1_000_000):
                entries = [b"%d/%d/%d/%d" % (self._generation, number, count, part) for part in range(1 + count % 3)]
                if self._stopping.is_set():
                    return
                try:
                    indexes = client.add_batch(entries) if len(entries) > 1 else [client.add(entries[0])]
                except LedgerError:
                    if not self._patience_seconds:
                        return
                    continue
                self.acknowledged.update(zip(entries, indexes, strict=True))

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def node_process(directory: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(TESTS / "ledger_process.py"), str(directory), ORIGIN, str(port)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(client: LedgerClient, size: int) -> None:
    def covered() -> bool:
        try:
            return size_of(client.checkpoint()) >= size
        except (NotThere, Unavailable):
            return False

    until(covered, timeout_seconds=60)


def everything_is_there(client: LedgerClient, view: View, acknowledged: dict[bytes, int]) -> None:
    wait_for(client, max(acknowledged.values(), default=-1) + 1)
    view.update(client)
    entries = dict(view.entries(0))
    assert len(set(acknowledged.values())) == len(acknowledged)
    missing = {entry: index for entry, index in acknowledged.items() if entries.get(index) != entry}
    assert missing == {}
    assert len(set(entries.values())) == len(entries)
    report = check_log(client.get, view.policy)
    assert report.sound, report.findings


@pytest.mark.timeout(1800)
def test_kill_9_of_the_node_loses_nothing_acknowledged(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    acknowledged: dict[bytes, int] = {}
    port = free_port()
    with View(tmp_path / "view", no_quorum(Notary(ORIGIN).key)) as view:
        for generation in range(KILLS):
            with (
                node_process(tmp_path / "node", port) as process,
                LedgerClient(f"http://127.0.0.1:{port}", patience_seconds=30, timeout_seconds=5.0) as client,
            ):
                everything_is_there(client, view, acknowledged)
                with Writers(client.url, generation) as writers:
                    time.sleep(chance.uniform(0.0, 0.5))
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                acknowledged.update(writers.acknowledged)
        with (
            node_process(tmp_path / "node", port),
            LedgerClient(f"http://127.0.0.1:{port}", patience_seconds=30) as client,
        ):
            everything_is_there(client, view, acknowledged)
    assert len(acknowledged) > 10 * KILLS


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def node(own_postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[LedgerNode]:
    with (
        Database(own_postgres.dsn, timeout_seconds=2.0) as database,
        ledger_node(database, tmp_path, ORIGIN) as running,
    ):
        yield running


def kill_and_wait_for_another(server: EmbeddedPostgres) -> None:
    before = server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: server.pid not in (None, before), timeout_seconds=30)


def wait_for_more(writers: Writers) -> None:
    count = len(writers.acknowledged)
    until(lambda: len(writers.acknowledged) > count + 2 * WRITERS, timeout_seconds=30)


def test_kill_9_of_postgresql_loses_nothing_acknowledged(
    own_postgres: EmbeddedPostgres, node: LedgerNode, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    with Writers(node.url, 0, patience_seconds=20.0) as writers:
        for _ in range(max(3, KILLS // 20)):
            time.sleep(chance.uniform(0.1, 0.5))
            kill_and_wait_for_another(own_postgres)
            wait_for_more(writers)
    assert node.running.alarm is None
    with LedgerClient(node.url) as client, View(tmp_path / "view", no_quorum(node.notary.key)) as view:
        everything_is_there(client, view, writers.acknowledged)
