"""What a site goes by and signs with: its place in the charter, its keys, its vault, its database.

One `Place` is opened per process and handed to everything that takes, replicates or erases objects at this site.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import psycopg
from glasshouse_verify.dsse import pae
from glasshouse_verify.region import Moving, Origin, Region, RegionSite

from glasshouse.parties.signer import Signer
from glasshouse.regions.custody_request import Opens
from glasshouse.regions.errors import Arriving, Moved
from glasshouse.regions.fences import Fences
from glasshouse.regions.journal import APPLIERS, QUERIES, Applier, Event, Kind
from glasshouse.regions.keys.interface import KeyService
from glasshouse.regions.receipts import Facts, statement
from glasshouse.regions.vault import Vault
from glasshouse.regions.wrapping import Wrapper, Wrapping
from glasshouse.storage.db import Database, Row

# What a site does for its customers: it takes; it still takes while its region's data moves away; it does not take yet,
# because the data is still arriving; or it takes nothing more, because it was left.
State = StrEnum("State", "TAKING LEAVING ARRIVING LEFT")


@dataclass(frozen=True, kw_only=True)
class SiteRules:
    """What a site goes by at a moment: its place, the party that runs it, and its region's rules.

    `charter` is the statement id of the charter that `rules` stand in; `signers` the raw public keys that may sign
    receipts for each site of the region, as that charter has them. Where the region moves to this site, `rules` are
    those with the sites that take over, and `region_rules` the region as the charter has it.
    """

    region: str
    site: str
    party: str
    charter: str
    rules: Region
    signers: Mapping[str, frozenset[bytes]]
    state: State = State.TAKING
    whole: Region | None = None

    @property
    def region_rules(self) -> Region:
        """The region as the charter has it."""
        return self.whole or self.rules

    @property
    def moving(self) -> Moving | None:
        """The move of this region from site to site that the members have opened, if any."""
        moving = self.region_rules.moving
        return moving if moving is not None and moving.source == Origin.SITE else None

    @property
    def left(self) -> str | None:
        """The site that this one takes over from, as long as the charter has the region moving."""
        moving = self.moving
        return str(moving.site) if moving is not None and moving.site != self.site else None

    @property
    def peers(self) -> tuple[str, ...]:
        """The sites that this one's journal goes to, by name."""
        match self.state:
            case State.LEAVING | State.LEFT:
                return () if self.moving is None else tuple(sorted(self.moving.to))
            case State.TAKING | State.ARRIVING:
                return tuple(sorted(set(self.rules.sites) - {self.site}))

    @property
    def senders(self) -> tuple[str, ...]:
        """The sites whose journals come here, by name."""
        if self.state in (State.LEAVING, State.LEFT):
            return ()
        return (*self.peers, *(() if self.left is None else (self.left,)))

    @property
    def callers(self) -> Mapping[str, RegionSite]:
        """The sites that may speak to this one's peers' side, with what the charter says of them."""
        places = self.region_rules.places
        return {str(name): places[name] for name in places if name in {*self.peers, *self.senders}}

    @property
    def successors(self) -> Mapping[str, str]:
        """Where customers go from here, at a site that was left: site → address."""
        there = self.region_rules.sites if self.moving is None else self.moving.to
        return {str(name): site.url.rstrip("/") for name, site in there.items() if name != self.site}

    def check_open(self) -> None:
        """Raise Moved or Arriving unless this site takes what customers send."""
        match self.state:
            case State.LEFT:
                raise Moved(self.region, self.successors)
            case State.ARRIVING:
                raise Arriving(self.region, self.left or "another site")
            case State.TAKING | State.LEAVING:
                return


@dataclass(frozen=True, kw_only=True)
class Place:
    """A site's own means. Threads may share it.

    `rules` gives the rules of the moment: an amendment changes them while the site runs, but never its place; so do
    `fences`. `appliers` say what the kinds of events do, at this site and in its peers' replicas. `custodian` is asked
    by machines' jobs; it gives None where the custody is the site's own.
    """

    database: Database
    vault: Vault
    keys: KeyService
    signer: Signer
    rules: Callable[[], SiteRules]
    appliers: Mapping[Kind, Applier] = field(default_factory=lambda: APPLIERS)
    fences: Fences = field(default_factory=Fences)
    custodian: Callable[[], Opens | None] = field(default=lambda: None)
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
