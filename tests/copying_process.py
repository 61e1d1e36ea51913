"""A destination's copying process that kills itself: DSN SOURCE DIRECTORY MOVE PHASE COUNT.

It dies where PHASE is reached for the COUNTth time; without one it copies until a pass finds nothing.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from foreign_stores import landing

from glasshouse.relocation import archive, copying
from glasshouse.relocation import landing as tables
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage.db import Database


def main(dsn: str, source: str, directory: str, move: str, phase: str, count: str) -> None:
    left = int(count)

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def dying(call: Callable[..., Any], *, first: bool) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            if first:
                die()
            found = call(*given, **named)
            if not first:
                die()
            return found

        return called

    vault = archive.DirectoryVault
    match phase:
        case "listed":
            tables.Landings.claim = dying(tables.Landings.claim, first=False)  # type: ignore[method-assign]
        case "sealed":
            vault.keep_all = dying(vault.keep_all, first=True)  # type: ignore[method-assign]
        case "kept":
            vault.keep_all = dying(vault.keep_all, first=False)  # type: ignore[method-assign]
        case "landed":
            tables.Landings.land = dying(tables.Landings.land, first=False)  # type: ignore[method-assign]
        case "vanished":
            vault.delete = dying(vault.delete, first=True)  # type: ignore[method-assign]
    with Database(dsn) as database:
        to = landing(database, Path(directory), lease_seconds=0.5, name=move).to
        copying.copy_all(open_store(source), to)


if __name__ == "__main__":
    main(*sys.argv[1:])
