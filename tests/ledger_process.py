"""A ledger node as a process of its own, to be killed: python ledger_process.py DIRECTORY ORIGIN PORT.

The database is embedded, the log takes any entry and needs no witness. The first start creates the log.
"""

import sys
from pathlib import Path

import uvicorn
from notary import Notary

from glasshouse.ledger.admission import OpenAdmission
from glasshouse.ledger.cosign import Witnessing
from glasshouse.ledger.errors import LogMissing
from glasshouse.ledger.log import create_log, open_log
from glasshouse.ledger.running import FixedWitnessing, RunningLog
from glasshouse.ledger.server import create_app
from glasshouse.parties.ring import KeyRing
from glasshouse.parties.signer import FileSigner
from glasshouse.storage.db import Database
from glasshouse.storage.objects import DirectoryStore
from glasshouse.storage.postgres import EmbeddedPostgres


def main(directory: Path, origin: str, port: int) -> None:
    notary = Notary(origin)
    store = DirectoryStore(directory / "objects")
    with EmbeddedPostgres(directory / "postgres") as postgres, Database(postgres.dsn) as database:
        try:
            log = open_log(database, origin)
        except LogMissing:
            log = create_log(database, store, notary.key)
        with RunningLog(
            database=database,
            store=store,
            log=log,
            keys=KeyRing(FileSigner(notary.private)),
            admission=OpenAdmission(),
            witnessing=FixedWitnessing(Witnessing()),
            interval_seconds=0.02,
        ) as running:
            app = create_app(running, spool=directory)
            uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
