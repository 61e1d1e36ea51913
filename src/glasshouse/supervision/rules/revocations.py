"""Revocations: a statement signed with a key at or after the index from which it stopped counting."""

from collections.abc import Iterable

from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "revocations"


def check(scene: Scene) -> Iterable[Alarm]:
    """An alarm for each statement that a stopped key signed."""
    charter = scene.history.chain.newest.charter
    for record in scene.history.records.values():
        for kid in record.keyids:
            key = charter.key(kid)
            if key is not None and key.stops is not None and key.stops <= record.index:
                owner = charter.owners[kid]
                text = f"entry {record.index} is signed with a key of {owner} that counts below {key.stops} only"
                yield Alarm(about=(record.id,), text=text)
    for anomaly in scene.history.anomalies:
        if anomaly.rule == "stopped-key":
            yield Alarm(about=anomaly.about, text=f"entry {anomaly.index}: {anomaly.text}")
