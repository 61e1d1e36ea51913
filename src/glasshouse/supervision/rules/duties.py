"""Duties: a status within its maximum age, and a verdict of every rebuilder within a day of a release."""

from collections.abc import Iterable

from glasshouse_verify.statement import Use

from glasshouse.ledger.history import Record
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "duties"
VERDICT_SECONDS = 86_400


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for a status that is overdue and for rebuilders that have said nothing about a release."""
    yield from _overdue_status(scene)
    for record in scene.history.standing(Use.RELEASE):
        yield from _missing_verdicts(scene, record)


def _overdue_status(scene: Scene) -> Iterable[Alarm]:
    statuses = list(scene.history.standing(Use.STATUS))
    newest = statuses[-1] if statuses else None
    rule = scene.history.chain.newest.charter.status
    if newest is not None and scene.now - newest.predicate.time > rule.maximum_age:
        parties = ", ".join(rule.parties)
        text = f"no status of {parties} has followed this one within {rule.maximum_age} s"
        yield Alarm(about=(newest.id,), text=text)


def _missing_verdicts(scene: Scene, record: Record) -> Iterable[Alarm]:
    product = scene.history.chain.at(record.index).charter.products.get(record.predicate.product)
    if product is None or scene.now - record.predicate.time <= VERDICT_SECONDS:
        return
    given = scene.history.verdicts(record)
    for party in product.gate.rebuilders:
        if party not in given:
            text = f"{party} gave no verdict on {record.predicate.product} {record.predicate.version} within a day"
            yield Alarm(about=(record.id,), text=text)
