"""Source history: each source descends from that of the release before, by changes that developers signed and reviewed.

What a source says of its branch, its authors and its reviewers is held against its lineage: git objects whose ids and
signatures this rule recomputes. Nothing of it asks the vendor, or the host of its repository.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from glasshouse_verify.charter import ProductRule
from glasshouse_verify.errors import FormatError
from glasshouse_verify.lineage import Account, History, compare, examine, history_of, parse_lineage
from glasshouse_verify.statement import Release, Source, Use

from glasshouse.ledger import history as ledger
from glasshouse.supervision.rules.scene import Alarm, Scene

NAME = "source-history"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Released:
    """A source that was released: its statement id, what it says, and its history."""

    id: str
    source: Source
    history: History


def check(scene: Scene) -> Iterable[Alarm]:
    """Alarms for history rewritten, changes that nobody signed or reviewed, and reviewers who reviewed nothing."""
    for record in scene.history.standing(Use.SOURCE):
        source: Source = record.predicate
        rule = scene.history.chain.at(record.index).charter.products.get(source.product)
        if rule is None or source.party != source.product.split("/")[0]:
            continue
        faults = scene.judged.get(record.id)
        if faults is None:
            found = _faults(scene, record, rule)
            if found is None:
                continue
            name = f"{source.product} {source.version}"
            faults = tuple(Alarm(about=(record.id,), text=f"{name}: {fault}") for fault in found)
            scene.judged[record.id] = faults
        yield from faults


def _faults(scene: Scene, record: ledger.Record, rule: ProductRule) -> list[str] | None:
    """What is wrong with a source; None where its lineage cannot be had, which the rule `availability` reports."""
    source: Source = record.predicate
    before = list(released(scene.history, source.product, record.index))
    try:
        history = history_of(source)
        if history is None:
            if rule.developers is not None:
                return ["it shows no history, though the charter names the developers who have to sign its commits"]
            return ["it shows no history, though the release before did"] if before else []
        data = scene.blob(history.lineage)
        if data is None:
            return None
        return _misplaced(history, before) + _examined(data, source, history, before, rule)
    except FormatError as error:
        return [f"its history cannot be read: {error}"]


def _misplaced(history: History, before: list[Released]) -> list[str]:
    due = predecessor(before, history.branch)
    if due is None and history.follows is None:
        return []
    if due is None:
        return [f"it follows source {(history.follows or '')[:16]}…, and no release before it shows a history"]
    known = next((other for other in before if other.id == history.follows), None)
    if known is None:
        return [f"it follows no source that was released, where {due.source.version} was released before it"]
    if due.history.branch == history.branch and known.id != due.id:
        return [f"it follows {known.source.version}, not {due.source.version}, the newest release of {history.branch}"]
    return []


def _examined(data: bytes, source: Source, history: History, before: list[Released], rule: ProductRule) -> list[str]:
    followed = next((other for other in before if other.id == history.follows), None)
    lineage, tip = parse_lineage(data), source.commit or ""
    start = None if followed is None else followed.source.commit
    if not _COMMIT.fullmatch(tip):
        return ["it names no commit"]
    account: Account = examine(lineage, tip, start, (source.product, history.branch), rule.developers, rule.reviewers)
    faults = list(account.faults)
    if rule.developers is not None:
        faults += compare(source, account)
    if tip in lineage.commits and lineage.commits[tip].time != source.epoch:
        faults.append("its epoch is not the time of its commit")
    return faults


def released(history: ledger.History, product: str, below: int) -> Iterator[Released]:
    """The sources with a history that releases of a product below an index were built from, oldest release first."""
    for record in history.standing(Use.RELEASE):
        release: Release = record.predicate
        source = history.records.get(release.source)
        if record.index >= below or release.product != product or source is None:
            continue
        if source.statement.use == Use.SOURCE and source.predicate.product == product:
            shown = _shown(source.predicate)
            if shown is not None:
                yield Released(id=source.id, source=source.predicate, history=shown)


def predecessor(before: list[Released], branch: str) -> Released | None:
    """What a source on this branch follows: the newest release of the branch, or, of a new branch, the newest of all.

    The first source with a history follows nothing. A new branch may follow any release.
    """
    same = [other for other in before if other.history.branch == branch]
    return next(reversed(same or before), None)


def _shown(source: Source) -> History | None:
    try:
        return history_of(source) if _COMMIT.fullmatch(source.commit or "") else None
    except FormatError:
        return None
