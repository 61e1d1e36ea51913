"""Source history: each source descends from that of the release before, by changes that developers signed and reviewed.

What a source says of its branch, its authors and its reviewers is held against its lineage: git objects whose ids and
signatures this rule recomputes. Nothing of it asks the vendor, or the host of its repository.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from glasshouse_verify.charter import ProductRule
from glasshouse_verify.errors import FormatError
from glasshouse_verify.lineage import Account, History, compare, examine, history_of, parse_lineage
from glasshouse_verify.statement import Release, Source, Use

from glasshouse.ledger.history import History as Ledger
from glasshouse.ledger.history import Record
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
            account = judge(scene, record, rule)
            if account is None:
                continue
            name = f"{source.product} {source.version}"
            faults = tuple(Alarm(about=(record.id,), text=f"{name}: {fault}") for fault in account.faults)
            scene.judged[record.id] = faults
        yield from faults


def judge(scene: Scene, record: Record, rule: ProductRule) -> Account | None:
    """What the history of a source shows, all its faults included; None where its lineage cannot be had.

    A lineage that cannot be had is an alarm of the rule `availability`.
    """
    source: Source = record.predicate
    before = list(released(scene.history, source.product, record.index))
    try:
        history = history_of(source)
        if history is None:
            return _told(*_unshown(rule, before))
        data = scene.blob(history.lineage)
        return None if data is None else _examined(data, source, history, before, rule)
    except FormatError as error:
        return _told(f"its history cannot be read: {error}")


def _told(*faults: str) -> Account:
    return Account(changes=(), authors=(), reviewers=(), faults=faults)


def _unshown(rule: ProductRule, before: list[Released]) -> Iterator[str]:
    if rule.developers is not None:
        yield "it shows no history, though the charter names the developers who have to sign its commits"
    elif before:
        yield "it shows no history, though the release before did"


def _examined(data: bytes, source: Source, history: History, before: list[Released], rule: ProductRule) -> Account:
    tip = source.commit or ""
    if not _COMMIT.fullmatch(tip):
        return _told("it names no commit")
    lineage = parse_lineage(data)
    followed = next((other for other in before if other.id == history.follows), None)
    start = None if followed is None else followed.source.commit
    account = examine(lineage, tip, start, (source.product, history.branch), rule.developers, rule.reviewers)
    faults = [*_misplaced(history, followed, before), *account.faults]
    if rule.developers is not None:
        faults += compare(source, account)
    if tip in lineage.commits and lineage.commits[tip].time != source.epoch:
        faults.append("its epoch is not the time of its commit")
    return replace(account, faults=tuple(faults))


def _misplaced(history: History, followed: Released | None, before: list[Released]) -> Iterator[str]:
    due = next(iter(predecessors(before, history.branch)), None)
    if due is None and history.follows is not None:
        yield f"it follows source {history.follows[:16]}…, and no release before it shows a history"
    elif due is not None and followed is None:
        yield f"it follows no source that was released, where {due.source.version} was released before it"
    elif due is not None and followed is not None and due.history.branch == history.branch and followed.id != due.id:
        name = f"{due.source.version}, the newest release of {history.branch}"
        yield f"it follows {followed.source.version}, not {name}"


def released(history: Ledger, product: str, below: int) -> Iterator[Released]:
    """The sources with a history that releases of a product below an index were built from, oldest release first.

    Releases and sources of its vendor's: what another party says of its product has no say in what it follows.
    """
    vendor = product.split("/")[0]
    for record in history.standing(Use.RELEASE):
        release: Release = record.predicate
        source = history.records.get(release.source)
        if record.index >= below or (release.product, release.party) != (product, vendor) or source is None:
            continue
        if not isinstance(source.predicate, Source) or source.index >= record.index:
            continue
        shown = _shown(source.predicate)
        if shown is not None and (source.predicate.product, source.predicate.party) == (product, vendor):
            yield Released(id=source.id, source=source.predicate, history=shown)


def predecessors(before: list[Released], branch: str) -> list[Released]:
    """What a source on this branch may follow, newest first: the newest release of it, or any where it is a new branch.

    The first source with a history follows nothing.
    """
    same = [other for other in before if other.history.branch == branch]
    return same[-1:] or before[::-1]


def _shown(source: Source) -> History | None:
    try:
        return history_of(source) if _COMMIT.fullmatch(source.commit or "") else None
    except FormatError:
        return None
