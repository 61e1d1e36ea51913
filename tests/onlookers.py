"""What others than the customer see: an auditor who runs the rules over the same ledger."""

import tempfile
from pathlib import Path

from world import World

from glasshouse.supervision.inventories import Books
from glasshouse.supervision.rules import RULES, Scene


def alarms(world: World, now: int | None = None) -> dict[str, list[str]]:
    """Rule → the sentences of its alarms, for an auditor who sees the whole ledger and its blobs."""
    now = world.now if now is None else now
    with tempfile.TemporaryDirectory() as scratch, Books(Path(scratch) / "books") as books:
        books.take(world.history, world.blobs.get)
        rows, erasures = books.faults(), books.erasures()
    scene = Scene(
        history=world.history,
        now=now,
        has_blob=world.blobs.__contains__,
        document=world.blobs.get,
        blob=world.blobs.get,
        rows=rows,
        erasures=erasures,
    )
    found = {rule: [alarm.text for alarm in check(scene)] for rule, check in RULES.items()}
    return {rule: texts for rule, texts in found.items() if texts}
