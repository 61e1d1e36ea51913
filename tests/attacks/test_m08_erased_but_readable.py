"""M8 Erased, but readable.

Cheat: the old store acknowledges that it erased and does not: it keeps a version, or an upload that nobody finished;
    or it lists nothing any more and still gives what it had, by version or by key, to be undeleted one day. Or the
    bucket of a site's vault does so, or keeps the versions of what was deleted in it.
Noticed by: the node that erases: another client lists the store, and a sample of what was erased is asked for again;
    afterwards the supervisor's canaries, for as long as the charter says.
Seen: an error that names the key; no statement `erasure`, and so no end of the move. Afterwards an alarm.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from emptying import Bucket, bucket, opened
from glasshouse_verify.foreign import store_handle
from glasshouse_verify.region import Mode
from glasshouse_verify.relocation import Step
from hostile_s3 import hostile_s3
from leaving import SECRET, Leaving
from sites import REGION, Ground, clear, running_site
from versioned_s3 import VersionedS3, versioned_s3

from glasshouse.regions.journal import Kind, Note
from glasshouse.regions.leaving import Premises
from glasshouse.regions.shards import ShardTree
from glasshouse.regions.vault import BucketVault, DirectoryVault
from glasshouse.relocation import leaving
from glasshouse.relocation.canaries import store_canaries
from glasshouse.relocation.errors import StoreLied
from glasshouse.relocation.stores.s3 import S3Bucket
from glasshouse.relocation.watching import Watch
from glasshouse.storage.db import Database
from glasshouse.storage.errors import StorageUnavailable
from glasshouse.storage.remote import RemoteObjects


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Bucket]:
    with bucket(tmp_path) as made:
        yield made


def test_attack_it_keeps_everything(old: Bucket) -> None:
    old.s3.keeps_erased = True
    with pytest.raises(StoreLied, match="still lists"):
        old.erase()
    assert old.world.course.last(Step.ERASURE) is None


def test_attack_it_lists_nothing_and_gives_everything(old: Bucket) -> None:
    old.s3.hides_erased = True
    with pytest.raises(StoreLied, match="still gives"):
        old.erase()
    assert old.left == []


def test_attack_it_keeps_one_version_of_many(old: Bucket) -> None:
    kept = next(kept for kept in old.s3.versions if kept.content == b"version 2")
    erase = old.s3.erase

    def erasing(key: str, version: str | None) -> str | None:
        return None if version == kept.id else erase(key, version)

    old.s3.erase = erasing  # type: ignore[method-assign]
    with pytest.raises(StoreLied, match="still lists b'often'"):
        old.erase()


def test_attack_it_keeps_an_unfinished_upload(old: Bucket) -> None:
    old.s3.keeps_uploads = True
    with pytest.raises(StoreLied, match="unfinished uploads"):
        old.erase()


def test_attack_it_gives_again_what_it_had_erased(old: Bucket, tmp_path: Path) -> None:
    """The store was honest when it was asked, and gives everything a day later."""
    versions = [(version, store_handle(SECRET, version.key, version.ordinal)) for version in old.emptied.store.list()]
    before = list(old.s3.versions)
    old.world.log(old.erase())
    readable = [found for found in versions if not found[0].marker]
    canaries = store_canaries(old.emptied.checking, None, readable, fenced_ms=old.world.now * 1_000)
    watch = Watch(canaries, tmp_path / "watch", party="lab")
    old.s3.versions[:], old.s3.hides_erased = before, True
    for kept in before:
        kept.erased = True
    old.world.later(86_400)
    turn = watch.turn(lambda: old.world.course, lambda says: old.world.log(says, "lab"), old.world.now)
    assert [fault.text for fault in turn.faults] == ["store-read: a version that was erased can be read"]
    assert turn.faults[0].handle in {handle for _, handle in readable}
    assert old.world.course.records(Step.ALARM)[0].predicate.faults == turn.faults


def premises(database: Database, directory: Path) -> Premises:
    """moscow with three objects, fenced and stopped."""
    clear(database)
    ground = Ground(directory, custody=Mode.SITE, replicas=1, names=("moscow",))
    with running_site(ground, "moscow", database) as site:
        for number in range(3):
            site.upload(b"object %d" % number)
        fenced = Note(kind=Kind.FENCED, body={"relocation": "au-2026", "time_ms": 1})
        site.intake.committer.append(fenced).result(60)
    vault = DirectoryVault(directory / "moscow" / "vault")
    return Premises(region=REGION, site="moscow", database=database, vault=vault, keys=site.place.keys)


def erase(there: Premises, bucket: leaving.Bucket | None = None) -> object:
    world = Leaving()
    world.come_to_erasure(ShardTree().sharded)
    return leaving.erase_site(there, world.permit, bucket=bucket, clock=lambda: world.now)


def test_attack_the_bucket_of_a_vault_keeps_what_was_deleted(database: Database, tmp_path: Path) -> None:
    there = premises(database, tmp_path)
    with hostile_s3() as s3:
        for handle in there.vault.handles():
            s3.objects[f"{handle[0]}/{handle}"] = b"".join(there.vault.stream(handle))
        s3.keeps_deleted = True
        vault = BucketVault(RemoteObjects(s3.store()), spool=tmp_path / "spool")
        lying = Premises(region=there.region, site="moscow", database=database, vault=vault, keys=there.keys)
        with pytest.raises(StorageUnavailable, match="after it was deleted"):
            erase(lying)
        # The honest run of the same.
        s3.keeps_deleted = False
        erase(lying)
        assert s3.objects == {}
    assert there.keys.epochs() == ()


@pytest.mark.parametrize("lies", [True, False])
def test_attack_versions_of_what_was_deleted_in_a_vaults_bucket(
    database: Database, tmp_path: Path, *, lies: bool
) -> None:
    """Deleting from a bucket with versions only adds markers; the versions themselves have to go, and the list says."""
    there = premises(database, tmp_path)
    with versioned_s3() as s3, opened(S3Bucket, s3) as store:
        add_deleted(s3, list(there.vault.handles()))
        s3.put("ledger/tile/0/000", b"somebody else's")
        s3.keeps_erased = lies
        if lies:
            with pytest.raises(StoreLied, match="still lists"):
                erase(there, leaving.Bucket(store=store, prefix=b"vault/"))
        else:
            erase(there, leaving.Bucket(store=store, prefix=b"vault/"))
            assert [kept.key for kept in s3.listed()] == ["ledger/tile/0/000"]


def add_deleted(s3: VersionedS3, handles: list[str]) -> None:
    for handle in handles:
        s3.put(f"vault/{handle[0]}/{handle}", b"ciphertext")
        s3.put(f"vault/{handle[0]}/{handle}", None)


def test_control_an_honest_store_gives_nothing_any_more(old: Bucket) -> None:
    old.world.log(old.erase())
    assert (old.left, old.s3.uploads) == ([], {})
    assert old.world.course.last(Step.ERASURE) is not None
