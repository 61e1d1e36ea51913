"""Verdicts: a negative one is an alarm, and so is a rebuild that names what was never released."""

from collections.abc import Iterable

from glasshouse_verify.charter import NEGATIVE
from glasshouse_verify.statement import Rebuild, Release, Use

from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "verdicts"


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for standing negative verdicts, and for rebuilds of unknown releases or of other digests than released."""
    for record in scene.history.standing(Use.RELEASE):
        for party, mine in scene.history.verdicts(record).items():
            for verdict in mine:
                rebuild: Rebuild = verdict.predicate
                if rebuild.verdict in NEGATIVE:
                    text = f"{party} on {rebuild.product} {rebuild.version}: {rebuild.verdict}"
                    yield Alarm(about=(verdict.id,), text=text)
    for record in scene.history.standing(Use.REBUILD):
        rebuild = record.predicate
        release = scene.history.records.get(rebuild.release)
        if release is None or not isinstance(release.predicate, Release):
            text = f"{rebuild.party} speaks of a release that is not in the ledger"
            yield Alarm(about=(record.id,), text=text)
        elif {f.shipped for f in rebuild.files} != {f.sha256 for f in release.predicate.files}:
            text = f"{rebuild.party} speaks of other digests than {rebuild.product} {rebuild.version} released"
            yield Alarm(about=(record.id, release.id), text=text)
