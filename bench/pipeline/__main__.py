"""Run one of the processes; see the package."""

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from karton.core import Config, Consumer, Producer, Resource, Task

from bench.intake import CONNECTIONS
from bench.pipeline import CONSUMER, PRODUCERS

HEADERS = {"type": "sample", "kind": "raw"}


def produce() -> None:
    """Send tasks of one file each, as many at once as the processes together are to, for as long as asked."""
    producer = Producer(Config(), identity="karton.source")
    senders = CONNECTIONS // PRODUCERS
    with ThreadPoolExecutor(senders) as threads:
        for line in sys.stdin:
            size, seconds = line.split()
            end = time.monotonic() + float(seconds)
            sent = threads.map(lambda _, size=int(size), end=end: send(producer, size, end), range(senders))
            print(sum(sent), flush=True)


def send(producer: Producer, size: int, end: float) -> int:
    """Send one file after the other; returns how many."""
    block, count = os.urandom(size), 0
    while time.monotonic() < end:
        content = os.urandom(24) + block[24:]
        producer.send_task(Task(headers=HEADERS, payload={"sample": Resource("sample.bin", content=content)}))
        count += 1
    return count


class Keeper(Consumer):
    """Fetches each file and writes it to a directory, once."""

    identity = CONSUMER
    filters = [HEADERS]  # noqa: RUF012  so it is declared in Karton
    place = Path()

    def process(self, task: Task) -> None:
        """Keep the file of one task."""
        sample = task.get_resource("sample")
        (self.place / sample.uid).write_bytes(sample.content)


if sys.argv[1] == "produce":
    produce()
else:
    Keeper.place = Path(sys.argv[2])
    Keeper(Config()).loop()
