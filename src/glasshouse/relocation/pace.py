"""How fast a move goes: at most so many bytes a second, and what is said of it meanwhile."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far something is: versions and bytes of content, of how many where that is known, after how many seconds."""

    objects: int
    size: int
    seconds: float
    objects_expected: int | None = None
    size_expected: int | None = None

    @property
    def bytes_per_second(self) -> float:
        """Over all the time so far."""
        return self.size / self.seconds if self.seconds else 0.0

    @property
    def objects_per_second(self) -> float:
        """Over all the time so far."""
        return self.objects / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """By whichever of objects and bytes is further behind; None where nobody knows how much there is."""
        left = [
            self.seconds * (expected - done) / done
            for done, expected in ((self.objects, self.objects_expected), (self.size, self.size_expected))
            if expected is not None and done
        ]
        return max(0.0, *left) if left else None


Watch = Callable[[Progress], object]


class Meter:
    """Counts what is done, and tells a watcher of it at most every `every_seconds`."""

    def __init__(
        self,
        watch: Watch | None = None,
        *,
        objects_expected: int | None = None,
        size_expected: int | None = None,
        every_seconds: float = 0.5,
    ) -> None:
        self._watch, self._every = watch, every_seconds
        self._expected = (objects_expected, size_expected)
        self._start = self._told = time.monotonic()
        self._objects = self._size = 0

    def add(self, objects: int, size: int) -> None:
        """So much more is done."""
        self._objects += objects
        self._size += size
        now = time.monotonic()
        if self._watch is not None and now - self._told >= self._every:
            self._told = now
            self._watch(self.progress)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            objects=self._objects,
            size=self._size,
            seconds=time.monotonic() - self._start,
            objects_expected=self._expected[0],
            size_expected=self._expected[1],
        )


class Throttle:
    """A token bucket: at most `bytes_per_second` on the average, and a second of it at once. None: no limit."""

    def __init__(self, bytes_per_second: float | None) -> None:
        self._rate = bytes_per_second
        self._held = bytes_per_second or 0.0
        self._last = time.monotonic()

    async def take(self, size: int) -> None:
        """Wait until so many bytes may pass. One that is larger than the bucket passes, and those after it wait."""
        if self._rate is None:
            return
        now = time.monotonic()
        self._held = min(self._rate, self._held + (now - self._last) * self._rate) - size
        self._last = now
        if self._held < 0:
            await asyncio.sleep(-self._held / self._rate)
