"""Real ledgers and witnesses for tests: served over HTTP on loopback from threads of the test's process."""

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from glasshouse_verify.checkpoint import Checkpoint, format_checkpoint
from glasshouse_verify.note import Note, VerifierKey, parse_note
from glasshouse_verify.policy import Policy, witness_policy
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier, consistency_proof
from notary import Notary
from notary import witness as witness_notary
from starlette.applications import Starlette

from glasshouse.ledger.admission import Admission, OpenAdmission
from glasshouse.ledger.cosign import WitnessEndpoint, Witnessing, format_request
from glasshouse.ledger.integrate import Integrator
from glasshouse.ledger.log import Log, create_log, open_log
from glasshouse.ledger.running import FixedWitnessing, RunningLog
from glasshouse.ledger.server import MAX_BLOB_BYTES, create_app
from glasshouse.ledger.witness import Witness, create_witness_app
from glasshouse.ledger.writer import Writer, new_entry
from glasshouse.parties.ring import KeyRing
from glasshouse.parties.signer import FileSigner
from glasshouse.storage.db import Database
from glasshouse.storage.objects import DirectoryStore, ObjectStore
from glasshouse.storage.postgres import EmbeddedPostgres

NO_WITNESSES = Witnessing()


@contextlib.contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The URL of an application served from a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        # It takes the server a while to notice. Nobody needs its port again, so nobody waits.
        atexit.register(thread.join)


def until(condition: Callable[[], object], timeout_seconds: float = 20.0) -> None:
    """Wait for something that other threads or processes bring about."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("what the test waits for did not happen")
        time.sleep(0.01)


@dataclass(frozen=True, kw_only=True)
class RunningWitness:
    notary: Notary
    state: Witness
    url: str

    @property
    def endpoint(self) -> WitnessEndpoint:
        return WitnessEndpoint(key=self.notary.key, url=self.url)


@contextlib.contextmanager
def witness_node(
    path: Path, name: str, logs: Sequence[VerifierKey], *, clock: Callable[[], float] = time.time
) -> Iterator[RunningWitness]:
    notary = witness_notary(name)
    state = Witness(path, name=name, keys=KeyRing(FileSigner(notary.private)), logs=logs, clock=clock)
    try:
        with served(create_witness_app(state)) as url:
            yield RunningWitness(notary=notary, state=state, url=url)
    finally:
        state.close()


def policy_of(log: VerifierKey, *witnesses: RunningWitness, faulty: int = 0) -> Policy:
    """Each witness its own party."""
    return witness_policy(log, {w.notary.key.name: [w.notary.key] for w in witnesses}, faulty)


def witnessing_of(log: VerifierKey, *witnesses: RunningWitness, faulty: int = 0) -> Witnessing:
    if not witnesses:
        return NO_WITNESSES
    return Witnessing(
        policies=(policy_of(log, *witnesses, faulty=faulty),), endpoints=tuple(w.endpoint for w in witnesses)
    )


@dataclass(frozen=True, kw_only=True)
class LedgerNode:
    notary: Notary
    running: RunningLog
    store: DirectoryStore
    directory: Path
    url: str

    def published(self, size: int) -> None:
        """Wait until the published checkpoint has at least this size."""
        until(lambda: self.running.published_size >= size or self.running.alarm)
        assert self.running.alarm is None, self.running.alarm


@contextlib.contextmanager
def ledger_node(
    database: Database,
    directory: Path,
    origin: str,
    *,
    witnessing: Witnessing = NO_WITNESSES,
    admission: Admission | None = None,
    create: bool = True,
    interval_seconds: float = 0.02,
    refresh_seconds: float = 600.0,
    witness_timeout_seconds: float = 2.0,
    max_blob_bytes: int = MAX_BLOB_BYTES,
) -> Iterator[LedgerNode]:
    """A served log; with create=False one that exists already, in the same directory."""
    notary = Notary(origin)
    store = DirectoryStore(directory / "objects")
    spool = directory / "spool"
    spool.mkdir(exist_ok=True)
    log = create_log(database, store, notary.key) if create else open_log(database, origin)
    running = RunningLog(
        database=database,
        store=store,
        log=log,
        keys=KeyRing(FileSigner(notary.private)),
        admission=admission or OpenAdmission(),
        witnessing=FixedWitnessing(witnessing),
        interval_seconds=interval_seconds,
        refresh_seconds=refresh_seconds,
        witness_timeout_seconds=witness_timeout_seconds,
    )
    with running, served(create_app(running, spool=spool, max_blob_bytes=max_blob_bytes)) as url:
        yield LedgerNode(notary=notary, running=running, store=store, directory=directory, url=url)


def size_of(note: bytes) -> int:
    return int(parse_note(note).text.split("\n")[1])


@dataclass(frozen=True, kw_only=True)
class StillLog:
    """A log without threads: what happens, happens when the test says so."""

    database: Database
    notary: Notary
    log: Log
    store: ObjectStore

    def sequence(self, *entries: bytes) -> tuple[int, ...]:
        writer = Writer(self.database, self.log)
        try:
            return writer.sequence([new_entry(entry, OpenAdmission()) for entry in entries]).indexes
        finally:
            writer.close()

    @contextlib.contextmanager
    def integrator(
        self,
        *,
        store: ObjectStore | None = None,
        database: Database | None = None,
        witnessing: Witnessing = NO_WITNESSES,
    ) -> Iterator[Integrator]:
        """An integrator whose thread is never started: call step()."""
        integrator = Integrator(
            database or self.database,
            store or self.store,
            self.log,
            KeyRing(FileSigner(self.notary.private)),
            FixedWitnessing(witnessing),
            interval_seconds=0.01,
            witness_timeout_seconds=2.0,
        )
        try:
            yield integrator
        finally:
            integrator.__exit__()

    def step(self) -> None:
        with self.integrator() as integrator:
            integrator.step()


def still_log(database: Database, directory: Path, origin: str, *, store: ObjectStore | None = None) -> StillLog:
    store = store or DirectoryStore(directory / "objects")
    notary = Notary(origin)
    return StillLog(database=database, notary=notary, log=create_log(database, store, notary.key), store=store)


def no_quorum(log: VerifierKey) -> Policy:
    """The log's own signature is enough."""
    return Policy(logs=(log,), witnesses={}, groups=(), quorum="none")


class MemoryTree:
    """The tree of any entries, for checkpoints that no honest log would sign."""

    def __init__(self, origin: str, entries: Sequence[bytes]) -> None:
        self.origin = origin
        self.entries = list(entries)
        self.levels: list[list[bytes]] = [[] for _ in range(max(1, len(entries).bit_length()))]
        frontier = Frontier()
        self.roots = [frontier.root()]
        for entry in entries:
            for level, node in enumerate(frontier.append(leaf_hash(entry))):
                self.levels[level].append(node)
            self.roots.append(frontier.root())

    def read(self, level: int, index: int) -> bytes:
        return self.levels[level][index]

    def text(self, size: int) -> str:
        return format_checkpoint(Checkpoint(origin=self.origin, size=size, root=self.roots[size]))

    def request(self, old: int, size: int, *notaries: Notary, proof: Sequence[bytes] | None = None) -> bytes:
        """The body of an add-checkpoint request."""
        text = self.text(size)
        note = Note(text=text, signatures=tuple(notary.sign(text, 1_700_000_000) for notary in notaries))
        if proof is None:
            proof = consistency_proof(old, size, self.read) if old < size else ()
        return format_request(old, proof, note)


@contextlib.contextmanager
def own_database(directory: Path) -> Iterator[Database]:
    """A cluster of its own: another machine, or one whose disk will be tampered with."""
    with EmbeddedPostgres(directory) as postgres, Database(postgres.dsn) as database:
        yield database


def cluster_of(directory: Path) -> Path:
    """The files of such a cluster, while it is stopped."""
    location = directory / "location"
    return (Path(location.read_text()) if location.is_file() else directory / "home") / "cluster"
