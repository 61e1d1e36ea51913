"""Whether a receipt is honoured: decided offline from the pin, the receipt, its evidence and a time.

    {"amendments":[…],"checkpoint":"ledger.acme.example\\n1042\\n…","handovers":[],"hashes":"<base64>",
     "pin":"<id of the first charter>",
     "inventory":{"index":9,"predicate":{…},"signatures":[…]},"inspection":{…},
     "held":shard proof,"erased":shard proof,
     "schema":"glasshouse.receipt-evidence/v1"}

`held` and `erased` prove the receipt's handle in, or out of, the two trees of the inventory (see `shards`).
`inspection` is left out where no auditor has spoken yet, `erased` where the object is held. Six claims, of which the
first two carry the others (see `ground`):

    charter, ledger
    receipt     as many sites of the region as the charter asks for signed it, and it says what that charter says;
                of a region whose data moves, either the old site or those that take over from it
    inventory   a site of the region logged what it holds, after it took this object in, and its counts reconcile
    inspection  an auditor who stands with nobody there recomputed that inventory; an absence shows nothing without it
    object      it is held with the contents that the receipt names, or its tombstone says why it no longer is

The outcome is the first that applies of: not authorised (4), mismatch (3), undecided (5), verified (0).
"""

from dataclasses import dataclass
from functools import cached_property
from shlex import quote

from glasshouse_verify import ed25519
from glasshouse_verify.charter import Link, entitled, side, verified_keyids
from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import CharterError, FormatError, QuorumError, SignatureError, VerifyError
from glasshouse_verify.evidence import MAX_EVIDENCE, Basis, Logged
from glasshouse_verify.ground import Entry, Ground
from glasshouse_verify.receipt import Inspection, Inventory, Reason, Receipt, Tombstone, erasure_request
from glasshouse_verify.region import Region, regions_of
from glasshouse_verify.report import Claim, Mismatch, Report, Undecided, utc
from glasshouse_verify.shards import ShardProof, verify_shard
from glasshouse_verify.statement import Use, parse_statement

SCHEMA = "glasshouse.receipt-evidence/v1"
LIMITS = {
    "charter": "An amendment hidden by every status party at once is caught by monitors, not here.",
    "ledger": "A log shows what was said and by whom, not that it is true.",
    "receipt": "A receipt covers what was sent through the intake, and nothing that left by another way.",
    "inventory": "It is what the site says it holds as of its time; whether a newer one exists, auditors watch.",
    "inspection": "An auditor recomputes lists and counts; it has not read the objects themselves.",
    "object": "No cryptography shows that no copy exists; where the site stands is the charter's word.",
}
RECHECKS = {
    "charter": "glasshouse charter history --ledger {ledger}",
    "ledger": "glasshouse ledger fsck {ledger}",
    "receipt": "glasshouse receipt show RECEIPT",
    "inventory": "glasshouse ledger entry {check.the_inventory.index} --ledger {ledger}",
    "inspection": "glasshouse status alarms --ledger {ledger}",
    "object": "glasshouse receipt evidence RECEIPT --ledger {ledger}",
}


@dataclass(frozen=True, kw_only=True)
class ReceiptEvidence(Basis):
    """The parsed file. `inspection` is absent where no auditor has spoken yet."""

    schema: str = SCHEMA
    inventory: Logged
    inspection: Logged | None = None
    held: ShardProof
    erased: ShardProof | None = None


def parse_receipt_evidence(data: bytes) -> ReceiptEvidence:
    """Parse the evidence of a receipt strictly; raises FormatError naming the member."""
    evidence: ReceiptEvidence = decode(ReceiptEvidence, parse_json(data, "evidence", MAX_EVIDENCE), "evidence")
    return evidence


def format_receipt_evidence(evidence: ReceiptEvidence) -> bytes:
    """The canonical bytes of the evidence of a receipt."""
    return format_json(encode(evidence))


def must(holds: object, text: str, kind: type[VerifyError] = Mismatch) -> None:
    """Refuse a claim with this text where something does not hold."""
    if not holds:
        raise kind(text)


def check_receipt(pin: bytes, evidence: ReceiptEvidence, envelope: Envelope, at: int) -> Report:
    """Judge the receipt in `envelope` at Unix time `at`, given the pinned charter's payload.

    Raises FormatError where the pin, the receipt or a statement in the evidence does not parse.
    """
    check = _Check(pin, evidence, envelope, at)
    if all(check.holds(foundation) for foundation in (check.charter, check.ledger)):
        check.sound = check.holds(check.receipt)
        check.covered = check.holds(check.inventory)
        # A row that is there is there, in whatever order the others stand.
        if evidence.inspection is not None or evidence.held.row is None:
            check.inspected = check.holds(check.inspection)
        check.holds(check.object)
    return Report(claims=tuple(check.claims))


class _Check(Ground):
    limits = LIMITS
    sound = covered = inspected = False

    def __init__(self, pin: bytes, evidence: ReceiptEvidence, envelope: Envelope, at: int) -> None:
        super().__init__(pin, evidence)
        self.evidence, self.envelope, self.at = evidence, envelope, at
        statement = parse_statement(envelope.payload)
        if not isinstance(statement.predicate, Receipt):
            raise FormatError("receipt", "is another kind of statement")
        self.the_receipt = statement.predicate
        self.the_inventory = Entry(Use.INVENTORY, Inventory, evidence.inventory)
        shown = evidence.inspection
        self.the_inspection = None if shown is None else Entry(Use.INSPECTION, Inspection, shown)
        self.entries = [entry for entry in (self.the_inventory, self.the_inspection) if entry is not None]

    def recheck(self, name: str) -> str:
        return RECHECKS[name].format(ledger=quote(self.chain.newest.charter.ledger.url), check=self)

    # Claims

    def receipt(self) -> Claim:
        receipt, link, region = self.the_receipt, self.named, self.region
        category = region.categories.get(receipt.category)
        if category is None or category.retention != receipt.retention:
            raise CharterError(
                f"the charter that the receipt names keeps no {receipt.category} for {receipt.retention} s"
            )
        if receipt.country not in region.countries:
            raise CharterError(f"data of {receipt.country} does not belong to the region {receipt.region}")
        if receipt.epoch < region.epoch:
            raise CharterError(f"the region's rules are in force from epoch {region.epoch}, not {receipt.epoch}")
        self._check_dated("receipt", receipt.time)
        later = next((after for after in self.chain.links if after.charter.previous == link.id), None)
        if later is not None and receipt.time > later.charter.time + region.interval:
            raise CharterError(f"the receipt names charter {link.charter.version}, which another had replaced by then")
        if len(self.signed_at) < region.replicas:
            have = f"{len(self.signed_at)} of the {region.replicas} sites that the charter asks for"
            raise QuorumError(f"the receipt is signed by {have}")
        if receipt.site not in self.signed_at or region.sites[receipt.site].party != receipt.party:
            raise CharterError(f"no key of {receipt.party} at {receipt.site} signed the receipt")
        if len(self.envelope.signatures) != len(self.signed_at):
            raise CharterError("the receipt bears a signature of nobody who may sign it")
        where = ", ".join(f"{site} ({link.charter.sites[site].jurisdiction})" for site in sorted(self.signed_at))
        text = f"{where} took in {receipt.size} bytes for {receipt.customer}: {receipt.category}, kept until"
        by = tuple(sorted({region.sites[site].party for site in self.signed_at}))
        return Claim(text=f"{text} {utc(self.due)}", by=by, when=receipt.time)

    def inventory(self) -> Claim:
        entry, says, receipt, region = self.the_inventory, self.the_inventory.says, self.the_receipt, self.region_then
        site, keys = region.sites.get(says.site), self.chain.signers(entry.envelope, Use.INVENTORY, entry.index)
        held_at = [self.chain.newest.charter.key(kid) for kid in keys.get(says.party, [])]
        if site is None or site.party != says.party or says.site not in {key.site for key in held_at if key}:
            raise CharterError(f"no key of {says.party} at {says.site}, a site of the region, signed the inventory")
        if says.charter not in {link.id for link in self.chain.links if link.index < entry.index}:
            raise CharterError("the inventory was made under a charter that the evidence does not show")
        must(says.region == receipt.region, f"the inventory shown is of the region {says.region}", Undecided)
        if fault := says.counts.reconcile() or self._unlisted():
            raise Mismatch(f"the inventory's counts do not reconcile: {fault}")
        self._check_dated("inventory", says.time)
        self._check_cover()
        if self.at - says.time > 2 * region.interval:
            raise Undecided(f"the inventory of {utc(says.time)} is older than twice the {region.interval} s allowed")
        text = f"inventory {says.epoch} covers receipt {receipt.number} of {receipt.site}: {says.counts.held} held"
        return Claim(text=f"{text}, {says.counts.erased} erased", by=(says.party,), when=says.time)

    def _unlisted(self) -> str:
        says = self.the_inventory.says
        lists = (("held", says.held.size, says.counts.held), ("erased", says.erased.size, says.counts.erased))
        return "; ".join(f"{size} rows for {count} {name}" for name, size, count in lists if size != count)

    def _check_cover(self) -> None:
        """An inventory covers a receipt by its number; one that does not is overdue after two intervals."""
        says, receipt = self.the_inventory.says, self.the_receipt
        if receipt.number <= says.receipts.get(receipt.site, 0) and receipt.epoch <= says.epoch:
            return
        overdue = receipt.time + 2 * self.region.interval
        text = f"no inventory covers it yet; the one shown, number {says.epoch}, ends before receipt {receipt.number}"
        # The checkpoint shows how late it was when the evidence was made; old evidence is no one's fault.
        seen = max(says.time, self.claims[1].when or 0)
        must(min(seen, self.at) <= overdue, f"{text} although it was due by {utc(overdue)}")
        raise Undecided(text)

    def inspection(self) -> Claim:
        entry, inventory = self.the_inspection, self.the_inventory
        if entry is None:
            raise Undecided("no auditor has inspected this inventory")
        says, charter = entry.says, self.chain.at(entry.index).charter
        if says.party not in self.chain.signers(entry.envelope, Use.INSPECTION, entry.index):
            raise CharterError(f"no entitled key of {says.party} signed the inspection")
        at_sites = {site.party for site in self.region_then.sites.values()}
        sides = {side(charter, party) for party in at_sites if party in charter.parties}
        if says.party not in charter.status.parties or side(charter, says.party) in sides:
            raise CharterError(f"{says.party} is no auditor of this charter who is independent of the sites")
        must(inventory.id in says.inventories, "the inspection shown is of other inventories", Undecided)
        about = (inventory.says.region, inventory.says.epoch, inventory.says.held, inventory.says.erased)
        if (says.region, says.epoch, says.held, says.erased) != about:
            raise Mismatch(f"{says.party} found other rows than the inventory says")
        if len(says.inventories) < self.region_then.replicas:
            raise Undecided(f"{len(says.inventories)} of {self.region_then.replicas} sites were inspected")
        self._check_dated("inspection", says.time)
        sites = f"{len(says.inventories)} sites, which agree"
        text = f"{says.party} recomputed the rows, their order and the counts of {sites}"
        return Claim(text=text, by=(says.party,), when=says.time)

    def object(self) -> Claim:
        receipt, inventory, shown = self.the_receipt, self.the_inventory.says, self.evidence
        row = verify_shard(inventory.held, receipt.handle, shown.held)
        buried = None if shown.erased is None else verify_shard(inventory.erased, receipt.handle, shown.erased)
        if inventory.region != receipt.region or not self.sound:
            raise Undecided("nothing is said of the object, since the receipt or the inventory does not hold")
        if row is None:
            return self._absent(None if buried is None else decode(Tombstone, buried, "evidence.erased.row"))
        must(buried is None, "the inventory has it among the held and among the erased")
        must(row == receipt.row, "the inventory has another object under this handle: the commitments differ")
        self._check_due(inventory.time)
        text = f"it is held as of {utc(inventory.time)}, to be erased by {utc(self.due)}"
        return Claim(text=text, by=(inventory.party,), when=inventory.time)

    def _check_due(self, time: int) -> None:
        if time <= self.due:
            return
        kept = f"it was due for erasure on {utc(self.due)} and is held still"
        if on_hold := self.the_inventory.says.counts.on_hold:
            raise Undecided(f"{kept}; {on_hold} objects are under legal hold, whether it is one of them is not shown")
        must(time <= self.due + self.region.interval, kept)
        raise Undecided(f"{kept}; the next inventory has to show its tombstone")

    def _absent(self, tombstone: Tombstone | None) -> Claim:
        if tombstone is None and not (self.covered and self.inspected):
            raise Undecided("it is not among the held, and no inspected inventory that covers it is shown")
        if tombstone is None and self.evidence.erased is None:
            raise Undecided("it is not among the held; the evidence does not show whether it is among the erased")
        if tombstone is None:
            text = "it is neither among the held nor among the erased: it was lost"
            # Whoever stole keys can make receipts for objects that never were.
            must(not self.stopped, f"{text}, or the receipt is false: the keys on it were stopped", Undecided)
            raise Mismatch(text)
        self._check_reason(tombstone)
        if not self.inspected:
            raise Undecided("it was erased by right; that it is not held as well, no auditor has checked")
        removed, residue, time = tombstone.removed, tombstone.residue_until, self.the_inventory.says.time
        if residue is not None and time > residue + self.region.interval:
            raise Mismatch(f"it was to be irrecoverable by {utc(residue)} and is only removed")
        gone = "irrecoverable" if residue is None else f"removed; backups and logs may hold it until {utc(residue)}"
        text = f"it was erased on {utc(removed)} ({tombstone.reason}): {gone}"
        return Claim(text=text, by=(self.the_inventory.says.party,), when=time)

    def _check_reason(self, tombstone: Tombstone) -> None:
        """Refuse a tombstone that nothing justifies: it may cover a loss."""
        removed, receipt, shown = tombstone.removed, self.the_receipt, f"erased on {utc(tombstone.removed)}"
        if not receipt.time <= removed <= self.the_inventory.says.time:
            raise Mismatch(f"{shown}, before it came or after the inventory that says so")
        if tombstone.reason == Reason.RETENTION and removed < self.due:
            raise Mismatch(f"{shown} for the end of its time, which was {utc(self.due)}")
        if tombstone.reason == Reason.CATEGORY and not any(self._ends(link, removed) for link in self.chain.links):
            raise Mismatch(f"{shown} for the end of its category, which no charter had ended or shortened by then")
        if tombstone.reason == Reason.CUSTOMER:
            self._check_request(tombstone.request or b"")

    def _check_request(self, signature: bytes) -> None:
        receipt = self.the_receipt
        if receipt.customer_key is None:
            raise Mismatch("erased on a customer's request, but the receipt names no key that could sign one")
        try:
            public = ed25519.check_public(receipt.customer_key, "receipt.customer_key")
            ed25519.verify(public, erasure_request(receipt.handle), signature, receipt.customer)
        except SignatureError as error:
            raise Mismatch(f"erased on a customer's request that the customer did not sign: {error}") from None

    def _ends(self, link: Link, removed: int) -> bool:
        """Whether an amendment that the inventory could know had ended or shortened the category by `removed`."""
        if not self.named.index < link.index < self.the_inventory.index or link.charter.time > removed:
            return False
        region = regions_of(link.charter).get(self.the_receipt.region)
        category = None if region is None else region.categories.get(self.the_receipt.category)
        if category is None:
            return True
        return category.retention < self.the_receipt.retention and self.the_receipt.time + category.retention <= removed

    # What the steps share

    def _check_dated(self, what: str, time: int) -> None:
        must(time <= self.at, f"the {what} is dated {utc(time)}, after the time given ({utc(self.at)})", Undecided)

    @property
    def due(self) -> int:
        """When the object is to be erased."""
        return self.the_receipt.time + self.the_receipt.retention

    @cached_property
    def named(self) -> Link:
        """The charter that the receipt names."""
        found = [link for link in self.chain.links if link.id == self.the_receipt.charter]
        must(found, "the receipt names a charter that does not follow from the one you pinned", CharterError)
        return found[0]

    @cached_property
    def region(self) -> Region:
        """The receipt's region by the charter that the receipt names, as its site goes by it."""
        return _region(self.named, self.the_receipt.region).seen_from(self.the_receipt.site)

    @cached_property
    def region_then(self) -> Region:
        """The inventory's region by the charter in force at its index, as its site goes by it."""
        says = self.the_inventory.says
        return _region(self.chain.at(self.the_inventory.index), says.region).seen_from(says.site)

    @cached_property
    def signed_at(self) -> dict[Identifier, str]:
        """Site → the key with which it signed the receipt, for sites of the region by the charter that it names."""
        charter, found = self.named.charter, dict[Identifier, str]()
        for party, kids in entitled(charter, verified_keyids(charter, self.envelope), Use.RECEIPT).items():
            for kid in kids:
                key = charter.key(kid)
                site = None if key is None else self.region.sites.get(key.site)
                if key is not None and site is not None and site.party == party:
                    found[key.site] = kid
        return found

    @property
    def stopped(self) -> bool:
        """Whether every key on the receipt has been stopped since: receipts have no index that would date them."""
        keys = (self.chain.newest.charter.key(kid) for kid in self.signed_at.values())
        return all(key is not None and key.stops is not None for key in keys)


def _region(link: Link, name: str) -> Region:
    region = {str(known): rules for known, rules in regions_of(link.charter).items()}.get(name)
    if region is None:
        raise CharterError(f"charter {link.charter.version} has no region {name}")
    return region
