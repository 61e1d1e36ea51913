"""Whether a site may serve: its configuration against the charter in force (attack D2).

What the site is told by its operator, and what the charter says of it, must be the same member by member; else it
refuses to serve, and says which member and what to do. A site that serves is judged again at every amendment.
"""

import threading
from dataclasses import dataclass

from glasshouse_verify.charter import Charter, Link
from glasshouse_verify.codec import Identifier
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Region, RegionSite, regions_of
from glasshouse_verify.statement import Use

from glasshouse.regions.errors import SiteRefused
from glasshouse.regions.placing import SiteRules

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


def check_site(link: Link, configured: Configured) -> SiteRules:
    """The rules that a site serves under; raises SiteRefused naming the member that contradicts the charter."""
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
    shown = rules.sites.get(Identifier(configured.site))
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
    return SiteRules(
        region=configured.region,
        site=configured.site,
        party=configured.party,
        charter=link.id,
        rules=rules,
        signers={str(name): _signers(charter, name, shown.party) for name, shown in rules.sites.items()},
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
    """What a running site goes by, amendment after amendment. Threads may share it."""

    def __init__(self, configured: Configured, link: Link) -> None:
        """Raises SiteRefused."""
        self._configured, self._lock = configured, threading.Lock()
        self._charter = link.charter
        self._now: SiteRules | SiteRefused = check_site(link, configured)

    @property
    def charter(self) -> Charter:
        """The charter in force."""
        with self._lock:
            return self._charter

    def rules(self) -> SiteRules:
        """The rules now; raises SiteRefused from the amendment on that contradicts the configuration."""
        with self._lock:
            now = self._now
        if isinstance(now, SiteRefused):
            raise now
        return now

    def renew(self, link: Link) -> None:
        """Go by another charter."""
        try:
            judged: SiteRules | SiteRefused = check_site(link, self._configured)
        except SiteRefused as error:
            judged = error
        with self._lock:
            self._charter, self._now = link.charter, judged
