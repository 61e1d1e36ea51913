"""Blindness: a commitment is opened in time and to what was committed; two rebuilders do not contradict each other."""

from collections.abc import Iterable

from glasshouse_verify.blind import Commit
from glasshouse_verify.statement import Rebuild, Use, Verdict

from glasshouse.ledger.history import Record
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "blindness"
OPENING_SECONDS = 86_400


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for openings that do not open, commitments that nobody opens, and verdicts that exclude each other."""
    for record in scene.history.standing(Use.REBUILD):
        rebuild: Rebuild = record.predicate
        if rebuild.opening is not None and not scene.history.is_blind(record):
            text = f"{rebuild.party} opens a commitment too late, or to other outputs than it committed to"
            yield Alarm(about=(record.id, rebuild.opening.commit), text=text)
    yield from _unopened(scene)
    for record in scene.history.standing(Use.RELEASE):
        yield from _contradictions(scene, record)


def _unopened(scene: Scene) -> Iterable[Alarm]:
    rebuilds = [record.predicate for record in scene.history.standing(Use.REBUILD)]
    opened = {rebuild.opening.commit for rebuild in rebuilds if rebuild.opening is not None}
    released = {record.predicate.source: record for record in scene.history.standing(Use.RELEASE)}
    for record in scene.history.standing(Use.COMMIT):
        commit: Commit = record.predicate
        release = released.get(commit.source)
        if release is None or release.index < record.index or record.id in opened:
            continue
        if scene.now - release.predicate.time > OPENING_SECONDS:
            text = f"{commit.party} has not opened its commitment to {commit.product} {commit.version} within a day"
            yield Alarm(about=(record.id,), text=text)


def _contradictions(scene: Scene, release: Record) -> Iterable[Alarm]:
    """A rebuilder that calls identical what another one could not reproduce has not rebuilt it, or the other errs."""
    found = [record for mine in scene.history.verdicts(release).values() for record in mine]
    agreeing = [record for record in found if record.predicate.verdict == Verdict.IDENTICAL]
    differing = [record for record in found if record.predicate.verdict == Verdict.DIFFERS]
    if agreeing and differing:
        parties = [", ".join(record.predicate.party for record in side) for side in (agreeing, differing)]
        text = f"{parties[0]} got identical bytes and {parties[1]} other ones; one of them did not rebuild this source"
        yield Alarm(about=(release.id, *(record.id for record in (*agreeing, *differing))), text=text)
