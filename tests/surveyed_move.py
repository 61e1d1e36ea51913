"""A move of a region whose inventories go into a ledger in memory, with an auditor who follows: real sites."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from customers import KEY
from glasshouse_verify.charter import apply_patch
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope
from glasshouse_verify.receipt import Inventory, Reason, erasure_request
from glasshouse_verify.receipt_check import ReceiptEvidence, check_receipt
from glasshouse_verify.region import Region
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.report import Report
from glasshouse_verify.shards import ShardProof
from glasshouse_verify.statement import Use, make_statement
from ledgers import until
from moves import MOVE, NEW, OLD, Departure, Move, moving
from onlookers import alarms
from sites import Site, receipt_of
from world import World, digest, seeded

from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.receipt_evidence import assemble_receipt
from glasshouse.regions import journal
from glasshouse.regions.erasing import removal, residue_seconds
from glasshouse.regions.inventory import Inventories
from glasshouse.regions.inventory_tables import commitments, load_trees, prove
from glasshouse.storage.db import Database
from glasshouse.supervision.auditor import Auditor
from glasshouse.supervision.inventories import Books

USES = ["commit", "rebuild", "status", "hold", "finding", "inspection"]


@dataclass
class Inspected(Departure):
    """The charter's auditor may sign inspections, and moscow what it says of the move."""

    interval: int = 86_400

    def everywhere(self) -> Region:
        return replace(super().everywhere(), interval=self.interval)

    def _changes(self) -> dict[str, Any]:
        more = {"keys": {self.signers[OLD].keyid: {"uses": ["receipt", "inventory", "access", "relocation"]}}}
        parties = {"acme": more, "lab": {"keys": {seeded("lab").keyid: {"uses": [*USES, "charter"]}}}}
        return {**apply_patch(super()._changes(), {"parties": parties}), "time": int(time.time()) - 60}


@dataclass
class Surveyed:
    """The move, its ledger, and what each site would log."""

    move: Move
    books: Books
    inventories: dict[str, Inventories] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)

    @property
    def world(self) -> World:
        return self.move.ground.world

    def __post_init__(self) -> None:
        self.world.now = int(time.time())
        self.survey(OLD)
        self.auditor = Auditor(
            "lab",
            self.world.keys["lab"],
            self.world,  # type: ignore[arg-type]
            self.world.history,
            proposes=False,
            has_blob=self.world.blobs.__contains__,
            get_blob=self.blob,
            books=self.books,
        )

    def blob(self, sha: str) -> bytes:
        if sha not in self.world.blobs:
            raise NotThere(sha)
        return self.world.blobs[sha]

    def survey(self, *names: str) -> None:
        for name in names:
            site = self.move.sites[name]
            self.inventories[name] = Inventories(site.place, site.intake.committer.append)

    def open(self) -> None:
        self.move.open()
        self.survey(*NEW)

    def close(self, leader: str = OLD, *followers: str) -> int:
        """Close an epoch that a site announces, at all of these sites; log what they log, and let the auditor look."""
        until(lambda: self.known(leader, *followers), 60)
        self.inventories[leader].turn(self.world.now, at_once=True)
        epoch = self.inventories[leader].last().epoch
        for follower in followers:
            self.follow(follower, epoch)
        self.log()
        for posting in self.auditor.step(self.world.now):
            self.world.post_entry(format_envelope(posting.envelope))
        return epoch

    def follow(self, name: str, epoch: int) -> None:
        def followed() -> bool:
            self.inventories[name].turn(self.world.now)
            return self.inventories[name].last().epoch >= epoch

        until(followed, 60)

    def known(self, *names: str) -> bool:
        """Whether each of these sites has the others' journals as they are."""
        heads = {name: journal.heads(self.move.sites[name].place.database) for name in names}
        return all(
            own == heads[name][other].chain
            for other in names
            for own in [heads[other][other].chain]
            for name in names
            if other in heads[name]
        )

    def log(self) -> list[str]:
        """Post what the sites have closed; who has said something."""
        said = []
        for name, inventories in self.inventories.items():
            for found in inventories.unposted():
                self.world.blobs[digest(found.delta)] = found.delta
                self.last[name] = self.world.post_entry(found.entry)
                inventories.posted(found.epoch)
                said.append(name)
        return said

    def said(self) -> dict[int, dict[str, Inventory]]:
        """The inventories in the ledger, by epoch and site."""
        found: dict[int, dict[str, Inventory]] = {}
        for record in self.world.history.standing(Use.INVENTORY):
            found.setdefault(record.predicate.epoch, {})[record.predicate.site] = record.predicate
        return found

    def fence(self) -> None:
        """Moscow stops, closes its last inventory with the others, and says so."""
        self.move.wait()
        self.move.fence()
        self.close(OLD, *NEW)
        newest: Inventory = self.world.history.records[self.last[OLD]].predicate
        says = Relocation(
            party="acme",
            region="au",
            relocation=MOVE,
            step=Step.FENCE,
            time=self.world.now,
            previous=(digest(b"the listing"),),
            site=OLD,
            epoch=newest.epoch,
            rows=newest.held,
            size=0,
            refused=0,
            at_ms=self.world.now * 1_000,
            inventory=self.last[OLD],
        )
        payload = make_statement(Use.RELOCATION, says)
        self.world.keys[OLD] = self.move.ground.signers[OLD]
        self.world.post(payload, OLD)

    def upload(self, content: bytes, at: str = OLD, **changes: Any) -> Envelope:
        stored = self.move.sites[at].upload(content, **({"customer_key": KEY.public} | changes))
        self.world.now = max(self.world.now, receipt_of(stored.receipt).time)
        return parse_envelope(stored.receipt)

    def erase(self, envelope: Envelope, at: str, reason: Reason = Reason.CUSTOMER) -> None:
        """Remove an object by a site's own journal."""
        handle, site = receipt_of(format_envelope(envelope)).handle, self.move.sites[at]
        request = KEY.sign(erasure_request(handle)) if reason == Reason.CUSTOMER else None
        with site.place.database.transaction() as connection:
            commitment = commitments(connection, "au", [handle])[handle]
        residue = residue_seconds(site.place.rules(), self.world.now)
        note = removal(handle, reason, commitment=commitment, now=self.world.now, request=request, residue=residue)
        site.intake.committer.append(note).result(60)

    def prove(self, handle: str, at: str) -> tuple[ShardProof, ShardProof]:
        """As the site would."""
        with self.move.sites[at].place.database.transaction() as connection:
            return prove(connection, load_trees(connection), handle)

    def evidence(self, envelope: Envelope, at: str) -> ReceiptEvidence:
        newest = self.last[at]
        return assemble_receipt(self.world, self.world.pin, envelope, newest, lambda _, handle: self.prove(handle, at))

    def check(self, envelope: Envelope, at: str) -> Report:
        return check_receipt(self.world.pin, self.evidence(envelope, at), envelope, self.world.now)

    def alarms(self) -> dict[str, list[str]]:
        found = alarms(self.world)
        return {rule: texts for rule, texts in found.items() if not rule.startswith("relocation")}

    def objects(self, site: Site) -> int:
        return len(list(site.place.vault.handles()))


@contextlib.contextmanager
def surveyed(directory: Path, *databases: Database, **changes: Any) -> Iterator[Surveyed]:
    """Moscow takes, and closes its epochs when told to; the new sites have not been started."""
    with (
        Books(directory / "books.sqlite3") as books,
        moving(directory, *databases, ground=Inspected, **changes) as move,
    ):
        yield Surveyed(move, books)
