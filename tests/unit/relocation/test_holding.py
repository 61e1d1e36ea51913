"""What real sites give the supervisor of what they hold: a site of a region that data has come to, and an archive."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from glasshouse_verify.foreign import store_row
from glasshouse_verify.row import Row
from leaving import SECRET
from moves import NEW, OLD, Move, moving
from sites import REGION, Site, receipt_of
from world import digest

from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.regions.intake import Stored
from glasshouse.regions.journal import Kind, Note
from glasshouse.regions.seal import Sealer
from glasshouse.relocation.course import Course
from glasshouse.relocation.examining import Ciphertexts, Examiner, Expected, archive_prefix
from glasshouse.relocation.holding import SiteHoldings
from glasshouse.relocation.holding_archive import ArchiveHoldings
from glasshouse.relocation.landing import Landed, Landings
from glasshouse.relocation.lists import ciphertext_row
from glasshouse.relocation.openings import Opening
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.db import Database

LARGE = os.urandom(200_000)
NOBODY = cast(Course, None)  # what is opened does not depend on the course of the move; who may ask does


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        yield found


def vault(move: Move, name: str, prefix: bytes = b"") -> Ciphertexts:
    return Ciphertexts(store=open_store((move.ground.directory / name / "vault").as_uri()), prefix=prefix)


def examiner(move: Move, name: str, **changes: Any) -> Examiner:
    if "others" not in changes:
        changes["others"] = {other: vault(move, other) for other in (OLD, *NEW) if other != name}
    fields: dict[str, Any] = {
        "site": name,
        "region": REGION,
        "here": vault(move, name),
        "secret": None,
        "buried": lambda _: False,
        "pause_seconds": 0.0,
    }
    return Examiner(**(fields | changes))


def expected(site: Site, stored: Stored) -> Expected:
    query = "select encode(sealed_sha256, 'hex'), sealed_size from regions.object where handle = %s"
    ((sealed, size),) = site.rows(query, bytes.fromhex(stored.handle))
    return Expected(row=receipt_of(stored.receipt).row, sealed=ciphertext_row(stored.handle, sealed, size))


def opened(move: Move, site: Site, *handles: str) -> tuple[Opening, ...]:
    return SiteHoldings(place=site.place, course=NOBODY, directory=move.ground.directory).open(handles)


def test_what_came_from_the_old_site_opens_and_has_its_row(move: Move) -> None:
    before = [move.old.upload(content) for content in (b"first", LARGE)]
    move.open()
    stored = [*before, move.old.upload(b"while it moves")]
    move.wait()
    for site in move.new:
        name = site.place.rules().site
        move.ground.desk.opened.clear()
        openings = opened(move, site, *(one.handle for one in stored))
        # Every data key that the supervisor is given was opened by the custodian, who counts it in public.
        assert move.ground.desk.opened == {"relocation-sample": 3}
        for one, opening in zip(stored, openings, strict=True):
            found = examiner(move, name).examine(expected(site, one), opening)
            assert (found.fault, found.handle) == ("", one.handle)
            # The very same with a vault in which the data key does open something: it was not made anew there.
            again = examiner(move, name, others={"moscow": vault(move, name)}).examine(expected(site, one), opening)
            assert "not sealed anew" in again.fault


def test_nothing_is_given_while_the_custodian_is_away(move: Move) -> None:
    stored = move.old.upload(b"first")
    move.open()
    move.wait()
    move.ground.desk.away = True
    with pytest.raises(CustodyUnavailable):
        opened(move, move.new[0], stored.handle)


def test_what_was_erased_since_is_told_so(move: Move) -> None:
    stored = move.old.upload(b"gone")
    move.open()
    move.wait()
    row = expected(move.new[0], stored)
    erase = {"reason": "retention", "time": 1, "commitment": "0" * 64}
    move.old.intake.committer.append(Note(kind=Kind.REMOVED, handle=stored.handle, body=erase)).result(60)
    move.wait()
    (opening,) = opened(move, move.new[0], stored.handle)
    assert opening.erased
    assert "no inventory shows it" in examiner(move, NEW[0]).examine(row, opening).fault
    found = examiner(move, NEW[0], buried=lambda handle: handle == stored.handle).examine(row, opening)
    assert (found.fault, found.erased) == ("", True)


def test_an_archive_opens_and_has_its_rows(move: Move) -> None:
    """A foreign store's versions, kept by a destination beside its vault; one of them is a delete marker."""
    place, root = move.old.place, move.ground.directory / OLD / "vault"
    landings = Landings(database=place.database, relocation="au-2026")
    with place.database.transaction() as connection:
        connection.execute("drop schema if exists relocation cascade")
        connection.execute("delete from public.glasshouse_migration where room = 'relocation'")
    landings.prepare()
    rows = [land(landings, move, root, b"a//b", content) for content in (b"content", LARGE)]
    marker = store_row(SECRET, b"a//b", 2, None, 0)
    insert(landings, handle=marker["key"], key=b"a//b", ordinal=2, commitment=marker["commitment"], size=0)
    holdings = ArchiveHoldings(place=place, landings=landings, course=NOBODY, directory=root)
    handles = [str(row["key"]) for row, _ in rows]
    openings = holdings.open([*handles, marker["key"]])
    assert move.ground.desk.opened["relocation-sample"] == 2
    look = examiner(move, OLD, here=vault(move, OLD, archive_prefix("au-2026")), others={}, secret=SECRET)
    for (row, sealed), opening in zip(rows, openings[:2], strict=True):
        found = look.examine(Expected(row=row, sealed=sealed), opening)
        assert (found.fault, found.marker) == ("", False)
    found = look.examine(Expected(row=marker, sealed=None), openings[2])
    assert (found.fault, found.marker) == ("", True)
    # A marker that stands for content is none.
    assert "is a delete marker, says the site" in look.examine(Expected(row=rows[0][0], sealed=None), openings[2]).fault
    (gone,) = holdings.open([digest(b"another")])
    assert gone.erased
    assert sorted(look.here.handles()) == sorted(handles)


def land(landings: Landings, move: Move, root: Path, key: bytes, content: bytes) -> tuple[Row, Row]:
    ordinal = 0 if content != LARGE else 1
    row = store_row(SECRET, key, ordinal, digest(content), len(content))
    handle = str(row["key"])
    sealer = Sealer(handle=handle, region=REGION, metadata={})
    path = root / "archive" / "au-2026" / handle[0] / handle
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sealer.update(content) + sealer.finish())
    sealed = sealer.sealed
    insert(
        landings,
        handle=handle,
        key=key,
        ordinal=ordinal,
        commitment=row["commitment"],
        size=len(content),
        content=digest(content),
        sealed=sealed.sealed_sha256,
        sealed_size=sealed.sealed_size,
        wrapping=move.old.place.wrapper().wrap(sealer.key, handle=handle, region=REGION),
    )
    return row, ciphertext_row(handle, sealed.sealed_sha256, sealed.sealed_size)


def insert(landings: Landings, **members: Any) -> None:
    landings.begin_pass(1)
    shard = landings.claim(1, "worker")
    assert shard is not None
    one = Landed(**members)
    landings.land(1, "worker", shard, cursor=b"", landed=[one], gone=[], vanished=0, done=False)
    landings.release(1, "worker", shard.id)
