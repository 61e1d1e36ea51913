"""What a region's sites say of the data they hold: receipts and inventories; and what an auditor found.

A receipt goes to the customer and not into the ledger; everything else is logged. The public sees of an object its
handle, a random number, and a commitment that only the holder of the receipt can open:

    row of an inventory     {"commitment":SHA-256(salt ‖ {"category",…,"size"}),"key":handle}
    row of the tombstones   {"key":handle,"reason":"retention","removed":1795291443,"residue_until":1797883443}

Importing this module makes `parse_statement` know these kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from glasshouse_verify.codec import Country, Digest, Identifier, PublicKey
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.row import Row
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Subject, Use, register

# Why an object was removed: its time was up, its customer asked, or an amendment ended or shortened its category.
Reason = StrEnum("Reason", "RETENTION CUSTOMER CATEGORY")


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A site took an object in. Signed by as many sites of the region as the charter asks for: each then holds it.

    `number` counts the site's receipts without a gap, `epoch` is the first inventory that shows the object, `retention`
    is in seconds, `salt` opens the commitment, `customer_key` signs the customer's own requests to erase.
    """

    party: Identifier
    region: Identifier
    site: Identifier
    country: Country
    customer: Identifier
    epoch: int
    number: int
    handle: Digest
    salt: Digest
    sha256: Digest
    size: int
    category: Identifier
    retention: int
    charter: Digest
    time: int
    customer_key: PublicKey | None = None

    @property
    def commitment(self) -> Digest:
        """What the inventories show of the object beside its handle."""
        shown = ("category", "customer", "region", "retention", "sha256", "size")
        opened = format_json({name: getattr(self, name) for name in shown})
        return Digest(sha256(bytes.fromhex(self.salt) + opened).hexdigest())

    @property
    def row(self) -> Row:
        """The object's row in every inventory until it is erased."""
        return {"commitment": self.commitment, "key": self.handle}

    def subjects(self) -> list[Subject]:
        """The commitment."""
        return [("object", self.commitment)]


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """A row of the tombstones. Copies in backups and logs may be readable until `residue_until`; then it is left out.

    `request` is the customer's signature over `erasure_request`.
    """

    key: Digest
    reason: Reason
    removed: int
    residue_until: int | None = None
    request: bytes | None = None

    def __post_init__(self) -> None:
        if (self.reason == Reason.CUSTOMER) != (self.request is not None):
            raise FormatError("tombstone.request", "stands with the reason customer, and only there")


def erasure_request(handle: str) -> bytes:
    """What a customer signs to have an object erased."""
    return f"glasshouse erasure v1\n{handle}\n".encode()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Objects of a region since it began; the equations of `reconcile` hold between them."""

    received: int
    refused: int
    stored: int
    pending: int
    analysed: int
    dead: int
    erased_before_analysis: int
    erased: int
    held: int
    on_hold: int

    def reconcile(self) -> str:
        """The equation that does not hold, in words; empty where all do."""
        if self.received != self.refused + self.stored:
            return f"{self.received} received are not {self.refused} refused and {self.stored} stored"
        parts = self.pending + self.analysed + self.dead + self.erased_before_analysis
        if self.stored != parts:
            return f"{self.stored} stored are not {parts} pending, analysed, dead or erased before analysis"
        if self.held != self.stored - self.erased:
            return f"{self.held} held are not {self.stored} stored less {self.erased} erased"
        return ""


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What a region held when `epoch` was closed, as one of its sites has it; the sites' inventories must agree.

    `journals` says how far each site's journal was taken in, `receipts` which was its last receipt number by then.
    `delta` is the blob with the rows that came and went since the `previous` inventory of this site.
    """

    party: Identifier
    region: Identifier
    site: Identifier
    epoch: int
    held: Sharded
    erased: Sharded
    delta: Digest
    journals: Mapping[Identifier, int]
    receipts: Mapping[Identifier, int]
    counts: Counts
    charter: Digest
    time: int
    previous: Digest | None = None

    def __post_init__(self) -> None:
        if (self.epoch == 1) != (self.previous is None):
            raise FormatError("inventory.previous", "names the inventory before, in every one but the first")

    def subjects(self) -> list[Subject]:
        """The rows that came and went."""
        return [(f"{self.region}@{self.epoch}", self.delta)]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """An auditor recomputed the inventories named: order of all rows, continuity with the epoch before, and counts."""

    party: Identifier
    region: Identifier
    epoch: int
    inventories: tuple[Digest, ...]
    held: Sharded
    erased: Sharded
    time: int

    def __post_init__(self) -> None:
        if not self.inventories or list(self.inventories) != sorted(set(self.inventories)):
            raise FormatError("inspection.inventories", "must be sorted, each once, at least one")

    def subjects(self) -> list[Subject]:
        """The inventories."""
        return [("inventory", inventory) for inventory in self.inventories]


register(Use.RECEIPT, Receipt)
register(Use.INVENTORY, Inventory)
register(Use.INSPECTION, Inspection)
