"""What can be done for an object before it has a place in the journal: into the vault with it, and its key wrapped.

Two threads take what waits, in groups: while one waits for the disk, the other wraps, and the committer
(committing.py), to whom they hand everything over, does neither.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from glasshouse.parties.errors import PartyError
from glasshouse.regions.errors import RegionError, Short
from glasshouse.regions.placing import Place
from glasshouse.regions.receipts import Facts
from glasshouse.regions.replication import Receipt
from glasshouse.regions.wrapping import Wrapping
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
MAX_GROUP_OBJECTS = 512
MAX_GROUP_BYTES = 16 << 20
MAX_WAITING = 4096
_THREADS = 2


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A sealed object that is to be stored. `sealed` is its ciphertext; None where the vault has it already.

    `future` gives the receipt, or an error; `facts` lack what the committer gives: time, epoch and charter.
    """

    handle: str
    facts: Facts
    data_key: bytes
    sealed: bytes | None
    future: "Future[Receipt]" = field(default_factory=Future)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An object that lies durably in the vault, with its key as this site keeps it; `transfer` in dual custody only."""

    ready: Ready
    wrapping: Wrapping
    transfer: Wrapping | None


class Preparer:
    """Prepares objects in threads of its own, and hands them over. Use as a context manager."""

    def __init__(self, place: Place, hand_over: Callable[[Sequence[Prepared]], None]) -> None:
        self._place = place
        self._hand_over = hand_over
        self._condition = threading.Condition()
        self._waiting: deque[Ready] = deque()
        self._stopping = False
        self._flusher = ThreadPoolExecutor(_THREADS, thread_name_prefix="flusher")
        names = (f"preparer-{number}" for number in range(_THREADS))
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]

    def submit(self, ready: Ready) -> None:
        """Queue an object. Raises Short if too much waits."""
        with self._condition:
            if self._stopping or len(self._waiting) >= MAX_WAITING:
                raise Short("too many uploads are waiting", retry_after_seconds=2)
            self._waiting.append(ready)
            self._condition.notify()

    def __enter__(self) -> "Preparer":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Prepare what waits, then stop."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        self._flusher.shutdown()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._stopping)
                group: list[Ready] = []
                size = 0
                while self._waiting and len(group) < MAX_GROUP_OBJECTS and size < MAX_GROUP_BYTES:
                    group.append(self._waiting.popleft())
                    size += len(group[-1].sealed or b"")
            if not group:
                return
            self._prepare(group)

    def _prepare(self, group: Sequence[Ready]) -> None:
        riding = {ready.handle: ready.sealed for ready in group if ready.sealed is not None}
        flushed = self._flusher.submit(self._place.vault.keep_all, riding)
        try:
            # Wrapping goes on while the disk is busy.
            prepared = self._wrapped(group)
            flushed.result()
        except Exception as error:
            if not isinstance(error, StorageError | RegionError | PartyError):
                _LOG.exception("a group of %d objects could not be prepared", len(group))
            told = error if isinstance(error, RegionError) else Short(f"the site cannot store objects now: {error}")
            for ready in group:
                fail(ready.future, told)
            return
        self._hand_over(prepared)

    def _wrapped(self, group: Sequence[Ready]) -> list[Prepared]:
        rules = self._place.rules()
        dual, prepared = rules.rules.custody.key is not None, []
        for_peers, for_itself = self._place.transfer_wrapper().group(), self._place.wrapper().group()
        for ready in group:
            own = for_peers(ready.data_key, ready.handle, rules.region)
            kept = for_itself(ready.data_key, ready.handle, rules.region) if dual else own
            prepared.append(Prepared(ready=ready, wrapping=kept, transfer=own if dual else None))
        return prepared


def fail(future: "Future[Any]", error: BaseException) -> None:
    """Give somebody who waits an error, unless nobody waits any more."""
    if not future.done() and future.set_running_or_notify_cancel():
        future.set_exception(error)
