"""The HTTP side of a node: ledger, witness, custodian, time-stamp authority, site of a region, in one process."""

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import uvicorn
from glasshouse_verify.charter import Chain
from glasshouse_verify.note import ED25519, VerifierKey, parse_vkey
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from glasshouse.cli.timestamping import timestamp_routes
from glasshouse.cli.wiring import open_session
from glasshouse.ledger.admission import Admission, CharterAdmission, OpenAdmission
from glasshouse.ledger.cosign import Witnessing, WitnessingRule
from glasshouse.ledger.log import Log, create_log, open_log
from glasshouse.ledger.running import CharterWitnessing, FixedWitnessing, RunningLog
from glasshouse.ledger.server import ledger_routes
from glasshouse.ledger.succession import Succession, SuccessionWatch
from glasshouse.ledger.witness import Witness, witness_routes
from glasshouse.ledger.writer import Sequencer, new_entry
from glasshouse.parties.errors import KeyUnavailable, SettingsError
from glasshouse.parties.keys import load_custody_key
from glasshouse.parties.node import CustodySettings, Node
from glasshouse.parties.timestamp import TimestampAuthority
from glasshouse.regions.custody import Custodian, check_keys_held
from glasshouse.regions.custody_server import custody_routes
from glasshouse.regions.grants import LedgerGrants
from glasshouse.storage import files
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ClusterInUse
from glasshouse.storage.objects import DirectoryStore, ObjectStore
from glasshouse.storage.postgres import EmbeddedPostgres, running_dsn

_LOG = logging.getLogger("glasshouse")


def run_server(node: Node) -> None:
    """Serve until the process is told to stop."""
    serve = node.settings.serve
    if serve is None:
        raise SettingsError("serve", "the node serves nothing", 'Add [serve] listen = "127.0.0.1:8471".')
    host, _, port = serve.listen.rpartition(":")
    # The HTTP server sends itself again the signal that has stopped it; what was opened here is to be closed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        routes: list[BaseRoute] = []
        if node.settings.ledger is not None:
            routes += _ledger(node, stack)
        if node.settings.witness is not None:
            routes += _witness(node, stack)
        if node.settings.custody is not None:
            routes += _custody(node, node.settings.custody, stack)
        if node.settings.timestamp is not None:
            routes += timestamp_routes(TimestampAuthority(node.keys))
        if node.settings.intake is not None:
            from glasshouse.cli.siting import site_routes

            # The last: it answers whatever path is left.
            routes += site_routes(node, stack.enter_context(open_state(node, join=True)), stack)
        if not routes:
            raise SettingsError(
                "node.toml",
                "switches on nothing to serve",
                "Add a table [ledger], [witness], [custody], [timestamp] or [intake].",
            )
        _LOG.info("%s serves on %s", node.settings.party, node.url)
        uvicorn.run(
            Starlette(routes=routes),
            host=host,
            port=int(port),
            log_level="warning",
            lifespan="off",
            ws="none",
            loop="uvloop",
            http="httptools",
        )


def _ledger(node: Node, stack: contextlib.ExitStack) -> list[BaseRoute]:
    settings = node.settings.ledger
    if settings is None:
        raise SettingsError("ledger", "is not switched on", "Add a table [ledger].")
    database, store = stack.enter_context(open_state(node)), objects_of(node)
    log = open_log(database, settings.origin)
    admission: Admission = OpenAdmission()
    witnessing: WitnessingRule = FixedWitnessing(Witnessing())
    if not settings.open:
        charter = CharterAdmission(node.pin)
        admission, witnessing = charter, CharterWitnessing(charter)
    running = RunningLog(
        database=database,
        store=store,
        log=log,
        keys=node.ring("log"),
        admission=admission,
        witnessing=witnessing,
        interval_seconds=settings.publish_seconds,
    )
    stack.enter_context(running)
    spool = node.data / "spool"
    files.make_directory(spool, mode=0o700)
    return [*ledger_routes(running, spool=spool, max_blob_bytes=settings.max_blob_bytes)]


def _witness(node: Node, stack: contextlib.ExitStack) -> list[BaseRoute]:
    settings = node.settings.witness
    if settings is None:
        raise SettingsError("witness", "is not switched on", "Add a table [witness].")
    keys = node.ring("witness")
    logs = [parse_vkey(text) for text in settings.logs]
    pinned = (node.directory / node.settings.pin).exists()
    if pinned:
        logs.append(parse_vkey(Chain(node.pin).newest.charter.ledger.key))
    witness = Witness(node.data / "witness.sqlite3", name=settings.name, keys=keys, logs=logs)
    stack.callback(witness.close)
    if pinned:
        succession = Succession(node.pin, witness)
        stack.enter_context(SuccessionWatch(succession, keys, poll_seconds=settings.poll_seconds))
    return [*witness_routes(witness)]


def _custody(node: Node, settings: CustodySettings, stack: contextlib.ExitStack) -> list[BaseRoute]:
    keys = tuple(load_custody_key(path) for path in node.custody_paths)
    if not keys:
        raise KeyUnavailable(
            f"{node.directory} has no custody.x25519; make the node with: glasshouse init --role custody"
        )
    session = stack.enter_context(open_session(node.directory, "custody"))
    check_keys_held(session.history.chain.newest.charter, node.settings.party, keys)
    custodian = Custodian(
        node.data / "custody.sqlite3",
        party=node.settings.party,
        keys=keys,
        grants=LedgerGrants(session.follow, custodian=node.settings.party),
        jobs=settings.jobs,
    )
    stack.callback(custodian.close)
    return [*custody_routes(custodian)]


@contextlib.contextmanager
def open_state(node: Node, *, join: bool = False) -> Iterator[Database]:
    """The node's PostgreSQL: its DSN, or the embedded one, started here and stopped with it.

    With `join`, one that another process of the node has started is used as it runs: for commands and workers beside
    a node that serves.
    """
    with contextlib.ExitStack() as stack:
        dsn = node.settings.database.dsn
        if dsn is None:
            place = node.data / "postgres"
            try:
                dsn = stack.enter_context(EmbeddedPostgres(place)).dsn
            except ClusterInUse:
                if not join:
                    raise
                dsn = running_dsn(place)
        yield stack.enter_context(Database(dsn))


def objects_of(node: Node) -> ObjectStore:
    """Where the node keeps tiles and blobs: its own directory, or the store that node.toml names."""
    url = node.settings.objects.url
    if url is None:
        return DirectoryStore(node.data / "objects")
    from glasshouse.storage.remote import open_remote

    return open_remote(url)


def create_ledger(node: Node, founding: bytes | None) -> Log:
    """Create the node's log, once; its first entry is the signed first charter, unless the log is open."""
    settings = node.settings.ledger
    if settings is None:
        raise SettingsError("ledger", "is not switched on", "Add a table [ledger].")
    keys = node.ring("log")
    if founding is None:
        key = VerifierKey(name=settings.origin, algorithm=ED25519, public=keys.signers()[-1].public)
    else:
        key = parse_vkey(Chain(node.pin).newest.charter.ledger.key)
        keys.holding(key.public)
    with open_state(node) as database:
        log = create_log(database, objects_of(node), key)
        if founding is not None:
            admission = CharterAdmission(node.pin)
            with Sequencer(database, log, admission, committed=lambda: None) as sequencer:
                sequencer.submit([new_entry(founding, admission)]).result()
    return log
