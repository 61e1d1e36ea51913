"""Entitlement: every statement is signed by a key that the charter lets sign it."""

from collections.abc import Iterable

from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "entitlement"


def check(scene: Scene) -> Iterable[Alarm]:
    """An alarm for each statement made in the name of a party that did not sign it, or not with such a key."""
    for anomaly in scene.history.anomalies:
        if anomaly.rule == "not-entitled":
            yield Alarm(about=anomaly.about, text=f"entry {anomaly.index}: {anomaly.text}")
