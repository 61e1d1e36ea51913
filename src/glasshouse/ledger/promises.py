"""What a ledger has promised this party: an index for each entry, kept on record until it is seen in the tree.

    {"index":14,"leaf":"9f2c…","time":1800000000}

An index is an acknowledgement, not evidence. A log that acknowledges an entry and never shows it to the witnesses
keeps a claim out of the world without refusing it; whoever was promised an index has to look.
"""

import json
from pathlib import Path
from typing import Protocol

from glasshouse_verify.tlog import leaf_hash

from glasshouse.ledger.errors import PromiseBroken
from glasshouse.storage import files

PATIENCE_SECONDS = 600


class Seen(Protocol):
    """The entries that witnesses vouch for; see view.View."""

    @property
    def size(self) -> int:
        """How many entries are verified."""

    def entry(self, index: int) -> bytes:
        """One verified entry."""


class Promises:
    """The open promises of one ledger, durable in a directory of this party."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        files.make_directory(directory, mode=0o700)

    def keep(self, index: int, entry: bytes, now: int) -> None:
        """Remember that the ledger answered `index` for `entry` at Unix time `now`."""
        leaf = leaf_hash(entry).hex()
        record = {"index": index, "leaf": leaf, "time": now}
        files.write(self._directory / f"{index}-{leaf[:16]}.json", json.dumps(record).encode())

    def settle(self, seen: Seen, now: int) -> None:
        """Forget every promise that was kept.

        Raises PromiseBroken where another entry stands at a promised index, or where none does ten minutes later: it
        names the index, and the promise stays on record.
        """
        for path in sorted(self._directory.glob("*.json")):
            record = json.loads(path.read_bytes())
            index, leaf = int(record["index"]), str(record["leaf"])
            if index < seen.size:
                if leaf_hash(seen.entry(index)).hex() != leaf:
                    raise PromiseBroken(f"the ledger promised index {index} to one entry and shows another there")
                path.unlink()
            elif now - int(record["time"]) > PATIENCE_SECONDS:
                raise PromiseBroken(
                    f"the ledger promised index {index} at {record['time']} and has not shown it in"
                    f" {PATIENCE_SECONDS} s: its witnessed tree has {seen.size} entries"
                )
