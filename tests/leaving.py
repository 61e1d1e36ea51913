"""A region that leaves a site, in a ledger in memory: its charters, and the steps of a move as parties log them."""

from dataclasses import replace
from typing import Any

from glasshouse_verify.codec import encode
from glasshouse_verify.region import Custody, Mode, Moving, Origin, RegionSite
from region_examples import region
from world import DAY, NOW, World, charter_key, digest, seeded

from glasshouse.regions.keys.closing import Closed

MOVE = "au-2026"
QUARANTINE, WATCH = 7 * DAY, 30 * DAY
SITE_USES = ["receipt", "inventory", "access", "relocation"]
TO = ("zurich-1", "zurich-2")


def place(name: str, **changes: Any) -> RegionSite:
    shown = RegionSite(
        party="acme",
        url=f"https://{name}.acme.example",
        peer=f"https://{name}.acme.example:8444",
        certificate=b"DER of the certificate",
    )
    return replace(shown, **changes)


def moving(source: Origin = Origin.SITE, **changes: Any) -> Moving:
    shown = Moving(
        id=MOVE,
        source=source,
        site="moscow",
        to={name: place(name) for name in TO} if source == Origin.SITE else {},
        replicas=2,
        due=NOW + 90 * DAY,
        quarantine=QUARANTINE,
        watch=WATCH,
        supervisor="lab",
    )
    return replace(shown, **changes)


class Leaving(World):
    """The initiative whose region `au` lies at moscow, or is to take in a store there, and may move to Zurich."""

    def __init__(self, source: Origin = Origin.SITE, **changes: Any) -> None:
        self.source = source
        keys = {site: seeded(f"site {site}") for site in ("moscow", *TO)}
        shown = {signer.keyid: charter_key(signer, site, SITE_USES) for site, signer in keys.items()}
        members = {"lab": [*self.uses("lab"), "relocation"], "ngo": ["charter", "relocation"]}
        parties = {name: {"keys": {seeded(name).keyid: {"uses": uses}}} for name, uses in members.items()}
        self.before = replace(
            region(),
            sites={"moscow": place("moscow")} if source == Origin.SITE else {name: place(name) for name in TO},
            replicas=1,
            custody=Custody(mode=Mode.SITE),
        )
        sites = {"zurich-2": {"name": "Zurich, west", "jurisdiction": "CH"}}
        regions = {"au": encode(self.before)}
        super().__init__(parties={"acme": {"keys": shown}, **parties}, sites=sites, regions=regions, **changes)
        self.keys |= keys

    @staticmethod
    def uses(name: str) -> list[str]:
        from world import USES

        return USES[name]

    def open(self, **changes: Any) -> str:
        """The members open the move."""
        return self.amend({"regions": {"au": {"moving": encode(moving(self.source, **changes))}}})

    def closing(self) -> dict[str, Any]:
        """What the members amend to close it."""
        if self.source == Origin.STORE:
            return {"regions": {"au": {"moving": None}}}
        to = {name: encode(site) for name, site in moving().to.items()}
        return {"regions": {"au": {"moving": None, "replicas": 2, "sites": {"moscow": None, **to}}}}

    def closed(self) -> Closed:
        """The proof that they have."""
        return Closed(chain=self.history.chain, region="au", relocation=MOVE, site="moscow")


def closed() -> Closed:
    """The proof that a region has left moscow, in a world of its own."""
    world = Leaving()
    world.open()
    world.amend(world.closing())
    return world.closed()


__all__ = ["MOVE", "QUARANTINE", "TO", "WATCH", "Leaving", "closed", "digest", "moving", "place"]
