"""The charter chain: no amendment without its quorum, one successor for each version, one vote for each member."""

from collections.abc import Iterable

from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "charter-chain"
_ANOMALIES = frozenset({"charter-without-quorum", "invalid-charter", "second-successor", "two-successors"})


def check(scene: Scene) -> Iterable[Alarm]:
    """An alarm for each charter entry that broke the chain's rules."""
    for anomaly in scene.history.anomalies:
        if anomaly.rule in _ANOMALIES:
            yield Alarm(about=anomaly.about, text=f"entry {anomaly.index}: {anomaly.text}")
