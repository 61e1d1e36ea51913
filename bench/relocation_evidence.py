"""Seconds to check the evidence of a relocation offline, after three months' watch, in a ledger of 10^6 entries.

A whole move, its steps spread over the ledger, with a statement of the watch for every day; beside it the same after a
year. Statements and signatures are real, assembled as for anybody, parsed and judged as by `glasshouse verify`, which
has to say verified. The other entries are leaf hashes.
"""

import importlib
import sys
import time
from typing import Any

from glasshouse_verify.relocation import Step
from glasshouse_verify.relocation_check import check_relocation, format_relocation_evidence, parse_relocation_evidence
from glasshouse_verify.report import Outcome

from bench import Figure, median_seconds
from bench.evidence_size import TESTS, Long

LIMIT_SECONDS = 1.0
DAYS, YEAR_DAYS = 90, 365
SIZE = 1_000_000
BEGUN_AT, STEP_ENTRIES, DAY_ENTRIES = 100_000, 20_000, 1_000
ROUNDS = 9

sys.path.insert(0, str(TESTS))
moves: Any = importlib.import_module("relocation_world")


class LongMove(Long, moves.MoveWorld):  # type: ignore[misc]
    """A move in a long ledger, watched for so many days."""

    def __init__(self, days: int) -> None:
        self.days = days
        super().__init__()

    def open(self, **changes: Any) -> str:
        """The members say for how long the old site is to be watched."""
        identity: str = super().open(watch=self.days * moves.DAY, **changes)
        return identity


def moved(days: int) -> tuple[LongMove, bytes]:
    """The move, watched for as long as its members asked, and its evidence."""
    ledger = LongMove(days)
    for number, step in enumerate(moves.ORDER[:-1]):
        ledger.skip_to(BEGUN_AT + number * STEP_ENTRIES)
        ledger.take(step)
    for _ in range(days + 1):
        ledger.skip_to(len(ledger.entries) + DAY_ENTRIES)
        ledger.say(Step.WATCH)
        ledger.later(moves.DAY)
    ledger.skip_to(SIZE)
    return ledger, format_relocation_evidence(ledger.evidence_of_move())


def judge(ledger: LongMove, data: bytes) -> None:
    """Parse and check; raises ValueError where that says anything but verified."""
    report = check_relocation(ledger.pin, parse_relocation_evidence(data), ledger.now)
    if report.outcome != Outcome.VERIFIED:
        raise ValueError(report)


def run() -> Figure:
    """The figure is parsing and checking together; the process around it costs what `verify_start` says."""
    short, long = moved(DAYS), moved(YEAR_DAYS)
    seconds, year = median_seconds(lambda: judge(*short), lambda: judge(*long), rounds=ROUNDS)
    start = time.process_time()
    judge(*long)
    busy = time.process_time() - start
    steps = len(parse_relocation_evidence(short[1]).steps)
    return {
        "name": "relocation_evidence",
        "ours": seconds,
        "limit": LIMIT_SECONDS,
        "ratio": LIMIT_SECONDS / seconds,
        "unit": "s",
        "target": f"at most {LIMIT_SECONDS} s",
        "notes": f"{steps} statements, {DAYS} days of watch, {SIZE:,} entries, {len(short[1]):,} bytes; after "
        f"{YEAR_DAYS} days {len(long[1]):,} bytes and {year:.2f} s, {busy:.2f} s of processor time",
    }
