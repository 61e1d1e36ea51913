"""Seconds to check the evidence of a relocation offline, after a year's watch, in a ledger of 10^6 entries.

A whole move, its steps spread over the ledger, with a statement of the watch for every day of a year. Statements and
signatures are real, assembled as for anybody, parsed and judged as by `glasshouse verify`, which has to say verified.
The other entries are leaf hashes.
"""

import importlib
import sys
from typing import Any

from glasshouse_verify.relocation import Step
from glasshouse_verify.relocation_check import check_relocation, format_relocation_evidence, parse_relocation_evidence
from glasshouse_verify.report import Outcome

from bench import Figure, median_seconds
from bench.evidence_size import TESTS, Long

LIMIT_SECONDS = 1.0
DAYS = 365
SIZE = 1_000_000
BEGUN_AT, STEP_ENTRIES, DAY_ENTRIES = 100_000, 20_000, 1_000
ROUNDS = 9

sys.path.insert(0, str(TESTS))
moves: Any = importlib.import_module("relocation_world")


class LongMove(Long, moves.MoveWorld):  # type: ignore[misc]
    """A move in a long ledger."""

    def open(self, **changes: Any) -> str:
        """The members ask for a year's watch."""
        identity: str = super().open(watch=DAYS * moves.DAY, **changes)
        return identity


def moved() -> LongMove:
    """The move, watched for as long as its members asked."""
    ledger = LongMove()
    for number, step in enumerate(moves.ORDER[:-1]):
        ledger.skip_to(BEGUN_AT + number * STEP_ENTRIES)
        ledger.take(step)
    for _ in range(DAYS + 1):
        ledger.skip_to(len(ledger.entries) + DAY_ENTRIES)
        ledger.say(Step.WATCH)
        ledger.later(moves.DAY)
    ledger.skip_to(SIZE)
    return ledger


def run() -> Figure:
    """The figure is parsing and checking together; the process around it costs what `verify_start` says."""
    ledger = moved()
    data = format_relocation_evidence(ledger.evidence_of_move())

    def judge() -> None:
        report = check_relocation(ledger.pin, parse_relocation_evidence(data), ledger.now)
        if report.outcome != Outcome.VERIFIED:
            raise ValueError(report)

    (seconds,) = median_seconds(judge, rounds=ROUNDS)
    steps = len(parse_relocation_evidence(data).steps)
    return {
        "name": "relocation_evidence",
        "ours": seconds,
        "limit": LIMIT_SECONDS,
        "ratio": LIMIT_SECONDS / seconds,
        "unit": "s",
        "target": f"at most {LIMIT_SECONDS} s",
        "notes": f"{steps} statements, {DAYS} days of watch, {SIZE:,} entries, {len(data):,} bytes",
    }
