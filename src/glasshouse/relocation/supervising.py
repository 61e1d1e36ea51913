"""The supervisor's own list of the source: what the old site says that it has, held against what can be seen there.

    a store    every version that the old site described is listed, with its key, ordinal, marker and size, and nothing
               else is; the content of a sample, or of everything, is what was described; the rows are made again
    a site     every handle of the inventory lies in the vault; what lies there beside them was taken since, which the
               list at the fence has to show

While the source goes on taking, what came after its statement and what was deleted since are no faults; at the fence
(`since` None) both lists are the same to the last version. The supervisor lists with credentials of its own, which can
read and nothing else, and by another client than the old site's (`catalogue`).
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.foreign import store_handle
from glasshouse_verify.relocation import Fault, Relocation, Step
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.row import Row
from glasshouse_verify.shards import Sharded

from glasshouse.relocation.course import Course
from glasshouse.relocation.descriptions import Described, read_content, read_descriptions
from glasshouse.relocation.errors import Refused
from glasshouse.relocation.examining import Ciphertexts
from glasshouse.relocation.lists import Roots, RowList, in_order, keep_list, keys_in_order
from glasshouse.relocation.stores.interface import Source, Version
from glasshouse.storage.errors import ObjectMissing

MAX_FAULTS = 50
# Clocks of stores and sites differ; what is this much older than the statement had been there before it.
CLOCK_SECONDS = 300


@dataclass(kw_only=True)
class Listed:
    """What was seen at the source: the rows that it confirms, versions or objects read, and what is no fault.

    `since` are those that came after the statement, `gone` those that went; a list at the fence has neither.
    """

    rows: Sharded
    listed: int = 0
    read: int = 0
    since: int = 0
    gone: int = 0


def listing(course: Course, listed: Listed, *, party: str, now: int) -> Relocation:
    """The statement `listing`, to be logged. Raises NotYet, and Refused where the rows are not those of the source."""
    previous = course.before(Step.LISTING, party)
    source = course.need(Step.SOURCE).predicate
    if listed.rows != source.rows:
        raise Refused([_rows_fault(course, listed.rows, source.rows)])
    return Relocation(
        party=Identifier(party),
        region=source.region,
        relocation=Identifier(course.id),
        step=Step.LISTING,
        time=now,
        previous=previous,
        site=course.moving.site,
        rows=listed.rows,
    )


def refusal(course: Course, faults: Sequence[Fault], *, party: str, now: int) -> Relocation:
    """The statement `refusal`, to be logged where something is wrong."""
    return Relocation(
        party=Identifier(party),
        region=Identifier(course.region or ""),
        relocation=Identifier(course.id),
        step=Step.REFUSAL,
        time=now,
        previous=course.before(Step.REFUSAL, party),
        faults=tuple(faults[:MAX_FAULTS]),
    )


def _rows_fault(course: Course, mine: Sharded, said: Sharded) -> Fault:
    text = f"says that it has {said.size} rows under {said.root[:16]}…; there are {mine.size} under {mine.root[:16]}…"
    return Fault(site=course.moving.site, text=Text(text))


# --- a store ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoreListing:
    """How a store is held against its description.

    `site` is the old site's name, `secret` that of the move, `scratch` a directory for sorting. `reads` is how many
    versions are read and hashed, taken at random; None for all of them. `since` is the Unix time of the source's
    statement; None at the fence.
    """

    site: Identifier
    secret: bytes
    scratch: Path
    reads: int | None = SAMPLE
    since: int | None = None
    progress: Callable[[int], object] = abs


def list_store(source: Source, description: Path, said: Sharded, how: StoreListing) -> Listed:
    """Hold a store against what the old site described, and the description's rows against what it signed (`said`).

    Raises Refused naming what is missing, too much or different; Unavailable, StoreLied, Forbidden where the store
    cannot be listed to its end, InvalidInput for a description that is none.
    """
    check = _StoreCheck(source, how, said)
    rows = Roots(said.depth)
    for _ in rows.over(in_order(check.rows(_paired(source.list(), read_descriptions(description))), how.scratch)):
        continue
    if rows.sharded != said and not check.faults:
        text = f"describes {rows.sharded.size} versions, which are not the {said.size} rows that it has signed"
        check.faults.append(Fault(site=how.site, text=Text(text)))
    if check.faults:
        raise Refused(check.faults[:MAX_FAULTS])
    return check.listed


def _paired(
    versions: Iterator[Version], described: Iterator[Described]
) -> Iterator[tuple[Version | None, Described | None]]:
    """What the store lists and what was described, side by side: both ascend by raw key and ordinal."""
    version, one = next(versions, None), next(described, None)
    while version is not None or one is not None:
        place = None if version is None else (version.key, version.ordinal)
        if one is None or (place is not None and place < one.place):
            yield version, None
            version = next(versions, None)
        elif place is None or one.place < place:
            yield None, one
            one = next(described, None)
        else:
            yield version, one
            version, one = next(versions, None), next(described, None)


class _StoreCheck:
    """One pass over a store."""

    def __init__(self, source: Source, how: StoreListing, said: Sharded) -> None:
        self._source, self._how = source, how
        self.listed = Listed(rows=said)
        self.faults: list[Fault] = []
        # Each is read with the same chance, so that the expected number is `reads`; the seed is nobody's but ours.
        self._chance = 1.0 if how.reads is None or not said.size else how.reads / said.size
        self._random = secrets.SystemRandom()

    def rows(self, pairs: Iterable[tuple[Version | None, Described | None]]) -> Iterator[Row]:
        """Look at each version, and give the rows of what was described."""
        for version, one in pairs:
            if version is not None:
                self.listed.listed += 1
                self._how.progress(self.listed.listed)
            if one is None and version is not None:
                self._take_undescribed(version)
            elif version is None and one is not None:
                self._take_unlisted(one)
            elif version is not None and one is not None:
                self._compare(version, one)
            if one is not None:
                yield one.row(self._how.secret)

    def _take_undescribed(self, version: Version) -> None:
        if self._is_new(version):
            self.listed.since += 1
        else:
            self._fault(version.key, version.ordinal, "lies in the store, and was left out of the source")

    def _is_new(self, version: Version) -> bool:
        """Whether it may have come after the statement. The list at the fence shows whether that was so."""
        since = self._how.since
        return since is not None and version.modified >= (since - CLOCK_SECONDS) * 1_000

    def _take_unlisted(self, one: Described) -> None:
        if self._how.since is None:
            self._fault(one.key, one.ordinal, "is in the source, and does not lie in the store")
        else:
            self.listed.gone += 1

    def _compare(self, version: Version, one: Described) -> None:
        if self._is_new(version):
            # A store without versions has something else under the same key.
            self.listed.since += 1
        elif version.marker != (one.content is None):
            what = "a delete marker" if version.marker else "content"
            self._fault(one.key, one.ordinal, f"is {what} in the store, and something else in the source")
        elif not version.marker and version.size != one.size:
            self._fault(one.key, one.ordinal, f"has {version.size} bytes in the store, {one.size} in the source")
        elif not version.marker and self._random.random() < self._chance:
            self._read(version, one)

    def _read(self, version: Version, one: Described) -> None:
        try:
            found = read_content(self._source, version)
        except ObjectMissing:
            self._take_unlisted(one)
            return
        self.listed.read += 1
        if found != (one.content, one.size):
            self._fault(one.key, one.ordinal, "has other content in the store than in the source")

    def _fault(self, key: bytes, ordinal: int, what: str) -> None:
        # The ledger is public, and keys are names that their owners gave: what is named is the handle.
        if len(self.faults) < MAX_FAULTS:
            handle = store_handle(self._how.secret, key, ordinal)
            self.faults.append(Fault(site=self._how.site, text=Text(what), handle=handle))


# --- a site ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SiteListing:
    """How a site's vault is held against an inventory.

    `rows` are the inventory's, found to be what it signed. `booked` is what the supervisor's own books have for that
    inventory, where it keeps some. `buried` tells whether an inventory since shows the tombstone of a handle. `extra`
    is the file in which the handles are kept that lie there beside the rows; None at the fence, when there are none.
    """

    site: Identifier
    rows: RowList
    scratch: Path
    booked: Sharded | None = None
    buried: Callable[[str], bool] = lambda _: False
    extra: Path | None = None


def list_site(vault: Ciphertexts, how: SiteListing) -> Listed:
    """Hold the vault of the old site against its inventory.

    Raises Refused naming what is missing, or at the fence too much; Unavailable where the vault cannot be listed.
    """
    listed = Listed(rows=how.rows.sharded)
    faults: list[Fault] = []

    def fault(handle: str, what: str) -> None:
        if len(faults) < MAX_FAULTS:
            faults.append(Fault(site=how.site, text=Text(what), handle=Digest(handle)))

    def beside() -> Iterator[str]:
        for handle, is_row, lies in _handles(how.rows, vault, how.scratch):
            listed.listed += lies
            if is_row and not lies and not how.buried(handle):
                fault(handle, "is in the inventory, and does not lie in the vault")
            elif is_row and not lies:
                listed.gone += 1
            elif lies and not is_row and how.extra is None and not how.buried(handle):
                fault(handle, "lies in the vault, and was left out of the inventory")
            elif lies and not is_row:
                listed.since += 1
                yield handle

    if how.booked is not None and how.booked != how.rows.sharded:
        text = f"has {how.rows.sharded.size} rows in its inventory that are not those of the supervisor's books"
        faults.append(Fault(site=how.site, text=Text(text)))
    if how.extra is None:
        for _ in beside():
            continue
    else:
        keep_list(how.extra, (b'{"key":"%s"}\n' % handle.encode() for handle in beside()))
    if faults:
        raise Refused(faults)
    return listed


def check_extra(extra: Path, rows: RowList, site: str, buried: Callable[[str], bool] = lambda _: False) -> None:
    """At the fence: what lay in the vault beside the source's rows was taken since, and is in the fence's rows.

    Raises Refused for what is not, and has not been buried either.
    """
    faults: list[Fault] = []
    for row in RowList(extra, rows.sharded, None):
        handle = str(row["key"])
        if rows.find(handle) is None and not buried(handle) and len(faults) < MAX_FAULTS:
            text = "lay in the vault when the move began, and is in no inventory since"
            faults.append(Fault(site=Identifier(site), text=Text(text), handle=Digest(handle)))
    if faults:
        raise Refused(faults)


def _handles(rows: RowList, vault: Ciphertexts, scratch: Path) -> Iterator[tuple[str, bool, bool]]:
    """Every handle once, in order: whether it has a row, and whether it lies in the vault."""
    held, lying = (str(row["key"]) for row in rows), keys_in_order(vault.handles(), scratch)
    row, found = next(held, None), next(lying, None)
    while row is not None or found is not None:
        handle = min(name for name in (row, found) if name is not None)
        yield handle, row == handle, found == handle
        row, found = next(held, None) if row == handle else row, next(lying, None) if found == handle else found
