"""Regions: which country's data may live at which sites, how long, and who has to agree before it is read.

They stand in a charter's member `regions`. The chain of charters carries them and does not read them, so that every
verifier agrees on which amendment counts (see `charter`). Who drafts, votes, serves or checks a receipt reads them
here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from glasshouse_verify.charter import Charter, side
from glasshouse_verify.codec import Country, Identifier, PublicKey, Text, decode
from glasshouse_verify.errors import CharterError, FormatError

# What a category holds: files, or batches of telemetry records.
Kind = StrEnum("Kind", "FILE TELEMETRY")
# What intake does while fewer sites than `replicas` can store: hold requests open for a while, or refuse at once.
Shortage = StrEnum("Shortage", "WAIT REFUSE")
# Who has to take part in reading: the site alone, or the site and a second party's key service.
Mode = StrEnum("Mode", "SITE DUAL")
# What a relocation empties: a site of the region, or a store that was never one.
Origin = StrEnum("Origin", "SITE STORE")


@dataclass(frozen=True, kw_only=True)
class Category:
    """A category of data, and for how many seconds it is kept."""

    kind: Kind
    retention: int


@dataclass(frozen=True, kw_only=True)
class RegionSite:
    """A site of a region: its party, where customers and peers reach it, and its TLS certificate (DER) for peers."""

    party: Identifier
    url: str
    peer: str
    certificate: bytes


@dataclass(frozen=True, kw_only=True)
class Custody:
    """Who unwraps data keys; a second party only where the mode is dual. `key` is its X25519 public key."""

    mode: Mode
    party: Identifier | None = None
    url: str | None = None
    key: PublicKey | None = None


@dataclass(frozen=True, kw_only=True)
class Moving:
    """A relocation that the members have opened: the data leaves `site` (see `relocation`).

    Where `source` is `site`, `site` is the region's only one, and `to` are those that take over from it, with
    `replicas` for what they take; where it is `store`, a store outside the region, at `site`, is taken into its sites.
    `due` is the promised end (Unix seconds); `quarantine` how long after the countersignature nothing is erased, and
    `watch` how long the old site is tried afterwards, both in seconds; `supervisor` is the party that countersigns.
    """

    id: Identifier
    source: Origin
    site: Identifier
    to: Mapping[Identifier, RegionSite]
    replicas: int
    due: int
    quarantine: int
    watch: int
    supervisor: Identifier


@dataclass(frozen=True, kw_only=True)
class Region:
    """The rules of one region, in force from inventory number `epoch` on. `interval`: seconds between inventories."""

    name: Text
    countries: tuple[Country, ...]
    epoch: int
    sites: Mapping[Identifier, RegionSite]
    replicas: int
    when_short: Shortage
    custody: Custody
    categories: Mapping[Identifier, Category]
    interval: int
    moving: Moving | None = None

    @property
    def places(self) -> Mapping[Identifier, RegionSite]:
        """Its sites, and those that its data is moving to."""
        return {**self.sites, **({} if self.moving is None else self.moving.to)}

    def seen_from(self, site: str) -> "Region":
        """The same; for a site that its data is moving to, with these sites alone and the replicas that they need."""
        if self.moving is None or site not in self.moving.to:
            return self
        return replace(self, sites=self.moving.to, replicas=self.moving.replicas)


def regions_of(charter: Charter) -> Mapping[Identifier, Region]:
    """The regions of a charter, by id; raises FormatError or CharterError where they break a rule."""
    regions: Mapping[Identifier, Region] = decode(Mapping[Identifier, Region], charter.regions or {}, "charter.regions")
    taken: dict[Country, Identifier] = {}
    for name, region in regions.items():
        where = f"charter.regions.{name}"
        for country in region.countries:
            if country in taken:
                raise FormatError(f"{where}.countries", f"{country} stands in region {taken[country]} already")
            taken[country] = name
        if not (region.countries and region.categories):
            raise FormatError(where, "must name countries and categories")
        if not 1 <= region.replicas <= len(region.sites):
            raise FormatError(f"{where}.replicas", f"must be from 1 to {len(region.sites)}, the number of sites")
        if region.interval < 1 or any(category.retention < 1 for category in region.categories.values()):
            raise FormatError(where, "interval and retention must be at least one second")
        _check_sites(charter, where, region)
        _check_custody(charter, where, region)
        _check_moving(charter, f"{where}.moving", region)
    return regions


def _check_sites(charter: Charter, where: str, region: Region) -> None:
    for name, site in region.places.items():
        if name not in charter.sites:
            raise FormatError(f"{where}.sites.{name}", "is no site of this charter")
        if site.party not in charter.parties:
            raise FormatError(f"{where}.sites.{name}.party", "is no party of this charter")


def _check_custody(charter: Charter, where: str, region: Region) -> None:
    custody, members = region.custody, (region.custody.party, region.custody.url, region.custody.key)
    if any((member is not None) != (custody.mode == Mode.DUAL) for member in members):
        raise FormatError(f"{where}.custody", "names party, url and key where the mode is dual, and only there")
    if custody.party is None:
        return
    if custody.party not in charter.parties:
        raise FormatError(f"{where}.custody.party", "is no party of this charter")
    if side(charter, custody.party) in {side(charter, site.party) for site in region.places.values()}:
        raise CharterError(f"{where}.custody.party: {custody.party} stands with a site whose keys it is to guard")


def _check_moving(charter: Charter, where: str, region: Region) -> None:
    moving = region.moving
    if moving is None:
        return
    if moving.site not in charter.sites or moving.site in moving.to:
        raise FormatError(f"{where}.site", "must be a site of this charter, and none that the data moves to")
    if (moving.source == Origin.SITE) != (set(region.sites) == {moving.site}):
        raise FormatError(f"{where}.site", "is the only site of the region where the source is a site, and only there")
    if (moving.source == Origin.SITE) != bool(moving.to):
        raise FormatError(f"{where}.to", "names sites where the source is a site, and only there")
    if not 1 <= moving.replicas <= len(moving.to or region.sites):
        raise FormatError(f"{where}.replicas", "must be from 1 to the number of sites that the data moves to")
    sides = {side(charter, place.party) for place in region.places.values()}
    if moving.supervisor not in charter.parties or side(charter, moving.supervisor) in sides:
        raise CharterError(f"{where}.supervisor: {moving.supervisor} is no party, or stands with a site")


def region_of(charter: Charter, country: str) -> tuple[Identifier, Region]:
    """The region that a country's data belongs to; raises CharterError where the charter names none."""
    for name, region in regions_of(charter).items():
        if country in region.countries:
            return name, region
    raise CharterError(f"the charter has no region for the country {country}")
