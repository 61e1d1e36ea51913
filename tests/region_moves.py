"""A region in memory whose data moves from `moscow` to the two sites in Zurich: what all three say, and when."""

from typing import Any

from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.region import Moving, Origin
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.statement import Use, make_statement
from region_examples import region
from region_world import DAY, SITE_USES, SITES, RegionWorld
from world import charter_key, digest, seeded

MOVE, OLD = "au-2026", "moscow"


class MovingWorld(RegionWorld):
    """Honest as long as a test passes no changes: `open_move`, `fence`, `close_move`."""

    def __init__(self) -> None:
        moscow = seeded(OLD)
        keys = {moscow.keyid: charter_key(moscow, OLD, [*SITE_USES, "relocation"])}
        there = region().sites["zurich-1"]
        sites = {OLD: encode(there), **dict.fromkeys(SITES)}
        patch: dict[str, Any] = {
            "parties": {"acme": {"keys": keys}},
            "sites": {OLD: {"name": "Moscow", "jurisdiction": "RU"}},
            "regions": {"au": {"sites": sites, "replicas": 1}},
        }
        super().__init__(**patch)
        self.keys[OLD] = moscow
        self.numbers, self.journals = {OLD: 0}, {OLD: 0}

    def take_at(self, site: str, *signers: str, **changes: Any) -> Envelope:
        """An object, taken at a site, with the receipt that its charter asks for."""
        content = changes.pop("content", b"an object of %s" % site.encode())
        usual = (OLD,) if site == OLD else SITES
        return self.take(content, *(signers or usual), site=site, **changes)

    def open_move(self) -> str:
        moving = Moving(
            id=MOVE,
            source=Origin.SITE,
            site=OLD,
            to={site: region().sites[site] for site in SITES},
            replicas=2,
            due=self.now + 90 * DAY,
            quarantine=7 * DAY,
            watch=30 * DAY,
            supervisor="lab",
        )
        return self.amend({"regions": {"au": {"moving": encode(moving)}}})

    def close_move(self) -> str:
        sites = {OLD: None, **{site: encode(region().sites[site]) for site in SITES}}
        return self.amend({"regions": {"au": {"sites": sites, "replicas": 2, "moving": None}}})

    def close_epoch(self, *sites: str, **changes: Any) -> list[str]:
        """An inventory of each of these sites, after `DAY` / 2."""
        self.later(DAY // 2)
        for site in sites:
            if OLD in self.last:
                self.last.setdefault(site, self.last[OLD])
        return self.close(*sites, **changes)

    def fence(self, **changes: Any) -> str:
        """What moscow says, once its last inventory is closed."""
        newest = self.statement(self.last[OLD])
        fields: dict[str, Any] = {
            "party": "acme",
            "region": "au",
            "relocation": MOVE,
            "step": Step.FENCE,
            "time": self.now,
            "previous": (digest(b"the listing"),),
            "site": OLD,
            "epoch": newest.epoch,
            "rows": newest.held,
            "size": 0,
            "refused": 0,
            "at_ms": self.now * 1_000,
            "inventory": self.last[OLD],
        }
        return self.post(make_statement(Use.RELOCATION, Relocation(**(fields | changes))), OLD)

    def leave(self) -> None:
        """Moscow says nothing more: inspections and evidence are about Zurich's inventories."""
        self.last = {site: identity for site, identity in self.last.items() if site != OLD}
        for site in SITES:
            self.numbers.setdefault(site, 0)
            self.journals.setdefault(site, 0)
