"""The digests by which a statement is found."""

from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.statement import Statement

# How many entries one look-up answers; the rest are asked for by the last index answered.
MAX_LOOKUP = 10_000


def named_digests(statement: Statement) -> frozenset[str]:
    """Its own id and every SHA-256 that it names: what it can be looked up by, and which blobs may be stored."""
    found = {statement_id(statement.payload)}
    stack: list[object] = [[digest for _, digest in statement.subject], encode(statement.predicate)]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
        elif isinstance(value, str) and len(value) == 64 and not value.strip("0123456789abcdef"):
            found.add(value)
    return frozenset(found)
