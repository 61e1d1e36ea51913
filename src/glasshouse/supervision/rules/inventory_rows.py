"""Inventory rows: what the deltas lead to is what the sites signed; nothing comes back, nothing goes unexplained."""

from collections.abc import Iterable

from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "inventory-rows"


def check(scene: Scene) -> Iterable[Alarm]:
    """What this auditor's own copy of the rows shows, for inventories that still stand."""
    for identity, faults in scene.rows.items():
        if identity in scene.history.records:
            yield from (Alarm(about=(identity,), text=fault) for fault in faults)
