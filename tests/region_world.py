"""A region in memory beside the initiative of `world`: two sites, their keys, an auditor and a customer; no servers.

Receipts, inventories and inspections are signed by the keys a test chooses; trees, proofs and deltas are those of the
product's own code. What an honest pair of sites does is `take`, `erase`, `close` and `inspect`; a cheat passes changes.
"""

from dataclasses import dataclass, replace
from typing import Any

from glasshouse_verify.charter import apply_patch
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.receipt import (
    Counts,
    Inspection,
    Inventory,
    Reason,
    Receipt,
    Tombstone,
    erasure_request,
)
from glasshouse_verify.receipt_check import ReceiptEvidence, check_receipt
from glasshouse_verify.report import Outcome, Report
from glasshouse_verify.row import Row, format_row
from glasshouse_verify.shards import Sharded, ShardProof
from glasshouse_verify.statement import Use, make_statement
from glasshouse_verify.tlog import leaf_hash
from region_examples import region
from world import DAY, NOW, World, charter_key, digest, seeded

from glasshouse.ledger.receipt_evidence import assemble_receipt
from glasshouse.regions.delta import Delta, HeldRow, format_delta
from glasshouse.regions.shards import ShardTree, shard_root

SITES = ("zurich-1", "zurich-2")
YEAR = 31_536_000
DEPTH = 2
SITE_USES = ["receipt", "inventory", "access"]


@dataclass
class Rows:
    """Held rows and tombstones by handle, and their trees."""

    held: dict[str, Row]
    erased: dict[str, Row]
    depth: int | None = None

    def tree(self, rows: dict[str, Row]) -> ShardTree:
        shards: dict[str, list[bytes]] = {}
        depth = self.depth or DEPTH
        for key in sorted(rows):
            shards.setdefault(key[:depth], []).append(leaf_hash(format_row(rows[key])))
        return ShardTree(depth, ((prefix, *shard_root(leaves)) for prefix, leaves in shards.items()))

    def sharded(self) -> tuple[Sharded, Sharded]:
        return self.tree(self.held).sharded, self.tree(self.erased).sharded

    def prove(self, handle: str) -> tuple[ShardProof, ShardProof]:
        proofs, depth = [], self.depth or DEPTH
        for rows in (self.held, self.erased):
            shard = [rows[key] for key in sorted(rows) if key[:depth] == handle[:depth]]
            proofs.append(self.tree(rows).prove(shard, handle))
        return proofs[0], proofs[1]

    def copy(self) -> "Rows":
        return Rows(dict(self.held), dict(self.erased), self.depth)


class RegionWorld(World):
    """The initiative with the region `au`. Nothing is logged until `close`."""

    def __init__(self, **changes: Any) -> None:
        self.customer = seeded("kookaburra")
        site_keys = {site: seeded(site) for site in (*SITES, "bern-site")}
        keys = {
            signer.keyid: charter_key(signer, site, SITE_USES) for site, signer in site_keys.items() if site in SITES
        }
        lab = seeded("lab").keyid
        second = seeded("second").keyid
        uses = {"uses": ["commit", "rebuild", "status", "hold", "finding", "inspection"]}
        patch = {
            "parties": {
                "acme": {"keys": keys},
                "lab": {"keys": {lab: {"uses": [*uses["uses"], "charter"]}}},
                "second": {"keys": {second: uses}},
                "council": {"name": "Council", "roles": [], "keys": {}},
            },
            "sites": {"zurich-2": {"name": "Zurich, west", "jurisdiction": "CH"}},
            "regions": {"au": encode(region())},
        }
        super().__init__(**apply_patch(patch, changes))
        self.keys |= site_keys
        self.rows, self.numbers, self.journals = Rows({}, {}), dict.fromkeys(SITES, 0), dict.fromkeys(SITES, 0)
        self.refused = 0
        self.epoch = 0
        self.receipts: dict[str, Receipt] = {}
        self.shown: dict[str, Rows] = {}
        self.last: dict[str, str] = {}
        self._before = self.rows.copy()

    # What sites do

    def take(self, content: bytes = b"suspicious file", *signers: str, **changes: Any) -> Envelope:
        """Take an object in at zurich-1; returns its receipt, signed by both sites or by `signers`."""
        site = changes.get("site", "zurich-1")
        self.numbers[site] = self.numbers.get(site, 0) + 1
        self.journals[site] = self.journals.get(site, 0) + 1
        number = self.numbers[site]
        fields: dict[str, Any] = {
            "party": "acme",
            "region": "au",
            "site": site,
            "country": "AU",
            "customer": "kookaburra",
            "epoch": self.epoch + 1,
            "number": number,
            "handle": digest(b"handle %d of %s" % (number, site.encode())),
            "salt": digest(b"salt %d" % number),
            "sha256": digest(content),
            "size": len(content),
            "category": "suspicious",
            "retention": YEAR,
            "charter": self.history.chain.newest.id,
            "time": self.now,
            "customer_key": self.customer.public,
        }
        receipt = Receipt(**(fields | changes))
        self.receipts[receipt.handle] = receipt
        self.rows.held[receipt.handle] = receipt.row
        return self.envelope(make_statement(Use.RECEIPT, receipt), *(signers or SITES))

    def erase(self, envelope: Envelope, reason: Reason = Reason.RETENTION, **changes: Any) -> Tombstone:
        """Erase an object at both sites; its residue is gone after 30 days."""
        handle = receipt_of(envelope).handle
        request = self.customer.sign(erasure_request(handle)) if reason == Reason.CUSTOMER else None
        fields = {"key": handle, "reason": reason, "removed": self.now, "residue_until": self.now + 30 * DAY}
        tombstone = Tombstone(**(fields | {"request": request} | changes))
        self.rows.held.pop(handle, None)
        self.rows.erased[handle] = encode(tombstone)
        self.journals["zurich-1" if "zurich-1" in self.journals else next(iter(self.journals))] += 1
        return tombstone

    def counts(self) -> Counts:
        stored, erased = sum(self.numbers.values()), len(self.rows.erased)
        return Counts(
            received=stored + self.refused,
            refused=self.refused,
            stored=stored,
            pending=stored - erased,
            analysed=0,
            dead=0,
            erased_before_analysis=erased,
            erased=erased,
            held=stored - erased,
            on_hold=0,
        )

    def delta(self) -> Delta:
        before, now = self._before, self.rows
        came = {key: row for key, row in now.held.items() if key not in before.held}
        went = {key: row for key, row in now.erased.items() if key not in before.erased}
        for key in went:
            if key not in before.held and key in self.receipts:
                came[key] = self.receipts[key].row
        changed = [row for key, row in now.erased.items() if key in before.erased and before.erased[key] != row]
        return Delta(
            region="au",
            epoch=self.epoch,
            added=tuple(HeldRow(key=key, commitment=came[key]["commitment"]) for key in sorted(came)),
            removed=tuple(tombstone_of(went[key]) for key in sorted(went)),
            changed=tuple(sorted(map(tombstone_of, changed), key=lambda row: row.key)),
        )

    def close(self, *sites: str, signers: tuple[str, ...] = (), **changes: Any) -> list[str]:
        """Close an epoch: each site (of `sites`) logs its inventory; returns the statements' ids."""
        self.epoch += 1
        delta = format_delta(self.delta())
        self.blobs[digest(delta)] = delta
        held, erased = self.rows.sharded()
        found = []
        for site in sites or SITES:
            fields: dict[str, Any] = {
                "party": "acme",
                "region": "au",
                "site": site,
                "epoch": self.epoch,
                "held": held,
                "erased": erased,
                "delta": digest(delta),
                "journals": dict(self.journals),
                "receipts": dict(self.numbers),
                "counts": self.counts(),
                "charter": self.history.chain.newest.id,
                "time": self.now,
                "previous": self.last.get(site),
            }
            inventory = Inventory(**(fields | changes))
            identity = self.post(make_statement(Use.INVENTORY, inventory), *(signers or (site,)))
            self.last[site] = identity
            self.shown[identity] = self.rows.copy()
            found.append(identity)
        self._before = self.rows.copy()
        return found

    def inspect(self, *signers: str, **changes: Any) -> str:
        """An auditor's inspection of the newest inventories, whatever they say; returns its id."""
        newest = self.statement(next(iter(self.last.values())))
        fields: dict[str, Any] = {
            "party": "lab",
            "region": "au",
            "epoch": newest.epoch,
            "inventories": tuple(sorted(self.last.values())),
            "held": newest.held,
            "erased": newest.erased,
            "time": self.now,
        }
        return self.post(make_statement(Use.INSPECTION, Inspection(**(fields | changes))), *(signers or ("lab",)))

    # What customers do

    def receipt_evidence(self, envelope: Envelope, rows: Rows | None = None) -> ReceiptEvidence:
        """Assembled as for a customer, from the ledger and the newest inventory's rows."""
        newest = next(iter(self.last.values()))

        def prove(inventory: str, handle: str) -> tuple[ShardProof, ShardProof]:
            return (rows or self.shown[inventory]).prove(handle)

        return assemble_receipt(self, self.pin, envelope, newest, prove)

    def check(self, envelope: Envelope, evidence: ReceiptEvidence | None = None, at: int | None = None) -> Report:
        evidence = evidence or self.receipt_evidence(envelope)
        return check_receipt(self.pin, evidence, envelope, self.now if at is None else at)

    def honest_receipt(self) -> Envelope:
        """One object among others, taken, inventoried and inspected within a day."""
        for number in range(5):
            self.take(b"other %d" % number)
        mine = self.take()
        self.take(b"at the other site", site="zurich-2")
        self.later(DAY // 2)
        self.close()
        self.inspect()
        return mine

    def later(self, seconds: int) -> None:
        self.now += seconds


def receipt_of(envelope: Envelope) -> Receipt:
    from glasshouse_verify.statement import parse_statement

    receipt: Receipt = parse_statement(envelope.payload).predicate
    return receipt


def tombstone_of(row: Row) -> Tombstone:
    from glasshouse_verify.codec import decode

    tombstone: Tombstone = decode(Tombstone, row, "tombstone")
    return tombstone


def altered(envelope: Envelope, world: World, *signers: str, **changes: Any) -> Envelope:
    """A receipt with other members, signed anew."""
    return world.envelope(make_statement(Use.RECEIPT, replace(receipt_of(envelope), **changes)), *(signers or SITES))


def pages() -> dict[str, Any]:
    """Name → what a page of the specification shows of a receipt's evidence and of an epoch's delta."""
    world = RegionWorld()
    mine, kept = world.take(b"erased"), world.take()
    world.close()
    world.later(DAY)
    world.erase(mine, Reason.CUSTOMER)
    world.take(b"new")
    world.close()
    world.inspect()
    delta = world.blobs[world.statement(next(iter(world.last.values()))).delta]
    return {"receipt-evidence": encode(world.receipt_evidence(kept)), "inventory-delta": delta.decode()}


def says(report: Report) -> dict[str, str]:
    return {claim.claim: claim.text for claim in report.claims}


def refused(report: Report, claim: str, outcome: Outcome, words: str) -> None:
    found = {c.claim: (c.outcome, c.text) for c in report.claims if c.outcome}
    assert claim in found, found
    assert found[claim][0] == outcome, found[claim]
    assert words in found[claim][1]


__all__ = ["DAY", "NOW", "SITES", "YEAR", "RegionWorld", "altered", "pages", "receipt_of", "refused", "says"]
