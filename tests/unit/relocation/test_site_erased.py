"""A real site forgets everything once its region has left: objects, rows, customers, keys; and not a moment before."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from glasshouse_verify.region import Mode
from glasshouse_verify.relocation import Remaining, Step
from leaving import Leaving
from sites import REGION, Ground, clear, running_site

from glasshouse.regions.customers.accounts import Accounts
from glasshouse.regions.errors import InvalidInput, KeyDestroyed, KeysUnavailable, RegionError
from glasshouse.regions.journal import Kind, Note, heads
from glasshouse.regions.leaving import Premises, holding
from glasshouse.regions.placing import Place
from glasshouse.regions.shards import ShardTree
from glasshouse.regions.vault import DirectoryVault
from glasshouse.relocation.errors import AfterTheFence, NotYet, StoreLied
from glasshouse.relocation.leaving import erase_site, survey_site
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ObjectMissing, StorageUnavailable

CONTENTS = [b"one", b"two", b"three", b"four"]


@dataclass
class Left:
    """moscow with four objects, one of them removed, and two customers; fenced, and all steps done but the erasure."""

    world: Leaving
    place: Place
    premises: Premises
    directory: Path
    handles: list[str]

    def erase(self, **changes: object) -> object:
        return erase_site(
            self.premises,
            self.world.permit,
            clock=lambda: self.world.now,
            **changes,  # type: ignore[arg-type]
        )

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.premises.database.transaction() as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture
def left(database: Database, tmp_path: Path) -> Iterator[Left]:
    clear(database)
    accounts = Accounts(database)
    with database.transaction() as connection:
        connection.execute("truncate customers.customer cascade")
    for name in ("kookaburra", "wombat"):
        accounts.enrol(name, "AU")
    ground = Ground(tmp_path, custody=Mode.SITE, replicas=1, names=("moscow",))
    with running_site(ground, "moscow", database) as site:
        handles = [site.upload(content).handle for content in CONTENTS]
        body = {"commitment": "00" * 32, "reason": "retention", "time": 1, "residue_until": 2}
        site.intake.committer.append(Note(kind=Kind.REMOVED, handle=handles[3], body=body)).result(60)
        fenced = {"relocation": "au-2026", "time_ms": 1}
        site.intake.committer.append(Note(kind=Kind.FENCED, body=fenced)).result(60)
        place = site.place
    world = Leaving()
    world.come_to_erasure(ShardTree().sharded)
    premises = Premises(region=REGION, site="moscow", database=database, vault=place.vault, keys=place.keys)
    (tmp_path / "moscow" / "vault" / "incoming" / "half").write_bytes(b"an upload that was broken off")
    yield Left(world=world, place=place, premises=premises, directory=tmp_path / "moscow", handles=handles)
    clear(database)


def test_nothing_is_left(left: Left) -> None:
    before = heads(left.premises.database)
    told: list[int] = []
    backup = Remaining(name="the operator's word: tapes of Sundays", until=left.world.now + 90 * 86_400)
    says = left.erase(told=told.append, asserted=(backup,))
    assert dict(says.erased) == {"objects": 3, "bytes": says.erased["bytes"], "customers": 2, "keys": 1}  # type: ignore[attr-defined]
    assert (says.rows, says.remains) == (ShardTree().sharded, (backup,))  # type: ignore[attr-defined]
    left.world.log(says)  # type: ignore[arg-type]
    assert left.world.course.need(Step.ERASURE).predicate == says
    assert sum(told) == 4
    assert [path for path in (left.directory / "vault").rglob("*") if path.is_file()] == []
    assert list(left.premises.vault.handles()) == []
    for handle in left.handles:
        with pytest.raises(ObjectMissing):
            left.premises.vault.stream(handle)
    # The journal stays, and says nothing about anybody.
    assert heads(left.premises.database) == before
    assert left.rows("select state, count(*) from regions.object group by 1 order by 1") == [
        ("moved", 3),
        ("removed", 1),
    ]
    assert left.rows(
        "select count(*) from regions.object where num_nonnulls(customer, country, sha256, wrapped) > 0"
    ) == [(0,)]
    assert left.rows("select count(*) from customers.customer") == [(0,)]
    assert left.rows("select id from regions.destroyed_key") == [("wrap-1",)]
    assert left.premises.keys.epochs() == ()
    with pytest.raises(KeyDestroyed):
        left.premises.keys.next_epoch()
    # Once more: the same counts.
    assert left.erase(asserted=(backup,)).erased == says.erased  # type: ignore[attr-defined]


def test_the_database_takes_nothing_any_more(left: Left, tmp_path: Path) -> None:
    left.erase()
    # Even a site that somebody rolls back to before its fence, with a new key.
    with left.premises.database.transaction() as connection, pytest.raises(Exception, match="has left this site"):
        connection.execute(
            "insert into regions.object (handle, site, position, number, state) "
            "values (decode(repeat('ab', 32), 'hex'), 'moscow', 99, 99, 'removed')"
        )
    with left.premises.database.transaction() as connection, pytest.raises(Exception, match="never comes back"):
        connection.execute("update regions.object set state = 'held' where state = 'moved'")


def test_a_site_that_serves_on_takes_nothing(left: Left) -> None:
    """Whatever its operator has it believe of the charter."""
    left.erase()
    ground = Ground(left.directory.parent, custody=Mode.SITE, replicas=1, names=("moscow",))
    with running_site(ground, "moscow", left.premises.database) as site:
        with pytest.raises(RegionError):
            site.upload(b"sent to the old address")
        assert holding(left.premises).objects == 0
        assert heads(left.premises.database)["moscow"].number == 4


def test_looking_erases_nothing(left: Left) -> None:
    found, late = survey_site(left.premises)
    assert (found.objects, found.customers, found.keys, late) == (3, 2, ("wrap-1",), ())
    assert holding(left.premises) == found


def test_it_is_not_erased_before_everything_stands(left: Left) -> None:
    world = Leaving()
    world.come_to_erasure(ShardTree().sharded, but=[-1])
    with pytest.raises(NotYet, match="have not closed it"):
        erase_site(left.premises, world.permit, clock=lambda: world.now)
    assert holding(left.premises).objects == 3


def test_what_came_after_the_fence_is_an_alarm_and_stays(left: Left) -> None:
    stranger = "ab" * 32
    left.premises.vault.keep_all({stranger: b"ciphertext of nobody knows what"})
    with pytest.raises(AfterTheFence) as error:
        left.erase()
    assert [fault.handle for fault in error.value.faults] == [stranger]
    assert holding(left.premises).objects == 3
    assert left.premises.vault.size(stranger)


def test_a_site_that_was_never_fenced_is_not_erased(database: Database, tmp_path: Path) -> None:
    clear(database)
    ground = Ground(tmp_path, custody=Mode.SITE, replicas=1, names=("moscow",))
    with running_site(ground, "moscow", database) as site:
        site.upload(b"still taking")
        place = site.place
    world = Leaving()
    world.come_to_erasure(ShardTree().sharded)
    premises = Premises(region=REGION, site="moscow", database=database, vault=place.vault, keys=place.keys)
    with pytest.raises(InvalidInput, match="never fenced"):
        erase_site(premises, world.permit, clock=lambda: world.now)
    with pytest.raises(InvalidInput, match="is not that of zurich-1"):
        erase_site(replace(premises, site="zurich-1"), world.permit, clock=lambda: world.now)
    assert holding(premises).objects == 1


def test_it_goes_on_where_it_was_broken_off(left: Left) -> None:
    class Breaking(DirectoryVault):
        deleted = 0

        def delete(self, handle: str) -> None:
            Breaking.deleted += 1
            if Breaking.deleted == 2:
                raise StorageUnavailable("broken off")
            super().delete(handle)

    class BreakingKeys:
        def __init__(self) -> None:
            self.broken = False

        def __getattr__(self, name: str) -> object:
            return getattr(left.premises.keys, name)

        def destroy(self, key_id: str, **proof: object) -> None:
            if not self.broken:
                self.broken = True
                raise KeysUnavailable("broken off")
            left.premises.keys.destroy(key_id, **proof)  # type: ignore[arg-type]

    broken = replace(left.premises, vault=Breaking(left.directory / "vault", spool="beside"), keys=BreakingKeys())  # type: ignore[arg-type]
    with pytest.raises(StorageUnavailable):
        erase_site(broken, left.world.permit, clock=lambda: left.world.now)
    with pytest.raises(KeysUnavailable):
        erase_site(broken, left.world.permit, clock=lambda: left.world.now)
    says = erase_site(broken, left.world.permit, clock=lambda: left.world.now)
    assert {name: says.erased[name] for name in ("objects", "customers", "keys")} == {  # type: ignore[index]
        "objects": 3,
        "customers": 2,
        "keys": 1,
    }


def test_a_vault_that_gives_what_it_deleted_is_found_out(left: Left) -> None:
    class Remembering(DirectoryVault):
        """It lists the object no more."""

        def stream(self, handle: str) -> Iterator[bytes]:
            return iter([b"kept"]) if handle == left.handles[0] else super().stream(handle)

    premises = replace(left.premises, vault=Remembering(left.directory / "vault", spool="beside"))
    with pytest.raises(StoreLied, match=f"still gives {left.handles[0]}"):
        erase_site(premises, left.world.permit, clock=lambda: left.world.now)
