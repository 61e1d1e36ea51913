"""Two real sites whose inventories go into a ledger in memory: a charter that names them, an auditor who follows."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope
from glasshouse_verify.receipt import Reason, erasure_request
from glasshouse_verify.receipt_check import ReceiptEvidence
from glasshouse_verify.region import Region
from glasshouse_verify.shards import ShardProof
from gotools import free_port
from ledgers import until
from region_world import RegionWorld
from sites import Ground, Site, receipt_of, running_region
from world import digest

from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.receipt_evidence import assemble_receipt
from glasshouse.regions import journal
from glasshouse.regions.erasing import removal
from glasshouse.regions.inventory import Inventories
from glasshouse.regions.inventory_tables import commitments, load_trees, prove
from glasshouse.regions.placing import SiteRules
from glasshouse.storage.db import Database
from glasshouse.supervision.auditor import Auditor
from glasshouse.supervision.inventories import Books


@dataclass
class Chartered(Ground):
    """The ground of two sites that go by the charter of a ledger."""

    charter: str = ""
    public_ports: dict[str, int] = field(default_factory=dict)

    def region(self) -> Region:
        """The same, with addresses for customers."""
        region = super().region()
        for name in self.names:
            self.public_ports.setdefault(name, free_port())
        sites = {
            name: replace(site, url=f"http://127.0.0.1:{self.public_ports[name]}")
            for name, site in region.sites.items()
        }
        return replace(region, sites=sites)

    def rules(self, name: str) -> SiteRules:
        return replace(super().rules(name), charter=self.charter)


class Surveyed(RegionWorld):
    """The ledger; `receipts` are those of real sites."""

    def __init__(self, ground: Chartered, books: Books, **changes: Any) -> None:
        super().__init__(regions={"au": encode(ground.region())}, **changes)
        ground.charter = self.history.chain.newest.id
        self.auditor = Auditor(
            "lab",
            self.keys["lab"],
            self,  # type: ignore[arg-type]
            self.history,
            proposes=False,
            has_blob=self.blobs.__contains__,
            get_blob=self.get,
            books=books,
        )

    def get(self, sha: str) -> bytes:
        if sha not in self.blobs:
            raise NotThere(sha)
        return self.blobs[sha]

    def audit(self) -> None:
        """Let the auditor log what follows."""
        for posting in self.auditor.step(self.now):
            self.post_entry(format_envelope(posting.envelope))


@dataclass
class Pair:
    """Both sites, their inventories and the ledger."""

    world: Surveyed
    sites: tuple[Site, Site]
    inventories: tuple[Inventories, Inventories] = field(init=False)

    def __post_init__(self) -> None:
        one, other = (Inventories(site.place, site.intake.committer.append) for site in self.sites)
        self.inventories = (one, other)

    def caught_up(self) -> bool:
        """Whether each site has the other's whole journal."""
        heads = [journal.heads(site.place.database) for site in self.sites]
        return {name: head.chain for name, head in heads[0].items()} == {
            name: head.chain for name, head in heads[1].items()
        }

    def close(self, *, audit: bool = True) -> int:
        """Close an epoch at both sites, log it, and let the auditor look; returns its number."""
        until(self.caught_up, 60)
        self.inventories[0].turn(self.world.now, at_once=True)
        epoch = self.inventories[0].last().epoch

        def followed() -> bool:
            self.inventories[1].turn(self.world.now)
            return self.inventories[1].last().epoch == epoch

        until(followed, 60)
        self.log()
        if audit:
            self.world.audit()
        return epoch

    def log(self) -> None:
        """Post what the sites have closed."""
        for site, inventories in zip(self.sites, self.inventories, strict=True):
            for found in inventories.unposted():
                self.world.blobs[digest(found.delta)] = found.delta
                self.world.last[site.name] = self.world.post_entry(found.entry)
                inventories.posted(found.epoch)

    def upload(self, content: bytes, at: int = 0, **changes: Any) -> Envelope:
        """An object of a customer who holds a key."""
        key = {"customer_key": self.world.customer.public} | changes
        stored = self.sites[at].upload(content, **key)
        self.world.now = max(self.world.now, receipt_of(stored.receipt).time)
        return parse_envelope(stored.receipt)

    def erase(self, envelope: Envelope, at: int = 0, reason: Reason = Reason.CUSTOMER, **changes: Any) -> None:
        """Remove an object by the site's own journal."""
        handle, site = receipt_of(format_envelope(envelope)).handle, self.sites[at]
        request = self.world.customer.sign(erasure_request(handle)) if reason == Reason.CUSTOMER else None
        with site.place.database.transaction() as connection:
            commitment = commitments(connection, "au", [handle])[handle]
        fields = {"commitment": commitment, "now": self.world.now, "request": request} | changes
        site.intake.committer.append(removal(handle, reason, **fields)).result(60)

    def prove(self, handle: str, at: int = 0) -> tuple[ShardProof, ShardProof]:
        """As the site would."""
        with self.sites[at].place.database.transaction() as connection:
            return prove(connection, load_trees(connection), handle)

    def evidence(self, envelope: Envelope, at: int = 0) -> ReceiptEvidence:
        """As `glasshouse receipt evidence` gathers it."""
        newest = self.world.last[self.sites[at].name]
        return assemble_receipt(
            self.world, self.world.pin, envelope, newest, lambda _inventory, handle: self.prove(handle, at)
        )


@contextlib.contextmanager
def surveyed(directory: Path, *databases: Database, **changes: Any) -> Iterator[Pair]:
    """Run both sites. The ledger's clock goes by the world's, beginning with the receipts' own."""
    ground = Chartered(directory)
    with Books(directory / "books.sqlite3") as books:
        world = Surveyed(ground, books, time=int(time.time()) - 60, **changes)
        world.now = int(time.time())
        with running_region(ground, *databases) as sites:
            yield Pair(world, sites)
