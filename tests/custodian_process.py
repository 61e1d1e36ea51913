"""A custodian as a process of its own, to be killed: python custodian_process.py DIRECTORY PORT.

It serves the region of `custodians`, by that module's charter and keys; the directory holds its counts.
"""

import sys
from pathlib import Path

import uvicorn
from custodians import guarded

from glasshouse.regions.custody_server import create_custody_app


def main(directory: Path, port: int) -> None:
    with guarded(directory) as guard:
        app = create_custody_app(guard.custodian)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
