"""Sites that publish another inventory than the one that follows from their journals, signed with their real keys.

Both sites run honestly up to the moment of signing; then `Cheat.close` lets a test change rows, delta and statement,
computes roots and proofs that fit, and logs that in place of what the sites have made.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope
from glasshouse_verify.manifest import parse_rows
from glasshouse_verify.receipt import Inventory, Tombstone
from glasshouse_verify.receipt_check import ReceiptEvidence
from glasshouse_verify.row import Row
from glasshouse_verify.statement import Use, make_statement, parse_statement
from ledgers import until
from region_world import Rows
from surveyed import Pair

from glasshouse.ledger.receipt_evidence import assemble_receipt
from glasshouse.parties.signer import sign_statement
from glasshouse.regions.delta import Delta, HeldRow, format_delta, parse_delta
from glasshouse.regions.inventory_tables import ERASED, HELD, all_rows
from glasshouse.regions.shards import DEPTH


@dataclass
class Draft:
    """What is about to be published: rows by handle, the delta's parts, and the statement's members."""

    held: dict[str, Row]
    erased: dict[str, Row]
    added: dict[str, HeldRow]
    removed: dict[str, Tombstone]
    counts: dict[str, int]
    receipts: dict[str, int]

    def forget(self, handle: str) -> None:
        """Leave an object out, as if it had never been."""
        self.held.pop(handle, None)
        self.added.pop(handle, None)

    def bury(self, tombstone: Tombstone) -> None:
        """Show a tombstone."""
        self.held.pop(tombstone.key, None)
        self.erased[tombstone.key] = encode(tombstone)
        self.removed[tombstone.key] = tombstone

    def add(self, row: HeldRow) -> None:
        """Show an object."""
        self.held[row.key] = row.row
        self.added[row.key] = row

    def count(self, **changes: int) -> None:
        """Change counts by so much."""
        for name, change in changes.items():
            self.counts[name] += change


@dataclass
class Cheat:
    """Sites of a pair that cheat together."""

    pair: Pair
    rows: Rows = field(default_factory=lambda: Rows({}, {}))

    def close(self, alter: Callable[[Draft], None], *, sites: tuple[int, ...] = (0, 1), audit: bool = True) -> None:
        """Close an epoch whose inventory `alter` has changed at the sites given, by their places in the pair."""
        pair = self.pair
        until(pair.caught_up, 60)
        pair.inventories[0].turn(pair.world.now, at_once=True)
        epoch = pair.inventories[0].last().epoch

        def followed() -> bool:
            pair.inventories[1].turn(pair.world.now)
            return pair.inventories[1].last().epoch == epoch

        until(followed, 60)
        for at in sites:
            (found,) = pair.inventories[at].unposted()
            entry, delta = self._forged(at, found.entry, parse_delta(found.delta), alter)
            pair.world.blobs[sha256(delta).hexdigest()] = delta
            pair.world.last[pair.sites[at].name] = pair.world.post_entry(entry)
            pair.inventories[at].posted(found.epoch)
        pair.log()
        if audit:
            pair.world.audit()

    def _forged(self, at: int, entry: bytes, delta: Delta, alter: Callable[[Draft], None]) -> tuple[bytes, bytes]:
        site = self.pair.sites[at]
        says: Inventory = parse_statement(parse_envelope(entry).payload).predicate
        with site.place.database.transaction() as connection:
            held, erased = (
                {str(r["key"]): r for r in parse_rows(b"".join(all_rows(connection, t)))} for t in (HELD, ERASED)
            )
        draft = Draft(
            held=held,
            erased=erased,
            added={row.key: row for row in delta.added},
            removed={row.key: row for row in delta.removed},
            counts=dict(encode(says.counts)),
            receipts=dict(says.receipts),
        )
        alter(draft)
        self.rows = Rows(draft.held, draft.erased, DEPTH)
        forged = replace(
            delta,
            added=tuple(draft.added[key] for key in sorted(draft.added)),
            removed=tuple(draft.removed[key] for key in sorted(draft.removed)),
        )
        data, (held_root, erased_root) = format_delta(forged), self.rows.sharded()
        inventory = replace(
            says,
            held=held_root,
            erased=erased_root,
            delta=sha256(data).hexdigest(),
            counts=replace(says.counts, **draft.counts),
            receipts=draft.receipts,
            # What it signed before may have been another statement than its database has.
            previous=None if says.epoch == 1 else self.pair.world.last[site.name],
        )
        payload = make_statement(Use.INVENTORY, inventory)
        return format_envelope(sign_statement(payload, site.place.signer)), data

    def evidence(self, envelope: Envelope) -> ReceiptEvidence:
        """The evidence for a receipt from the forged inventory, with proofs that fit it."""
        world = self.pair.world
        newest = world.last[self.pair.sites[0].name]
        return assemble_receipt(world, world.pin, envelope, newest, lambda _, handle: self.rows.prove(handle))
