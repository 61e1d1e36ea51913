"""A store as a vendor has it, fenced, its region's data at the new sites, and everything done but its erasure."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Relocation
from leaving import SECRET, Leaving, fenced_rows
from versioned_s3 import CREDENTIALS, VersionedS3, versioned_s3

from glasshouse.relocation.catalogue import open_catalogue
from glasshouse.relocation.erasing import Emptied, erase_store
from glasshouse.relocation.stores.addresses import parse_bucket
from glasshouse.relocation.stores.s3 import S3Bucket


@dataclass
class Bucket:
    """A versioned bucket with awkward keys, overwritten and deleted ones, and an upload that nobody finished."""

    s3: VersionedS3
    world: Leaving
    emptied: Emptied

    def erase(self, **changes: object) -> Relocation:
        emptied = replace(self.emptied, **changes)  # type: ignore[arg-type]
        return erase_store(emptied, self.world.permit, clock=lambda: self.world.now)

    @property
    def left(self) -> list[tuple[str, str]]:
        return [(kept.key, kept.id) for kept in self.s3.listed()]


def fill(s3: VersionedS3) -> None:
    for key in ("plain", "a//b", "../up", "/lead", "dir/", "Zürich ☃", "x" * 1_024):
        s3.put(key, b"content of %s" % key.encode()[:40])
    for number in range(5):
        s3.put("often", b"version %d" % number)
    s3.put("deleted", b"was here")
    s3.put("deleted", None)
    s3.put("deleted", b"and again")
    s3.put("empty", b"")
    s3.uploads |= {"u1": "half", "u2": "half"}


@contextlib.contextmanager
def opened(kind: type[S3Bucket], s3: VersionedS3) -> Iterator[S3Bucket]:
    """A client whose connections are closed afterwards."""
    store = kind(s3.store, parse_bucket(s3.store), CREDENTIALS)
    try:
        yield store
    finally:
        store._client.close()


@contextlib.contextmanager
def bucket(directory: Path) -> Iterator[Bucket]:
    """Fill it, fence it, and come to the erasure."""
    with versioned_s3() as s3, opened(S3Bucket, s3) as store:
        s3.clock = time.time() - 100 * 86_400
        fill(s3)
        s3.clock = None
        store.refuse_writes()
        rows = fenced_rows(store, directory / "rows")
        world = Leaving(Origin.STORE)
        world.now = int(time.time()) - 60 * 86_400
        emptied = Emptied(
            store=store,
            checking=open_catalogue(s3.store, CREDENTIALS, directory / "scratch"),
            fenced=rows,
            secret=SECRET,
            place=directory / "state",
        )
        world.come_to_erasure(rows.sharded)
        yield Bucket(s3=s3, world=world, emptied=emptied)
