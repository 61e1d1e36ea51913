"""Assembling the evidence of a receipt from a ledger and a site. Nothing here is trusted: the check repeats it all."""

from collections.abc import Callable

from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import parse_note
from glasshouse_verify.receipt import Inspection, Inventory, Receipt
from glasshouse_verify.receipt_check import SCHEMA, ReceiptEvidence
from glasshouse_verify.shards import ShardProof
from glasshouse_verify.statement import parse_statement

from glasshouse.ledger.evidence import Finder, LedgerSource, basis

Prove = Callable[[str, str], tuple[ShardProof, ShardProof | None]]
"""(id of an inventory statement, handle) → proofs from its held and from its erased rows."""


def assemble_receipt(
    source: LedgerSource, pin: bytes, envelope: Envelope, inventory: str, prove: Prove
) -> ReceiptEvidence:
    """The evidence for a receipt from the inventory with this statement id and, if there is one, its inspection.

    Raises NotThere where the ledger has no such inventory yet, FormatError where the envelope holds no receipt.
    """
    receipt = parse_statement(envelope.payload).predicate
    if not isinstance(receipt, Receipt):
        raise FormatError("receipt", "is another kind of statement")
    checkpoint = source.checkpoint()
    find = Finder(source, parse_checkpoint(parse_note(checkpoint).text).size, pin)
    found = find.by_id(inventory, Inventory)
    status = find.chain.newest.charter.status.parties
    inspections = [i for i in find.standing(inventory, Inspection) if i.predicate.party in status]
    held, erased = prove(inventory, receipt.handle)
    return ReceiptEvidence(
        schema=SCHEMA,
        inventory=found.logged(),
        inspection=inspections[0].logged() if inspections else None,
        held=held,
        erased=erased,
        **basis(find, checkpoint, [found, *inspections[:1]]),
    )
