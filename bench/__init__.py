"""Measurements, each beside a peer or a floor in the same run, reported as a ratio.

Every other module of this package is one benchmark: `run() -> Figure`, its docstring's first line says what it shows.
Nothing here decides whether a test passes: a figure depends on the machine, the ratio far less.
"""

import statistics
import time
from collections.abc import Callable
from typing import NotRequired, TypedDict


class Figure(TypedDict):
    """What a benchmark reports: exactly one of `floor`, `peer` and `limit`.

    `ratio` is ours over the floor or the peer; of a limit, how many times ours fits into it.
    """

    name: str
    ours: float
    floor: NotRequired[float]
    peer: NotRequired[float]
    limit: NotRequired[float]
    ratio: float
    unit: str
    target: str
    notes: str


def median_seconds(*candidates: Callable[[], object], rounds: int) -> list[float]:
    """Wall time of each candidate, the median of `rounds`; rounds alternate, so that a busy machine disturbs all."""
    taken: list[list[float]] = [[] for _ in candidates]
    for _ in range(rounds):
        for candidate, times in zip(candidates, taken, strict=True):
            start = time.perf_counter()
            candidate()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]
