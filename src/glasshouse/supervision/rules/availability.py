"""Availability: what a statement names by digest can be had: packs, provenance, bills of materials, rows."""

from collections.abc import Iterable, Iterator

from glasshouse_verify.errors import FormatError
from glasshouse_verify.lineage import history_of
from glasshouse_verify.statement import Source, Use

from glasshouse.ledger.history import Record
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "availability"
GRACE_SECONDS = 600


def check(scene: Scene) -> Iterable[Alarm]:
    """An alarm for each blob that is missing ten minutes after the statement that names it."""
    for use in (Use.SOURCE, Use.RELEASE, Use.STATUS, Use.INVENTORY):
        for record in scene.history.standing(use):
            if scene.now - record.predicate.time <= GRACE_SECONDS:
                continue
            for name, sha256 in _blobs(record):
                if not scene.has_blob(sha256):
                    yield Alarm(about=(record.id, sha256), text=f"the {name} named by entry {record.index} is missing")


def _blobs(record: Record) -> Iterator[tuple[str, str]]:
    predicate = record.predicate
    if record.statement.use == Use.SOURCE:
        yield "source pack", predicate.pack.sha256
        yield from (("lineage", digest) for digest in _lineages(predicate))
    elif record.statement.use == Use.RELEASE:
        yield "provenance", predicate.provenance
        yield "bill of materials", predicate.sbom
    elif record.statement.use == Use.INVENTORY:
        yield "inventory delta", predicate.delta
    else:
        yield "status manifest", predicate.blob


def _lineages(source: Source) -> list[str]:
    """The lineage that a source names; a history that cannot be read is an alarm of the rule `source_history`."""
    try:
        history = history_of(source)
    except FormatError:
        return []
    return [] if history is None else [history.lineage]
