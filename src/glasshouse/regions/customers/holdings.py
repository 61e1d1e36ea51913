"""What one customer has sent to its region, as one of the sites knows it. Another customer's objects do not exist here.

A list is paged by a cursor, time and handle of the last object shown: `1800000000.9f2c…`.
"""

import re
from dataclasses import dataclass

from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import parse_statement

from glasshouse.regions import receipts
from glasshouse.regions.customers.accounts import QUERIES
from glasshouse.regions.errors import InvalidInput
from glasshouse.storage.db import Database, Row

MAX_LISTED = 1_000
_HANDLE_BYTES = 32
_HANDLE = re.compile(r"[0-9a-f]{64}")
_COLUMNS = (
    *("handle", "site", "number", "state", "customer", "country", "customer_key", "sha256", "size", "category"),
    *("retention", "epoch", "charter", "party", "salt", "taken", "sealed_sha256", "sealed_size", "signatures"),
    "on_hold",
)


@dataclass(frozen=True, kw_only=True)
class Holding:
    """One object. `sha256` is gone once it is removed; `time` is in Unix seconds, `retention` in seconds."""

    handle: str
    site: str
    number: int
    state: str
    time: int | None = None
    category: str | None = None
    size: int | None = None
    retention: int | None = None
    sha256: str | None = None
    on_hold: bool = False


@dataclass(frozen=True, kw_only=True)
class Owned:
    """An object that the customer has: unless it is removed, its receipt, and the key that signs for its erasure."""

    handle: str
    state: str
    receipt: bytes | None
    customer_key: bytes | None
    on_hold: bool = False
    commitment: str = ""


class Holdings:
    """Read only. Threads may share it."""

    def __init__(self, database: Database, region: str) -> None:
        self._database, self._region = database, region

    def page(self, customer: str, after: str | None = None) -> tuple[list[Holding], str | None]:
        """The next objects in order of time, at most MAX_LISTED, and the cursor of the page after; None at the end.

        Raises InvalidInput for what is no cursor.
        """
        taken, handle = (-1, bytes(_HANDLE_BYTES)) if after is None else _parse_cursor(after)
        values = {"customer": customer, "after_taken": taken, "after_handle": handle, "limit": MAX_LISTED}
        with self._database.transaction() as connection:
            found = [_holding(row) for row in connection.execute(QUERIES["own_objects"], values).fetchall()]
        last = found[-1] if len(found) == MAX_LISTED else None
        return found, None if last is None else f"{last.time}.{last.handle}"

    def find(self, customer: str, handle: str) -> Owned | None:
        """An object of this customer; None where there is none, or where it is another's."""
        if not _HANDLE.fullmatch(handle):
            return None
        values = {"customer": customer, "handle": bytes.fromhex(handle)}
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["own_object"], values).fetchone()
        if row is None:
            return None
        named = receipts.named(_COLUMNS, row)
        if named["state"] != "held":
            return Owned(handle=handle, state=str(named["state"]), receipt=None, customer_key=None)
        facts, signatures = receipts.facts_of_row(named), named["signatures"]
        payload = receipts.statement(
            facts, region=self._region, site=str(named["site"]), number=int(str(named["number"])), handle=handle
        )
        return Owned(
            handle=handle,
            state="held",
            receipt=receipts.envelope(payload, signatures) if isinstance(signatures, bytes) else None,
            customer_key=facts.customer_key,
            on_hold=bool(named["on_hold"]),
            commitment=parse_statement(payload).predicate.commitment,
        )


def _parse_cursor(text: str) -> tuple[int, bytes]:
    seconds, _, handle = text.partition(".")
    try:
        taken, raw = parse_decimal(seconds, "after"), bytes.fromhex(handle)
    except (FormatError, ValueError):
        raw = b""
    if len(raw) != _HANDLE_BYTES:
        raise InvalidInput("after", "is no cursor", "Take it from the member next of the page before.")
    return taken, raw


def _holding(row: Row) -> Holding:
    handle, site, number, state, taken, category, size, retention, sha256, on_hold = row
    return Holding(
        handle=handle.hex() if isinstance(handle, bytes) else "",
        site=str(site),
        number=int(str(number)),
        state=str(state),
        time=_number(taken),
        category=None if category is None else str(category),
        size=_number(size),
        retention=_number(retention),
        sha256=sha256.hex() if isinstance(sha256, bytes) else None,
        on_hold=bool(on_hold),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
