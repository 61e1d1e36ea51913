"""Uploads that can go on after a broken connection, in the manner of the IETF's draft on resumable uploads.

An upload under way holds the key of its object, in this process alone: after a restart its name is unknown,
and the client begins anew. A customer has few of them, and one that nobody goes on with for an hour is discarded.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from glasshouse.regions.intake import Upload
from glasshouse.regions.web import Declined

MAX_PER_CUSTOMER = 8
MAX_ALTOGETHER = 1_024
IDLE_SECONDS = 3_600.0


@dataclass(kw_only=True)
class Broken:
    """An upload between two requests. `size` is the declared one, `give_back` undoes what it took of an allowance.

    `interrupted`: the last request broke off, and what is on disk is to be read back before it goes on.
    """

    customer: str
    size: int
    upload: Upload
    give_back: Callable[[], None]
    touched: float
    interrupted: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class Uploads:
    """The uploads that can go on. For the event loop of one server."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_seconds, self._clock = idle_seconds, clock
        self._open: dict[str, Broken] = {}

    async def make_room(self, customer: str) -> None:
        """Discard what is too old; raises Declined (429) where the customer has enough of them under way."""
        now = self._clock()
        for name, broken in list(self._open.items()):
            if now - broken.touched > self._idle_seconds and not broken.busy.locked():
                await self.discard(name)
        mine = sum(1 for broken in self._open.values() if broken.customer == customer)
        if mine >= MAX_PER_CUSTOMER or len(self._open) >= MAX_ALTOGETHER:
            fix = "Finish one, or cancel it: DELETE /intake/v1/uploads/…"
            raise Declined(429, "uploads", f"{mine} are under way already", fix)

    def add(self, customer: str, size: int, upload: Upload, give_back: Callable[[], None]) -> str:
        """Keep an upload; the name by which it goes on, which nobody can guess."""
        name = secrets.token_urlsafe(24)
        self._open[name] = Broken(
            customer=customer, size=size, upload=upload, give_back=give_back, touched=self._clock()
        )
        return name

    def find(self, name: str, customer: str) -> Broken:
        """An upload of this customer; raises Declined (404), for those of others too."""
        broken = self._open.get(name)
        if broken is None or broken.customer != customer:
            raise Declined(404, "upload", "is not under way here", "Begin anew: POST /intake/v1/uploads.")
        return broken

    @asynccontextmanager
    async def alone(self, broken: Broken) -> AsyncIterator[None]:
        """One request at a time goes on with an upload; raises Declined (409) for another at the same moment."""
        if broken.busy.locked():
            raise Declined(409, "upload", "another request goes on with it", "Wait for its answer.")
        async with broken.busy:
            try:
                yield
            finally:
                broken.touched = self._clock()

    def forget(self, name: str) -> None:
        """The upload has come to its end."""
        self._open.pop(name, None)

    async def discard(self, name: str) -> None:
        """Cancel an upload: nothing of it stays, and its bytes do not count."""
        broken = self._open.pop(name, None)
        if broken is not None:
            await broken.upload.abort()
            await asyncio.to_thread(broken.give_back)
