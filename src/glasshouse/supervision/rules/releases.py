"""Releases: one digest for each product, version, platform and file; its source logged; signed where allowed."""

from collections.abc import Iterable

from glasshouse_verify.statement import Release, Source, Use
from glasshouse_verify.status import status_key

from glasshouse.ledger.history import History, Record
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "releases"


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for second artifacts under one name, releases without their source, and keys in the wrong country."""
    history = scene.history
    for record, file, others in history.released():
        if others:
            key = status_key(record.predicate, file)
            text = f"{key} was released {len(others) + 1} times with different statements"
            yield Alarm(about=(record.id, *others), text=text)
    for record in history.standing(Use.RELEASE):
        yield from _check_source(history, record)
        yield from _check_place(history, record)


def _check_source(history: History, record: Record) -> Iterable[Alarm]:
    release: Release = record.predicate
    source = history.records.get(release.source)
    if source is None or not isinstance(source.predicate, Source) or source.index > record.index:
        yield Alarm(about=(record.id,), text=f"{release.product} {release.version} names no source logged before it")
    elif (source.predicate.product, source.predicate.version) != (release.product, release.version):
        yield Alarm(about=(record.id, source.id), text=f"{release.product} {release.version} names another's source")
    else:
        yield from _check_review(history, record, source.predicate)


def _check_review(history: History, record: Record, source: Source) -> Iterable[Alarm]:
    product = history.chain.at(record.index).charter.products.get(source.product)
    reviewers = set(source.reviewers or ())
    # As the gate counts: who wrote a part of it has reviewed the rest only.
    count = len(reviewers) - bool(reviewers & set(source.authors or ()))
    if product is not None and count < product.reviewers:
        text = f"{source.product} {source.version} has {count} of {product.reviewers} reviewers"
        yield Alarm(about=(record.id,), text=text)


def _check_place(history: History, record: Record) -> Iterable[Alarm]:
    release: Release = record.predicate
    charter = history.chain.at(record.index).charter
    product = charter.products.get(release.product)
    if product is None:
        yield Alarm(about=(record.id,), text=f"the charter has no product {release.product}")
        return
    keys = history.chain.count(record.keyids, Use.RELEASE, record.index).get(release.party, [])
    if not any(charter.jurisdiction(key) in product.gate.sign_in for key in keys):
        allowed = ", ".join(sorted(product.gate.sign_in))
        yield Alarm(about=(record.id,), text=f"{release.product} {release.version} was not signed in {allowed}")
