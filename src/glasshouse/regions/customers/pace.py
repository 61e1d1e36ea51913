"""How fast one customer may ask: a token bucket each, which holds two seconds' worth."""

import math
import time
from collections.abc import Callable

from glasshouse.regions.errors import TooManyRequests

BURST_SECONDS = 2.0
MAX_BUCKETS = 100_000


class Pace:
    """Requests per second and customer, counted by one process. For one thread at a time."""

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._burst = max(1.0, per_second * BURST_SECONDS)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, customer: str) -> None:
        """Count one request; raises TooManyRequests with the whole seconds until the next one is due."""
        now = self._clock()
        level, since = self._buckets.get(customer, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._per_second)
        if level < 1.0:
            self._buckets[customer] = (level, now)
            raise TooManyRequests(max(1, math.ceil((1.0 - level) / self._per_second)))
        if len(self._buckets) >= MAX_BUCKETS:
            # A bucket that is full again says no more than none.
            full = [c for c, (left, at) in self._buckets.items() if left + (now - at) * self._per_second >= self._burst]
            for name in full:
                del self._buckets[name]
        self._buckets[customer] = (level - 1.0, now)
