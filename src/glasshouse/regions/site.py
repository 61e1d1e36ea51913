"""Whether a site may serve: its configuration against the charter in force (attack D2).

What the site is told by its operator, and what the charter says of it, must be the same member by member; else it
refuses to serve, and says which member and what to do. A site that serves is judged again at every amendment, and
when a move of its region is fenced: what it does for customers follows from these two (placing.State).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from glasshouse_verify.charter import Charter, Link
from glasshouse_verify.codec import Identifier
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Origin, Region, RegionSite, regions_of
from glasshouse_verify.statement import Use

from glasshouse.regions.errors import SiteRefused
from glasshouse.regions.fences import Fences, Known
from glasshouse.regions.placing import SiteRules, State

_AMEND = "Or have the charter amended: glasshouse charter region."


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A site as its operator has configured it. `certificate` is DER, `keyids` are those of its intake keys."""

    party: str
    site: str
    jurisdiction: str
    region: str
    url: str
    peer: str
    certificate: bytes
    custody: str
    keyids: tuple[str, ...]


def check_site(link: Link, configured: Configured, fences: Known = MappingProxyType({})) -> SiteRules:
    """The rules that a site serves under; raises SiteRefused naming the member that contradicts the charter.

    `fences` are those that the site knows of: the charter says which site is left for which, they say since when.
    """
    charter = link.charter
    try:
        regions = regions_of(charter)
    except VerifyError as error:
        fix = "The members have to amend the charter; no site serves under broken rules."
        raise SiteRefused("charter.regions", str(error), fix) from error
    rules = regions.get(Identifier(configured.region))
    if rules is None:
        known = ", ".join(regions) or "none"
        fix = f'Its regions: {known}. Write one into node.toml: [intake] region = "…". {_AMEND}'
        raise SiteRefused("intake.region", f"the charter has no region {configured.region}", fix)
    place = charter.sites.get(Identifier(configured.site))
    shown = rules.places.get(Identifier(configured.site))
    if shown is None and any(site == configured.site for _, site in fences):
        return _left(link, configured, rules)
    if place is None or shown is None:
        fix = f"Its sites: {', '.join(rules.sites)}. Mend [site] id in node.toml. {_AMEND}"
        reason = f"{configured.site} is no site of the region {configured.region}"
        raise SiteRefused("site.id", reason, fix)
    if place.jurisdiction != configured.jurisdiction:
        reason = f"is {configured.jurisdiction}, the charter has {configured.site} in {place.jurisdiction}"
        fix = "Mend [site] jurisdiction in node.toml; a site that has moved to another country needs another id."
        raise SiteRefused("site.jurisdiction", reason, fix)
    _check_addresses(shown, configured)
    _check_custody(rules, configured)
    _check_keys(charter, configured)
    return rules_of(
        rules,
        configured.site,
        region=configured.region,
        charter=link.id,
        signers={str(name): _signers(charter, name, there.party) for name, there in rules.places.items()},
        fences=fences,
    )


def rules_of(
    region_rules: Region,
    site: str,
    *,
    region: str,
    charter: str,
    signers: Mapping[str, frozenset[bytes]],
    fences: Known = MappingProxyType({}),
) -> SiteRules:
    """What a site of a region goes by, given the fences that it knows of."""
    rules, state, moving = region_rules, State.TAKING, region_rules.moving
    if moving is not None and moving.source == Origin.SITE:
        fenced, takes_over = (moving.id, moving.site) in fences, site in moving.to
        if takes_over:
            rules = replace(region_rules, sites=moving.to, replicas=moving.replicas)
            state = State.TAKING if fenced else State.ARRIVING
        else:
            state = State.LEFT if fenced else State.LEAVING
    return SiteRules(
        region=region,
        site=site,
        party=region_rules.places[Identifier(site)].party,
        charter=charter,
        rules=rules,
        signers=signers,
        state=state,
        whole=region_rules,
    )


def _left(link: Link, configured: Configured, rules: Region) -> SiteRules:
    """A site that its region has left for good: it has no say in it, but can tell customers where it is."""
    return SiteRules(
        region=configured.region,
        site=configured.site,
        party=configured.party,
        charter=link.id,
        rules=rules,
        signers={},
        state=State.LEFT,
    )


def _signers(charter: Charter, site: Identifier, party: Identifier) -> frozenset[bytes]:
    """The keys that may sign receipts for a site: those that its party holds there and that have not been stopped."""
    keys = charter.parties[party].keys.values()
    return frozenset(
        bytes(key.public) for key in keys if key.site == site and Use.RECEIPT in key.uses and key.stops is None
    )


def _check_addresses(shown: RegionSite, configured: Configured) -> None:
    members = (
        ("party", configured.party, shown.party, "Mend party in node.toml."),
        ("serve.url", configured.url, shown.url, "Mend [serve] listen or url in node.toml."),
        ("intake.peer", configured.peer, shown.peer, "Mend [intake] peer_listen or peer in node.toml."),
    )
    for field, mine, said, fix in members:
        if mine != said:
            raise SiteRefused(field, f"is {mine}, the charter says {said}", f"{fix} {_AMEND}")
    if configured.certificate != shown.certificate:
        fix = f"Put the certificate of the charter, and its key, back into keys/. {_AMEND}"
        raise SiteRefused("keys/peer.pem", "is not the certificate that the charter names", fix)


def _check_custody(rules: Region, configured: Configured) -> None:
    if configured.custody != rules.custody.mode:
        fix = f'Write [intake] custody = "{rules.custody.mode}" into node.toml if that is what you mean. {_AMEND}'
        reason = f"is {configured.custody}, the charter says {rules.custody.mode}"
        raise SiteRefused("intake.custody", reason, fix)


def _check_keys(charter: Charter, configured: Configured) -> None:
    for keyid in configured.keyids:
        key = charter.key(keyid)
        mine = key is not None and charter.owners[keyid] == configured.party and key.site == configured.site
        if key is not None and mine and key.stops is None and {Use.RECEIPT, Use.INVENTORY} <= set(key.uses):
            return
    fix = "Bring its card in: glasshouse charter region, or glasshouse charter join."
    raise SiteRefused("keys/intake.key", "none of the intake keys counts for this site by the charter", fix)


class SiteStanding:
    """What a running site goes by, amendment after amendment and fence after fence. Threads may share it."""

    def __init__(self, configured: Configured, link: Link, fences: Fences | None = None) -> None:
        """Raises SiteRefused."""
        self._configured, self._lock = configured, threading.Lock()
        self._fences = fences or Fences()
        self._link, self._known = link, self._fences.known
        self._now: SiteRules | SiteRefused = check_site(link, configured, self._known)

    @property
    def charter(self) -> Charter:
        """The charter in force."""
        with self._lock:
            return self._link.charter

    def rules(self) -> SiteRules:
        """The rules now; raises SiteRefused from the amendment on that contradicts the configuration."""
        with self._lock:
            if self._fences.known is not self._known:
                self._judge(self._link)
            now = self._now
        if isinstance(now, SiteRefused):
            raise now.with_traceback(None)
        return now

    def renew(self, link: Link) -> None:
        """Go by another charter."""
        with self._lock:
            self._judge(link)

    def _judge(self, link: Link) -> None:
        self._link, self._known = link, self._fences.known
        try:
            self._now = check_site(link, self._configured, self._known)
        except SiteRefused as error:
            self._now = error
