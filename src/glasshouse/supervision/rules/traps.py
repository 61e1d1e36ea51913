"""Traps: who called a trap release anything but wrong has not rebuilt it; a trap is opened as it was committed to."""

from collections.abc import Iterable

from glasshouse_verify.statement import Rebuild, Use, Verdict
from glasshouse_verify.trap import Trap, TrapOpening, is_rebuilt

from glasshouse.ledger.history import Record
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "traps"
_SILENT = (Verdict.PACK_NOT_RECEIVED, Verdict.BUILD_FAILED)


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for verdicts that fell into a trap that is open now, and for openings that open nothing."""
    sprung = {}
    for record in scene.history.standing(Use.RELEASE):
        opened = scene.history.trap(record)
        if opened is not None:
            sprung[record.id] = opened
    for record in scene.history.standing(Use.REBUILD):
        opened = sprung.get(record.predicate.release)
        # What was said once the trap was known proves nothing.
        if opened is not None and record.index < opened.index:
            yield from _judge(record, opened)
    for record in scene.history.standing(Use.TRAP):
        trap: Trap = record.predicate
        if trap.opening is not None and trap.opening.release not in sprung:
            text = f"{trap.party} calls a release a trap that no quorum of the members had committed to before it"
            yield Alarm(about=(record.id, trap.opening.release), text=text)


def _judge(record: Record, opened: Record) -> Iterable[Alarm]:
    rebuild: Rebuild = record.predicate
    opening: TrapOpening | None = opened.predicate.opening
    name = f"{rebuild.product} {rebuild.version}"
    if rebuild.verdict in _SILENT:
        yield Alarm(
            about=(record.id, opened.id), text=f"{rebuild.party} did not find the trap {name}: {rebuild.verdict}"
        )
    elif rebuild.verdict != Verdict.DIFFERS:
        text = f"{rebuild.party} fell into the trap {name}: {rebuild.verdict}, of digests that nothing builds to"
        yield Alarm(about=(record.id, opened.id), text=text)
    elif opening is not None and not is_rebuilt(opening, rebuild.files):
        text = f"{rebuild.party} calls the trap {name} wrong without having got what its source builds to"
        yield Alarm(about=(record.id, opened.id), text=text)
