"""What a site of a region has of a move: its lists as of its arrival, and what opens its objects.

<directory>/rows      the rows of the inventory that the fence left, as this site has them
<directory>/sealed    its own ciphertexts then, read back from its vault
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.relocation import Step
from glasshouse_verify.row import Row
from glasshouse_verify.shards import Sharded

from glasshouse.regions.custody_request import Item, Reason
from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.regions.fences import read_fences
from glasshouse.regions.inventory import Closed
from glasshouse.regions.inventory_tables import HELD, all_rows, load_trees, parse_stored, to_bytes, to_int
from glasshouse.regions.jobs import RELOCATION_SAMPLE
from glasshouse.regions.placing import Place
from glasshouse.regions.vault import digest_of
from glasshouse.regions.wrapping import Wrapping
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet, StoreLied
from glasshouse.relocation.giving import ROWS, SEALED, SOURCE
from glasshouse.relocation.lists import RowList, check_list, ciphertext_row, in_order, keep_list, known_list
from glasshouse.relocation.openings import ObjectFacts, Opening
from glasshouse.storage.db import Row as DatabaseRow
from glasshouse.storage.db import load_queries
from glasshouse.storage.errors import ObjectMissing

QUERIES = load_queries(__package__, "holding.sql")
_PAGE = 1_000


class FenceRows:
    """Keeps the rows that a fence left, while the inventory that has them is the newest one. See Inventories.ended.

    `root` holds a directory for each move.
    """

    def __init__(self, place: Place, root: Path) -> None:
        self._place, self._root = place, root

    def keep(self, closed: Closed) -> None:
        """Keep the rows of the inventory just closed, if a fence ends there and they are not kept yet."""
        for fence in read_fences(self._place.database).values():
            directory = self._root / fence.relocation
            if closed.cut.get(fence.site, 0) >= fence.position and not (directory / ROWS).exists():
                keep_rows(self._place, directory)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A site's newest inventory: its number and statement, its rows, and the bytes of content behind them."""

    epoch: int
    statement: Digest
    rows: Sharded
    size: int
    cut: Mapping[str, int]


def standing(place: Place) -> Standing | None:
    """The newest inventory of a site; None before the first."""
    with place.database.transaction() as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        row = connection.execute(QUERIES["standing"]).fetchone()
        rows = load_trees(connection).sharded[0]
    if row is None:
        return None
    epoch, cut, statement, size = row
    places = parse_stored(cut)
    return Standing(
        epoch=to_int(epoch),
        statement=Digest(to_bytes(statement).hex()),
        rows=rows,
        size=to_int(size),
        cut={site: to_int(position) for site, position in places.items()},
    )


def inventory_of(place: Place, epoch: int) -> Digest | None:
    """The statement of a site's own inventory of an epoch; None where it has not closed it."""
    with place.database.transaction() as connection:
        row = connection.execute(QUERIES["inventory_of"], {"epoch": epoch}).fetchone()
    return None if row is None else Digest(to_bytes(row[0]).hex())


def content_size(place: Place, rows: RowList) -> int:
    """The bytes of content behind rows that this site has."""
    total = 0
    for page in _pages(str(row["key"]) for row in rows):
        query = {"handles": [bytes.fromhex(handle) for handle in page]}
        with place.database.transaction() as connection:
            row = connection.execute(QUERIES["content_size"], query).fetchone()
        total += 0 if row is None else to_int(row[0])
    return total


def keep_rows(place: Place, directory: Path, name: str = ROWS) -> RowList:
    """Keep the rows of this site's newest inventory under a name. Raises StorageUnavailable."""

    def lines() -> Iterator[bytes]:
        with place.database.transaction() as connection:
            connection.execute("set transaction isolation level repeatable read, read only")
            for piece in all_rows(connection, HELD):
                yield from piece.splitlines(keepends=True)

    return keep_list(directory / name, lines())


def keep_sealed(place: Place, directory: Path, said: Sharded) -> tuple[RowList, RowList]:
    """The rows that the fence left, which are to be what it `said`, and this site's ciphertexts of them, read back.

    Raises InvalidInput where `FenceRows` has not kept these rows, StoreLied for an object that the vault does not have
    as the database says, StorageUnavailable.
    """
    rows = check_list(directory / ROWS, said, "the rows that the fence left")
    sealed = keep_list(directory / SEALED, in_order(_read_back(place, (str(row["key"]) for row in rows)), directory))
    return rows, sealed


def _read_back(place: Place, handles: Iterable[str]) -> Iterator[Row]:
    """The ciphertexts of objects, hashed as the vault gives them; of those erased since, as they were sealed."""
    for page in _pages(handles):
        query = {"handles": [bytes.fromhex(handle) for handle in page]}
        with place.database.transaction() as connection:
            rows = connection.execute(QUERIES["sealed"], query).fetchall()
        for handle, state, sealed, size in rows:
            name, sha256 = to_bytes(handle).hex(), to_bytes(sealed).hex()
            if state == "held":
                _check_kept(place, name, sha256)
            yield ciphertext_row(name, sha256, to_int(size))


def _check_kept(place: Place, handle: str, sealed: str) -> None:
    try:
        sha256, _ = digest_of(place.vault.stream(handle))
    except ObjectMissing:
        raise StoreLied(f"the vault has lost {handle[:16]}…") from None
    if sha256 != sealed:
        raise StoreLied(f"the vault has other bytes for {handle[:16]}… than were sealed")


@dataclass(frozen=True, kw_only=True)
class SiteHoldings:
    """See giving.Holdings."""

    place: Place
    course: Course
    directory: Path

    def list(self, name: str) -> RowList:
        """See giving.Holdings. The site that is left has `source` alone, and no other site has it."""
        site, course = self.place.rules().site, self.course
        if name == SOURCE:
            said = course.last(Step.SOURCE)
            if said is None or site != course.moving.site:
                raise NotYet(f"{course.id}: {site} has not said what it had")
            return known_list(self.directory / SOURCE, said.predicate.rows, f"{site}'s source")
        said = course.arrivals.get(Identifier(site))
        if said is None:
            raise NotYet(f"{course.id}: {site} has not said what it has")
        return known_list(self.directory / name, getattr(said.predicate, name), f"{site}'s {name}")

    def open(self, handles: Sequence[str]) -> tuple[Opening, ...]:
        """See giving.Holdings. The custodian unwraps for the job `relocation-sample`, and counts each data key."""
        found = {handle: held for page in _pages(handles) for handle, held in _objects(self.place, page).items()}
        keys = data_keys(self.place, {handle: held.wrapping for handle, held in found.items()})

        def opening(handle: str) -> Opening:
            held = found.get(handle)
            if held is None:
                return Opening(handle=Digest(handle))
            return Opening(handle=Digest(handle), data_key=keys[handle], sealed=held.sealed, object=held.facts)

        return tuple(map(opening, handles))


def data_keys(place: Place, wrappings: Mapping[str, Wrapping]) -> dict[str, bytes]:
    """The data keys of objects by handle; the custodian opens its layer for the job of the sample, and counts it.

    Raises CustodyRefused, CustodyUnavailable, KeyDestroyed, KeysUnavailable, WrappingBroken.
    """
    items = [Item(handle=Digest(name), blob=one.blob) for name, one in wrappings.items() if one.custodian]
    inner: dict[str, bytes] = {}
    if items:
        custodian = place.custodian()
        if custodian is None:
            raise CustodyUnavailable("the custodian has to open these objects, and this site knows none")
        answers = custodian.unwrap(items, Reason(job=Identifier(RELOCATION_SAMPLE)))
        inner = {item.handle: answer for item, answer in zip(items, answers, strict=True)}
    region, wrapper = place.rules().region, place.wrapper()
    return {
        handle: wrapper.unwrap(one, handle=handle, region=region, opened=inner.get(handle))
        for handle, one in wrappings.items()
    }


@dataclass(frozen=True, kw_only=True)
class _Held:
    facts: ObjectFacts
    sealed: Digest
    wrapping: Wrapping


def _objects(place: Place, handles: Sequence[str]) -> dict[str, _Held]:
    """Those of the objects that are held here."""
    query = {"handles": [bytes.fromhex(handle) for handle in handles]}
    with place.database.transaction() as connection:
        rows = connection.execute(QUERIES["opened"], query).fetchall()
    return {to_bytes(row[0]).hex(): _held(row) for row in rows}


def _held(row: DatabaseRow) -> _Held:
    _, category, customer, retention, salt, sealed, key_id, custodian, blob = row
    return _Held(
        facts=ObjectFacts(
            category=Identifier(str(category)),
            customer=Identifier(str(customer)),
            retention=to_int(retention),
            salt=Digest(to_bytes(salt).hex()),
        ),
        sealed=Digest(to_bytes(sealed).hex()),
        wrapping=Wrapping(
            key_id=Text(str(key_id)),
            blob=to_bytes(blob),
            custodian=None if custodian is None else Digest(to_bytes(custodian).hex()),
        ),
    )


def _pages(handles: Iterable[str]) -> Iterator[list[str]]:
    waiting = iter(handles)
    while page := list(itertools.islice(waiting, _PAGE)):
        yield page
