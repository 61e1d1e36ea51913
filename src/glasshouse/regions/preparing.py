"""What can be done for an object before it has a place in the journal: into the vault with it, and its key wrapped.

The committer (committing.py) takes all that wait at once. While the disk is busy with such a group, its keys are
wrapped and its receipts signed.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from glasshouse.regions.placing import Place
from glasshouse.regions.receipts import Facts
from glasshouse.regions.replication import Tell
from glasshouse.regions.wrapping import Wrapping

MAX_GROUP_OBJECTS = 512
MAX_GROUP_BYTES = 16 << 20
MAX_WAITING = 4096


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A sealed object that is to be stored. `sealed` is its ciphertext; None where the vault has it already.

    `answer` is called from any thread with the receipt or an error, perhaps with another one after that; `facts` lack
    what the committer gives: time, epoch and charter.
    """

    handle: str
    facts: Facts
    data_key: bytes
    sealed: bytes | None
    answer: Tell


@dataclass(frozen=True, kw_only=True)
class Keys:
    """An object's data key as this site keeps it; `transfer` in dual custody only."""

    wrapping: Wrapping
    transfer: Wrapping | None


class Preparer:
    """Prepares groups of objects. Use as a context manager."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="flusher")

    def keep(self, group: Sequence[Ready]) -> "Future[None]":
        """Begin to put the objects into the vault; the future is done when they lie there durably."""
        riding = {ready.handle: ready.sealed for ready in group if ready.sealed is not None}
        return self._flusher.submit(self._place.vault.keep_all, riding)

    def wrapped(self, group: Sequence[Ready]) -> list[Keys]:
        """The data keys of a group. Raises KeysUnavailable."""
        region, wrap = self._place.rules().region, self._place.wrapper().group_for_transfer()
        pairs = [wrap(ready.data_key, ready.handle, region) for ready in group]
        return [Keys(wrapping=kept, transfer=transfer) for kept, transfer in pairs]

    def __enter__(self) -> "Preparer":
        return self

    def __exit__(self, *_: object) -> None:
        self._flusher.shutdown()


def next_group(waiting: deque[Ready]) -> list[Ready]:
    """Take as many of those that wait as may be prepared at once."""
    group: list[Ready] = []
    size = 0
    while waiting and len(group) < MAX_GROUP_OBJECTS and size < MAX_GROUP_BYTES:
        group.append(waiting.popleft())
        size += len(group[-1].sealed or b"")
    return group
