"""Provenance: a release was built by a conveyor of its vendor, in a country where the charter lets it be built."""

from collections.abc import Iterable

from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.statement import Release, Use, parse_statement

from glasshouse.ledger.history import History, Record
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "provenance"


def check(scene: Scene) -> Iterable[Alarm]:
    """An alarm for each release whose provenance no conveyor signed that the charter allows."""
    for record in scene.history.standing(Use.RELEASE):
        # What cannot be had is an alarm of the rule `availability`.
        data = scene.document(record.predicate.provenance)
        if data is not None:
            yield from _check_place(scene.history, record, data)


def _check_place(history: History, record: Record, data: bytes) -> Iterable[Alarm]:
    release: Release = record.predicate
    charter = history.chain.at(record.index).charter
    product = charter.products.get(release.product)
    if product is None:
        return
    name, vendor = f"{release.product} {release.version}", Identifier(release.product.split("/")[0])
    try:
        envelope = parse_envelope(data)
        if parse_statement(envelope.payload).use != Use.PROVENANCE:
            raise FormatError("statement", "is of another kind")
        keys = history.chain.signers(envelope, Use.PROVENANCE, record.index).get(vendor, [])
    except VerifyError as error:
        yield Alarm(about=(record.id, release.provenance), text=f"the provenance of {name} is none: {error}")
        return
    places = sorted({charter.jurisdiction(key) for key in keys})
    if not set(places) & set(product.gate.build_in):
        where = f"in {', '.join(places)}" if places else f"by no conveyor of {vendor}"
        allowed = ", ".join(sorted(product.gate.build_in))
        text = f"{name} was built {where}; the charter allows {allowed} only"
        yield Alarm(about=(record.id, release.provenance), text=text)
