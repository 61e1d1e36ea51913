"""Sites whose storage fails or lies: no receipt for what is not there, and nothing half-kept is counted."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import fill, small_disk
from glasshouse_verify.region import Mode
from hostile_s3 import HostileS3, hostile_s3
from ledgers import until
from sites import Ground, Site, honoured, running_region

from glasshouse.regions.errors import Short, Unverifiable
from glasshouse.regions.journal import heads
from glasshouse.regions.peers import PeerClient
from glasshouse.regions.sweeping import restore, sweep
from glasshouse.regions.vault import BucketVault, DirectoryVault, digest_of
from glasshouse.storage.db import Database
from glasshouse.storage.errors import StorageUnavailable
from glasshouse.storage.remote import RemoteObjects

LARGE = 12 << 20
DISK_BYTES = 8 << 20


@pytest.fixture
def bucket() -> Iterator[HostileS3]:
    with hostile_s3() as server:
        yield server


@pytest.fixture
def region(
    tmp_path: Path, bucket: HostileS3, database: Database, other_database: Database
) -> Iterator[tuple[Site, Site]]:
    """The first site keeps its objects in a bucket, the second on disk."""
    vault = BucketVault(RemoteObjects(bucket.store()), spool=tmp_path / "spool")
    with running_region(Ground(tmp_path, custody=Mode.SITE), database, other_database, vaults=(vault, None)) as sites:
        yield sites


@pytest.mark.parametrize("size", [1000, LARGE])
@pytest.mark.parametrize("fault", ["drops", "flips"])
def test_a_bucket_that_loses_or_alters_what_it_acknowledged_is_not_believed(
    region: tuple[Site, Site], bucket: HostileS3, fault: str, size: int
) -> None:
    content = os.urandom(size)
    for taker in region:
        setattr(bucket, fault, True)
        with pytest.raises(Short):
            taker.upload(content)
        setattr(bucket, fault, False)
        until(lambda: all(site.intake.replication.able for site in region))
        assert honoured(taker.upload(content).receipt, *region)
        content = os.urandom(size)


def test_an_honest_bucket_is_a_vault(region: tuple[Site, Site], bucket: HostileS3) -> None:
    contents = [os.urandom(size) for size in (0, 10, 100_000, LARGE)]
    receipts = [region[0].upload(content).receipt for content in contents]
    assert all(honoured(receipt, *region) for receipt in receipts)
    assert len(bucket.objects) == len(contents)
    assert sweep(region[0].place) == 0


def test_a_bucket_that_lists_short_or_keeps_what_was_deleted(region: tuple[Site, Site], bucket: HostileS3) -> None:
    site = region[0]
    kept = [site.upload(os.urandom(100)).receipt for _ in range(4)]
    strays = [hashlib.sha256(bytes([n])).hexdigest() for n in range(4)]
    site.place.vault.keep_all(dict.fromkeys(strays, b"nobody's"))
    bucket.lists_short = True
    sweep(site.place)
    assert all(honoured(receipt, *region) for receipt in kept)
    bucket.lists_short, bucket.keeps_deleted = False, True
    with pytest.raises(StorageUnavailable, match="after it was deleted"):
        sweep(site.place)
    bucket.keeps_deleted = False
    sweep(site.place)
    assert len(bucket.objects) == len(kept)


def test_a_bucket_that_ignores_conditions_still_keeps_what_is_held(
    region: tuple[Site, Site], bucket: HostileS3
) -> None:
    bucket.ignores_conditions = True
    stored = region[0].upload(b"first")
    assert honoured(region[0].upload(b"second").receipt, *region)
    assert honoured(stored.receipt, *region)


def test_what_a_disk_lost_is_fetched_from_the_peer(region: tuple[Site, Site], bucket: HostileS3) -> None:
    """And only as it was sealed: a peer with other bytes is no help."""
    receipts = [region[0].upload(os.urandom(size)).receipt for size in (10, LARGE)]
    lost = list(region[1].place.vault.handles())
    for handle in lost:
        region[1].place.vault.delete(handle)
    client = PeerClient("zurich-1", region[1].place.rules().rules, region[1].ground.credentials("zurich-2"))
    try:
        bucket.flips = True
        with pytest.raises(Unverifiable):
            restore(region[1].place, client)
        bucket.flips = False
        assert restore(region[1].place, client) == len(lost)
    finally:
        client.close()
    assert all(honoured(receipt, *region) for receipt in receipts)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of a few megabytes."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as place:
        yield place


@pytest.mark.parametrize("full", [0, 1], ids=["the taker's", "the peer's"])
def test_a_disk_that_is_full(
    tmp_path: Path, disk: Path, database: Database, other_database: Database, full: int
) -> None:
    vaults = [None, None]
    vaults[full] = DirectoryVault(disk / "vault")  # type: ignore[call-overload]
    with running_region(Ground(tmp_path), database, other_database, vaults=(vaults[0], vaults[1])) as sites:
        first = sites[0].upload(b"while there is space").receipt
        ballast = fill(disk)
        for content in (os.urandom(70_000), os.urandom(3 << 20)):
            with pytest.raises(Short):
                sites[0].upload(content)
        ballast.unlink()
        until(lambda: all(site.intake.replication.able for site in sites))
        receipts = [
            first,
            *(sites[0].upload(content).receipt for content in (b"small", os.urandom(70_000), os.urandom(3 << 20))),
        ]
        assert all(honoured(receipt, *sites) for receipt in receipts)
        for site in sites:
            until(lambda site=site: heads(site.place.database)["zurich-1"].number >= len(receipts))
            sweep(site.place)
            for handle in site.place.vault.handles():
                assert digest_of(site.place.vault.stream(handle))[0] in {
                    digest.hex() for (digest,) in site.rows("select sealed_sha256 from regions.object")
                }
