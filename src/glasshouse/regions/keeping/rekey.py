"""A new key epoch: every data key is wrapped anew, then the older keys are destroyed.

    1. the journals' positions are written down: what was removed by then was wrapped by the older keys alone
    2. the next key epoch begins; from here on everything new is wrapped by it
    3. what is held is wrapped anew, batch by batch; in dual custody the custodian opens its layer for the job `rewrap`
       and counts it
    4. with nobody writing: is nothing left under an older key? then these are given up, and nothing that they wrapped
       is taken any more
    5. the older keys are destroyed, and `rekeyed` is to enter the journal: what was removed by 1 is irrecoverable here

Each step can be done again: `rekey` goes on where a crash or an absent custodian has left it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.encoding import format_json, parse_json

from glasshouse.regions import journal
from glasshouse.regions.custody_request import Item, Opens, Reason
from glasshouse.regions.erasing import rekeying
from glasshouse.regions.errors import InvalidInput, JournalConflict
from glasshouse.regions.jobs import REWRAP
from glasshouse.regions.keeping.wishes import QUERIES, wish
from glasshouse.regions.placing import Place
from glasshouse.regions.wrapping import Wrapping
from glasshouse.storage.db import Row

BATCH = 500
MAX_COVERS = 100_000


@dataclass(frozen=True, kw_only=True)
class Rekeyed:
    """What a rekeying did: the epoch now current, those destroyed, data keys wrapped anew, the number of its wish."""

    epoch: str
    destroyed: tuple[str, ...]
    wrapped: int
    wish: int


@dataclass(frozen=True, kw_only=True)
class _Begun:
    number: int
    old: tuple[str, ...]
    covers: dict[str, int]


def rekey(
    place: Place, custodian: Opens | None, *, now: int, progress: Callable[[int], object] = lambda _: None
) -> Rekeyed:
    """Begin the next key epoch of this site, or go on with one that was begun. `progress` is told of each batch.

    Raises CustodyRefused, CustodyUnavailable, KeysUnavailable, StorageError; nothing is lost by any of them.
    """
    begun = _begin(place)
    if place.keys.epoch in begun.old:
        place.keys.next_epoch()
    wrapped = 0
    while True:
        wrapped += _wrap_all(place, custodian, begun.old, progress)
        if _give_up(place, begun.old):
            break
    for key_id in begun.old:
        if key_id in place.keys.epochs():
            place.keys.destroy(key_id)
    with place.database.transaction() as connection:
        if connection.execute(QUERIES["end_rekey"], {"id": begun.number}).rowcount != 1:
            raise JournalConflict("another process has ended this rekeying")
        number = wish(connection, rekeying(begun.old, begun.covers, now=now))
    return Rekeyed(epoch=place.keys.epoch, destroyed=begun.old, wrapped=wrapped, wish=number)


def is_due(place: Place, now: int, after_seconds: float) -> bool:
    """Whether something was removed so long ago that no key epoch of this site has ended since, or one was begun."""
    with place.database.transaction() as connection:
        if connection.execute(QUERIES["open_rekey"]).fetchone() is not None:
            return True
        row = connection.execute(QUERIES["last_covers"]).fetchone()
        covers = _covers(row[0]) if row is not None else {}
        for site in journal.read_heads(connection):
            query = {"site": site, "after": covers.get(site, 0)}
            first = connection.execute(QUERIES["first_removed_after"], query).fetchone()
            removed = journal.parse_body(_bytes(first[0])).get("time") if first is not None else None
            if isinstance(removed, int) and now - removed >= after_seconds:
                return True
    return False


def _begin(place: Place) -> _Begun:
    with place.database.transaction() as connection:
        row = connection.execute(QUERIES["open_rekey"]).fetchone()
        if row is None:
            covers = {site: head.position for site, head in journal.read_heads(connection).items()}
            old = list(place.keys.epochs())
            values = {"old": old, "covers": format_json({**covers})}
            found = connection.execute(QUERIES["begin_rekey"], values).fetchone()
            row = (found[0] if found else None, old, values["covers"])
    number, old_keys, data = row
    if not isinstance(number, int) or not isinstance(old_keys, list):
        raise JournalConflict("the database holds something else than a rekeying")
    return _Begun(number=number, old=tuple(str(key) for key in old_keys), covers=_covers(data))


def _covers(data: object) -> dict[str, int]:
    covered = parse_json(_bytes(data), "covers", MAX_COVERS)
    if not isinstance(covered, dict):
        raise JournalConflict("the database holds something else than the positions of journals")
    return {site: position for site, position in covered.items() if isinstance(position, int)}


def _wrap_all(place: Place, custodian: Opens | None, old: Sequence[str], progress: Callable[[int], object]) -> int:
    after, done = b"", 0
    while True:
        with place.database.transaction() as connection:
            query = {"after": after, "old": list(old), "limit": BATCH}
            rows = connection.execute(QUERIES["wrapped_before"], query).fetchall()
        if not rows:
            return done
        _wrap(place, custodian, rows, old)
        after, done = _bytes(rows[-1][0]), done + len(rows)
        progress(len(rows))


def _wrap(place: Place, custodian: Opens | None, rows: Sequence[Row], old: Sequence[str]) -> None:
    """Wrap the data keys of some objects anew, and those kept for the peers."""
    region, wrapper, transfer = place.rules().region, place.wrapper(), place.transfer_wrapper()
    dual = [row for row in rows if row[2] is not None]
    opened: dict[bytes, bytes] = {}
    if dual:
        if custodian is None:
            fix = "Run this where the site can reach the custodian that the charter names."
            raise InvalidInput("custody", "some data keys open with the custodian only", fix)
        items = [Item(handle=Digest(_bytes(row[0]).hex()), blob=_bytes(row[3])) for row in dual]
        blobs = custodian.unwrap(items, Reason(job=Identifier(REWRAP)))
        opened = {_bytes(row[0]): blob for row, blob in zip(dual, blobs, strict=True)}
    changes, wrap = [], wrapper.group()
    for handle, key_id, by, blob, kept_by, kept in rows:
        name = _bytes(handle).hex()
        before = Wrapping(
            key_id=Text(str(key_id)), blob=_bytes(blob), custodian=None if by is None else Digest(_bytes(by).hex())
        )
        data_key = wrapper.unwrap(before, handle=name, region=region, opened=opened.get(_bytes(handle)))
        after = wrap(data_key, name, region)
        renewed = None
        if kept is not None and str(kept_by) in old:
            renewed = transfer.wrap(data_key, handle=name, region=region)
        changes.append(
            {
                "handle": handle,
                "before": blob,
                "wrapped_by": after.key_id,
                "custodian": None if after.custodian is None else bytes.fromhex(after.custodian),
                "wrapped": after.blob,
                "transfer_by": None if renewed is None else renewed.key_id,
                "transfer": None if renewed is None else renewed.blob,
            }
        )
    with place.database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(QUERIES["rewrap"], changes)


def _give_up(place: Place, old: Sequence[str]) -> bool:
    """Whether nothing is left under the older keys; from then on the database takes nothing that they wrapped."""
    with place.database.transaction() as connection:
        connection.execute(QUERIES["freeze_objects"])
        row = connection.execute(QUERIES["count_wrapped_before"], {"old": list(old)}).fetchone()
        if row is None or row[0] != 0:
            return False
        connection.execute(QUERIES["give_up_keys"], {"old": list(old)})
    return True


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise JournalConflict("what the database holds here is not bytes")
    return value
