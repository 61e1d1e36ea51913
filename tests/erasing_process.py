"""An erasure as a process of its own, to be killed: python erasing_process.py DIRECTORY.

It empties DIRECTORY/store, whose rows at the fence are DIRECTORY/rows/rows, and prints a line for each batch, at last
the statement's counts as JSON.
"""

import json
import sys
from pathlib import Path

from glasshouse_verify.region import Origin
from leaving import SECRET, Leaving

from glasshouse.relocation import erasing
from glasshouse.relocation.catalogue import DirectoryCatalogue
from glasshouse.relocation.erasing import Emptied, erase_store
from glasshouse.relocation.lists import Roots, RowList, check_list
from glasshouse.relocation.stores.directory import DirectoryTree

BATCH = 7


def rows_at(directory: Path) -> RowList:
    roots = Roots()
    with (directory / "rows" / "rows").open("rb") as file:
        for _ in roots.over(file):
            continue
    return check_list(directory / "rows" / "rows", roots.sharded, "rows")


def main(directory: Path) -> None:
    rows = rows_at(directory)
    world = Leaving(Origin.STORE)
    world.come_to_erasure(rows.sharded)
    emptied = Emptied(
        store=DirectoryTree(directory / "store"),
        checking=DirectoryCatalogue(directory / "store", directory / "scratch"),
        fenced=rows,
        secret=SECRET,
        place=directory / "state",
    )
    erasing.BATCH = BATCH
    says = erase_store(emptied, world.permit, clock=lambda: world.now, told=lambda count: print(count, flush=True))
    print(json.dumps(dict(says.erased or {})), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
