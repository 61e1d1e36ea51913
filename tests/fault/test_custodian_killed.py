"""kill -9 of the custodian while sites ask it, and between its count and its answer.

What was answered is counted afterwards, never less; no request is taken twice; a grant's uses are never exceeded. Four
kills at seeded moments; GLASSHOUSE_SOAK=1 makes it two hundred.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from custodians import (
    ANALYSIS,
    CUSTODIAN,
    INTAKE,
    REGION,
    SITE,
    Guarded,
    ask,
    guarded,
    items_counted,
    request_of,
)
from ledgers import until
from world import NOW

from glasshouse.regions import custody
from glasshouse.regions.custody_client import CustodyClient
from glasshouse.regions.custody_request import Item
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable

TESTS = Path(__file__).resolve().parents[1]
KILLS = 200 if os.environ.get("GLASSHOUSE_SOAK") else 4
SEED = 20181113
SITES = 4


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guarded]:
    with guarded(tmp_path) as made:
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Asking:
    """Threads that ask for the same item again and again, and count the answers that they receive."""

    def __init__(self, url: str, item: Item) -> None:
        self.answered, self._url, self._item = 0, url, item
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(SITES)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        client = CustodyClient(
            self._url, custodian=CUSTODIAN, region=REGION, site=SITE, signer=INTAKE, clock=lambda: NOW
        )
        with client:
            while not self._stop.is_set():
                try:
                    count = len(client.unwrap([self._item], ANALYSIS))
                except CustodyUnavailable:
                    # Whoever asks without a pause takes the processor from the process that starts.
                    self._stop.wait(0.1)
                else:
                    with self._lock:
                        self.answered += count

    def end(self) -> int:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.answered


def test_what_was_answered_is_counted_whatever_was_killed(guard: Guarded, tmp_path: Path) -> None:
    moments, port = random.Random(SEED), free_port()
    item = guard.item()
    asking = Asking(f"http://127.0.0.1:{port}", item)
    try:
        for _ in range(KILLS):
            before = asking.answered
            process = subprocess.Popen(
                [sys.executable, "custodian_process.py", str(tmp_path), str(port)], cwd=TESTS, stderr=subprocess.DEVNULL
            )
            wanted = before + moments.randrange(1, 40)
            try:
                until(lambda wanted=wanted: asking.answered >= wanted, timeout_seconds=60)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait(60)
            # Another process reads what the killed one left.
            assert items_counted(guard.custodian)["analysis"] >= asking.answered
    finally:
        answered = asking.end()
    counted = items_counted(guard.custodian)["analysis"]
    assert counted >= answered
    # At most the requests under way at each kill were counted and not answered.
    assert counted <= answered + KILLS * SITES


@pytest.mark.parametrize("dies", [KeyboardInterrupt, MemoryError])
def test_between_count_and_answer(
    guard: Guarded, monkeypatch: pytest.MonkeyPatch, dies: type[BaseException], tmp_path: Path
) -> None:
    """The count is there although nothing was answered, and the lost request is not taken again."""

    def die(_: object) -> bytes:
        raise dies

    request = request_of(guard.item())
    with monkeypatch.context() as patched:
        patched.setattr(custody, "format_answer", die)
        with pytest.raises(dies):
            ask(guard, request)
    with guarded(tmp_path, world=guard.world) as again:
        assert items_counted(again.custodian) == {"analysis": 1}
        with pytest.raises(CustodyRefused, match="taken before"):
            ask(again, request)
        ask(again, request_of(guard.item()))
        assert items_counted(again.custodian) == {"analysis": 2}
