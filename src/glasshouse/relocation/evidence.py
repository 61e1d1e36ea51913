"""Assembling the evidence of a move from a ledger. Nothing here is trusted: the check repeats it all."""

from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.note import parse_note
from glasshouse_verify.relocation import Step
from glasshouse_verify.relocation_check import SCHEMA, RelocationEvidence

from glasshouse.ledger.evidence import Finder, Found, LedgerSource, basis
from glasshouse.ledger.history import History
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet


def assemble_relocation(source: LedgerSource, history: History, relocation: str) -> RelocationEvidence:
    """The evidence of a move, from what a history has seen of the ledger and the proofs of `source`.

    It shows every statement that counts and stands below the newest checkpoint of `source`, ended or not. Raises NotYet
    where no charter has opened such a move.
    """
    course = Course(history, relocation)
    region = course.region
    if region is None:
        raise NotYet(f"no charter in force lets a region move as {relocation}")
    checkpoint = source.checkpoint()
    find = Finder(source, parse_checkpoint(parse_note(checkpoint).text).size, history.pin)
    records = sorted((record for step in Step for record in course.records(step)), key=lambda record: record.index)
    shown = [Found(record.index, format_envelope(record.envelope)) for record in records if record.index < find.size]
    return RelocationEvidence(
        schema=SCHEMA,
        region=region,
        relocation=Identifier(relocation),
        steps=tuple(found.logged() for found in shown),
        **basis(find, checkpoint, shown),
    )
