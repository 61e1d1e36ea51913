"""What a site goes by and signs with: its place in the charter, its keys, its vault, its database.

One `Place` is opened per process and handed to everything that takes, replicates or erases objects at this site.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg
from glasshouse_verify.dsse import pae
from glasshouse_verify.region import Region

from glasshouse.parties.signer import Signer
from glasshouse.regions.journal import APPLIERS, QUERIES, Applier, Event, Kind
from glasshouse.regions.keys.interface import KeyService
from glasshouse.regions.receipts import Facts, statement
from glasshouse.regions.vault import Vault
from glasshouse.regions.wrapping import Wrapper, Wrapping
from glasshouse.storage.db import Database, Row


@dataclass(frozen=True, kw_only=True)
class SiteRules:
    """What a site goes by at a moment: its place, the party that runs it, and its region's rules.

    `charter` is the statement id of the charter that `rules` stand in; `signers` the raw public keys that may sign
    receipts for each site of the region, as that charter has them.
    """

    region: str
    site: str
    party: str
    charter: str
    rules: Region
    signers: Mapping[str, frozenset[bytes]]

    @property
    def peers(self) -> tuple[str, ...]:
        """The region's other sites, by name."""
        return tuple(sorted(set(self.rules.sites) - {self.site}))


@dataclass(frozen=True, kw_only=True)
class Place:
    """A site's own means. Threads may share it.

    `rules` gives the rules of the moment: an amendment changes them while the site runs, but never its place.
    `appliers` say what the kinds of events do, at this site and in its peers' replicas.
    """

    database: Database
    vault: Vault
    keys: KeyService
    signer: Signer
    rules: Callable[[], SiteRules]
    appliers: Mapping[Kind, Applier] = field(default_factory=lambda: APPLIERS)
    _wrappers: dict[bytes | None, Wrapper] = field(default_factory=dict, init=False, repr=False)

    def wrapper(self) -> Wrapper:
        """Wraps data keys as the charter asks for now."""
        return self._wrapper(self.rules().rules.custody.key)

    def transfer_wrapper(self) -> Wrapper:
        """Wraps data keys for this site alone: only until every peer has them."""
        return self._wrapper(None)

    def _wrapper(self, custodian: bytes | None) -> Wrapper:
        if custodian not in self._wrappers:
            self._wrappers[custodian] = Wrapper(self.keys, custodian)
        return self._wrappers[custodian]

    def sign_receipt(self, facts: Facts, *, site: str, number: int, handle: str) -> tuple[bytes, bytes]:
        """The payload of the receipt of an object that `site` took, and this site's signature over it."""
        payload = statement(facts, region=self.rules().region, site=site, number=number, handle=handle)
        return payload, self.signer.sign(pae(payload))

    def signed_entry(self, signature: bytes) -> bytes:
        """A signature of this site as a row keeps it."""
        return bytes.fromhex(self.signer.keyid) + signature


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An object as this site is about to keep it; `transfer` only at the site that took it, in dual custody."""

    event: Event
    facts: Facts
    wrapping: Wrapping
    transfer: Wrapping | None = None
    signatures: bytes | None = None


_PLAIN = (
    "customer",
    "country",
    "customer_key",
    "size",
    "category",
    "retention",
    "epoch",
    "party",
    "time",
    "sealed_size",
)
_DIGESTS = ("sha256", "charter", "salt", "sealed_sha256")


def add_objects(connection: "psycopg.Connection[Row]", site: str, objects: Sequence[Kept]) -> None:
    """Add the rows of objects to the caller's transaction, after their events."""
    if not objects:
        return
    columns: dict[str, list[object]] = {}

    def column(name: str, value: Callable[[Kept], object]) -> None:
        columns[name] = [value(kept) for kept in objects]

    column("position", lambda kept: kept.event.position)
    column("number", lambda kept: kept.event.number)
    column("handle", lambda kept: bytes.fromhex(kept.event.handle or ""))
    for name in _PLAIN:
        columns[name] = [getattr(kept.facts, name) for kept in objects]
    for name in _DIGESTS:
        columns[name] = [bytes.fromhex(getattr(kept.facts, name)) for kept in objects]
    column("wrapped_by", lambda kept: kept.wrapping.key_id)
    column("custodian", lambda kept: kept.wrapping.custodian and bytes.fromhex(kept.wrapping.custodian))
    column("wrapped", lambda kept: kept.wrapping.blob)
    column("transfer_by", lambda kept: kept.transfer and kept.transfer.key_id)
    column("transfer", lambda kept: kept.transfer and kept.transfer.blob)
    column("signatures", lambda kept: kept.signatures)
    connection.execute(QUERIES["add_objects"], {"site": site, **columns})
