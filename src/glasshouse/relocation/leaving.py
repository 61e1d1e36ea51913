"""Erasing the site that a region has left: what it held, what it knew of customers, and every key that it had.

What the site does is in `regions.leaving`; here is when it may, and what it says. Nothing is erased without the
permission of the ledger (see `permit`), and not where the site has an object that it did not have at the fence: that is
an alarm, and it is left as it is. Nothing is said before a look at vault, database and key service finds nothing more,
and a sample of the objects can be read no longer.

Where the vault is a bucket that keeps versions, what was deleted is still there as versions: `bucket` opens it a second
time, and those of the vault's keys are erased too, with their delete markers and unfinished uploads.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.relocation import Fault, Relocation, Remaining

from glasshouse.regions.leaving import Holding, Premises, forget, holding, left_over, strangers
from glasshouse.regions.shards import ShardTree
from glasshouse.relocation.errors import AfterTheFence, StoreLied
from glasshouse.relocation.permit import Permit, Permits, erasure
from glasshouse.relocation.stores.interface import Locked, Store, Version
from glasshouse.storage.errors import ObjectMissing

MAX_NAMED = 50
SAMPLE = 200
_BATCH = 1_000
_VAULT_KEY = re.compile(rb"[0-9a-f]/[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The bucket of a vault, opened to see its versions; `prefix` is what the vault's keys begin with."""

    store: Store
    prefix: bytes = b""


def survey_site(premises: Premises) -> tuple[Holding, tuple[Fault, ...]]:
    """What an erasure would find now, and what came after the fence; nothing is erased."""
    return holding(premises), _late(premises)


def erase_site(
    premises: Premises,
    judge: Callable[[], Permit],
    *,
    bucket: Bucket | None = None,
    asserted: Sequence[Remaining] = (),
    clock: Callable[[], float] = time.time,
    told: Callable[[int], object] = abs,
) -> Relocation:
    """Have the site forget everything, and say so; `told` is given the number of objects of each batch.

    `judge` gives the permission as the ledger has it at that moment, see `permit`. `asserted` are copies that only the
    operator knows of, as its scope document has them: they are carried into the statement, as its word. Goes on where
    it was broken off. The statement is to be signed and logged by the caller.

    Raises NotYet, AfterTheFence, StoreLied where something is still found or read, and what the site raises.
    """
    permits = Permits(judge, clock)
    permit = permits.now()
    if late := _late(premises):
        raise AfterTheFence(late)
    sample: list[str] = []

    def keep(handles: Sequence[str]) -> None:
        permits.now()
        sample.extend(handles[: SAMPLE - len(sample)])
        told(len(handles))

    done = forget(premises, permit.closed, told=keep)
    locked = () if bucket is None else _erase_versions(bucket)
    if found := left_over(premises):
        raise StoreLied(f"{premises.site} still has {'; '.join(found)}")
    for handle in sample:
        try:
            for _ in premises.vault.stream(handle):
                break
        except ObjectMissing:
            continue
        raise StoreLied(f"the vault of {premises.site} still gives {handle}, which it said it had deleted")
    erased = {"objects": done.objects, "bytes": done.size, "customers": done.customers, "keys": len(done.keys)}
    remains = (*(_remaining(lock) for lock in locked), *asserted)
    rows = ShardTree().sharded
    return erasure(permits.now(), erased=erased, remains=remains, rows=rows, now=int(clock()))


def _late(premises: Premises) -> tuple[Fault, ...]:
    text = Text("an object came to the site after its fence, or lies in its vault without a row")
    handles = strangers(premises, MAX_NAMED)
    return tuple(Fault(site=Identifier(premises.site), text=text, handle=Digest(handle)) for handle in handles)


def _erase_versions(bucket: Bucket) -> Sequence[Locked]:
    """Erase every version below the vault's keys; what locks keep. Raises StoreLied where one is listed afterwards."""
    locked: list[Locked] = []
    versions = _of_vault(bucket)
    while batch := list(islice(versions, _BATCH)):
        locked += bucket.store.erase(batch)
    for upload in bucket.store.uploads():
        if _is_vaults(bucket, upload.key):
            bucket.store.abort(upload)
    kept = {(lock.version.key, lock.version.version) for lock in locked}
    for version in _of_vault(bucket):
        if (version.key, version.version) not in kept:
            raise StoreLied(f"{bucket.store.url} still lists {version.key!r}, which it said it had erased")
    return locked


def _of_vault(bucket: Bucket) -> Iterator[Version]:
    return (version for version in bucket.store.list() if _is_vaults(bucket, version.key))


def _is_vaults(bucket: Bucket, key: bytes) -> bool:
    return key.startswith(bucket.prefix) and _VAULT_KEY.fullmatch(key[len(bucket.prefix) :]) is not None


def _remaining(lock: Locked) -> Remaining:
    handle = lock.version.key.rpartition(b"/")[2].decode("ascii", "replace")
    return Remaining(name=Text(f"the ciphertext {handle}: {lock.reason}"), until=lock.until)
