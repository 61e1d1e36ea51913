"""The witness role (c2sp.org/tlog-witness, c2sp.org/tlog-cosignature): cosigns what extends what it has seen.

    POST /add-checkpoint                     a checkpoint with a consistency proof → the cosignature line
    GET  /<sha256 of the origin>/checkpoint  the newest checkpoint cosigned for a log

A witness serves the logs it is configured with, its initiative's own and foreign ones, each identified by its origin.
Its state is one row per log in SQLite. The comparison with that row and its replacement are one transaction that
holds the write lock, and the row is on disk before the cosignature leaves: two requests at once, or a crash, never
make it sign two trees that do not extend each other. What a log signed that contradicts an earlier tree is kept as
evidence.

Specification: docs/spec/witness-http.md.
"""

import asyncio
import contextlib
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.checkpoint import Checkpoint, parse_checkpoint
from glasshouse_verify.encoding import decode_base64, parse_decimal
from glasshouse_verify.errors import FormatError, ProofError, SignatureError
from glasshouse_verify.note import (
    COSIGNATURE_V1,
    ED25519,
    MAX_NOTE,
    Note,
    NoteSignature,
    VerifierKey,
    format_note,
    parse_note,
    signature_value,
    signed_bytes,
    verify_note,
)
from glasshouse_verify.tree import EMPTY_ROOT, verify_consistency
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from glasshouse.ledger.errors import (
    EntryRefused,
    NotThere,
    ProofRefused,
    SignatureRefused,
    SizeConflict,
    UnknownLog,
)
from glasshouse.ledger.web import FRESH, error_response, guarded, read_body
from glasshouse.parties.signer import Signer
from glasshouse.storage.errors import StorageUnavailable

MAX_PROOF_HASHES = 63
MAX_KEPT_CONFLICTS = 100
_BUSY_TIMEOUT_SECONDS = 10.0
_SCHEMA = """
create table if not exists log (
    origin text primary key,
    size integer not null check (size >= 0),
    root blob not null check (length(root) = 32),
    note blob not null
) strict;
create table if not exists conflict (
    conflict_id integer primary key,
    origin text not null,
    seen_at integer not null,
    reason text not null,
    note blob not null,
    known blob not null,
    unique (origin, note)
) strict;
"""


@dataclass(frozen=True, kw_only=True)
class AddCheckpoint:
    """A parsed request; nothing about it is verified."""

    old: int
    proof: tuple[bytes, ...]
    note: Note


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A checkpoint signed by a log that does not extend what the witness had cosigned for it: evidence against the
    log."""

    origin: str
    seen_at: int
    reason: str
    note: bytes
    known: bytes


def parse_request(body: bytes) -> AddCheckpoint:
    """Read the body of an add-checkpoint request. Raises FormatError."""
    head, divider, note = body.partition(b"\n\n")
    if not divider:
        raise FormatError("request", "no empty line before the checkpoint")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise FormatError("request", "not ASCII above the checkpoint") from None
    if not first.startswith("old "):
        raise FormatError("old size", "the first line is not 'old ' and a decimal")
    if len(lines) > MAX_PROOF_HASHES:
        raise FormatError("consistency proof", f"more than {MAX_PROOF_HASHES} lines")
    return AddCheckpoint(
        old=parse_decimal(first.removeprefix("old "), "old size"),
        proof=tuple(decode_base64(line, "consistency proof", 32) for line in lines),
        note=parse_note(note),
    )


class Witness:
    """The state of a witness and its decisions. Threads may share it.

    ``key`` is the cosignature/v1 key whose private half ``signer`` holds; ``logs`` are the Ed25519 keys of the logs
    it serves, each named like its origin; ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: VerifierKey,
        signer: Signer,
        logs: Iterable[VerifierKey],
        clock: Callable[[], float] = time.time,
    ) -> None:
        if key.algorithm != COSIGNATURE_V1 or key.public != signer.public:
            raise FormatError("witness key", "is not a cosignature/v1 key of this signer")
        self._key = key
        self._signer = signer
        self._clock = clock
        self._logs = _by_origin(logs)
        self._lock = threading.Lock()
        with _storage():
            self._database = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("pragma journal_mode = wal")
            # In WAL mode only FULL flushes the log before a commit returns.
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)

    def add_checkpoint(self, request: AddCheckpoint) -> NoteSignature:
        """Cosign a checkpoint that extends the one cosigned last; the new state is durable when this returns.

        Raises UnknownLog, SignatureRefused, EntryRefused, SizeConflict or ProofRefused, checked in the order of the
        protocol.
        """
        checkpoint = parse_checkpoint(request.note.text)
        log_note = self._log_signed(checkpoint, request.note)
        if request.old > checkpoint.size:
            raise EntryRefused(
                f"the old size {request.old} is larger than the checkpoint's {checkpoint.size}",
                field="old size",
                fix="send the size of the checkpoint that this one extends",
            )
        with self._lock, self._writing() as database:
            known = self._newest(database, checkpoint.origin)
            size, root = (0, EMPTY_ROOT) if known is None else (known[0].size, known[0].root)
            if request.old != size:
                raise SizeConflict(size)
            try:
                _check_extends(size, root, checkpoint, request.proof)
            except ProofError as error:
                self._keep(database, checkpoint.origin, str(error), log_note, known[1] if known else b"")
                raise ProofRefused(str(error)) from error
            signature = self._cosign(request.note.text)
            note = format_note(Note(text=log_note.text, signatures=(*log_note.signatures, signature)))
            database.execute(
                "insert into log (origin, size, root, note) values (?, ?, ?, ?)"
                " on conflict (origin) do update set size = excluded.size, root = excluded.root, note = excluded.note",
                (checkpoint.origin, checkpoint.size, checkpoint.root, note),
            )
        return signature

    def newest(self, origin_hash: str) -> bytes:
        """The newest checkpoint cosigned for the log whose origin has this hex SHA-256. Raises NotThere."""
        for origin in self._logs:
            if hashlib.sha256(origin.encode()).hexdigest() == origin_hash:
                with self._lock, _storage():
                    known = self._newest(self._database, origin)
                if known is not None:
                    return known[1]
        raise NotThere("no checkpoint of such a log has been cosigned here")

    def conflicts(self, origin: str) -> list[Conflict]:
        """The evidence kept against a log, oldest first."""
        with self._lock, _storage():
            rows = self._database.execute(
                "select origin, seen_at, reason, note, known from conflict where origin = ? order by conflict_id",
                (origin,),
            ).fetchall()
        return [Conflict(origin=o, seen_at=s, reason=r, note=n, known=k) for o, s, r, n, k in rows]

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _log_signed(self, checkpoint: Checkpoint, note: Note) -> Note:
        """The note with the log's own signatures only, which verify."""
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            raise UnknownLog(f"the log {checkpoint.origin!r} is not among those this witness serves")
        try:
            signed = verify_note(note, keys)
        except SignatureError as error:
            raise SignatureRefused(str(error)) from error
        ids = {(key.name, key.key_id) for key, _ in signed}
        own = {(s.name, s.key_id): s for s in note.signatures if (s.name, s.key_id) in ids}
        return Note(text=note.text, signatures=tuple(own.values()))

    def _cosign(self, text: str) -> NoteSignature:
        moment = int(self._clock())
        signature = self._signer.sign(signed_bytes(COSIGNATURE_V1, text, moment))
        value = signature_value(COSIGNATURE_V1, signature, moment)
        return NoteSignature(name=self._key.name, key_id=self._key.key_id, value=value)

    def _newest(self, database: sqlite3.Connection, origin: str) -> tuple[Checkpoint, bytes] | None:
        row = database.execute("select size, root, note from log where origin = ?", (origin,)).fetchone()
        return None if row is None else (Checkpoint(origin=origin, size=row[0], root=row[1]), row[2])

    def _keep(self, database: sqlite3.Connection, origin: str, reason: str, note: Note, known: bytes) -> None:
        (count,) = database.execute("select count(*) from conflict where origin = ?", (origin,)).fetchone()
        if count < MAX_KEPT_CONFLICTS:
            database.execute(
                "insert or ignore into conflict (origin, seen_at, reason, note, known) values (?, ?, ?, ?, ?)",
                (origin, int(self._clock()), reason, format_note(note), known),
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its beginning; what it kept as evidence stays even if it
        refuses."""
        with _storage():
            self._database.execute("begin immediate")
            try:
                yield self._database
            except (SizeConflict, ProofRefused):
                self._database.execute("commit")
                raise
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")


def create_witness_app(witness: Witness) -> Starlette:
    """The application that serves a witness."""
    return Starlette(routes=witness_routes(witness))


def witness_routes(witness: Witness) -> list[Route]:
    """The routes alone, for a process that serves other roles too."""

    async def add_checkpoint(request: Request) -> Response:
        body = await read_body(request, MAX_NOTE, "request")
        try:
            signature = await asyncio.to_thread(lambda: witness.add_checkpoint(parse_request(body)))
        except UnknownLog as error:
            return error_response(404, str(error), "origin", "ask the witness's operator to add the log")
        except SignatureRefused as error:
            return error_response(403, str(error), "signature", "send the checkpoint with a valid signature of the log")
        except SizeConflict as error:
            # Given as a header, for the framework would add a charset to a media type of text.
            return Response(f"{error.size}\n", 409, headers={**FRESH, "content-type": "text/x.tlog.size"})
        except ProofRefused as error:
            return error_response(422, str(error), "consistency proof", "prove the checkpoint from the old size")
        line = format_note(Note(text="\n", signatures=(signature,))).removeprefix(b"\n\n")
        return PlainTextResponse(line, headers=FRESH)

    async def checkpoint(request: Request) -> Response:
        note = await asyncio.to_thread(witness.newest, request.path_params["origin_hash"])
        return PlainTextResponse(note, headers=FRESH)

    return [
        Route("/add-checkpoint", guarded(add_checkpoint), methods=["POST"]),
        Route("/{origin_hash}/checkpoint", guarded(checkpoint), methods=["GET"]),
    ]


def _by_origin(logs: Iterable[VerifierKey]) -> Mapping[str, tuple[VerifierKey, ...]]:
    found: dict[str, tuple[VerifierKey, ...]] = {}
    for key in logs:
        if key.algorithm != ED25519:
            raise FormatError("log key", f"{key.name} is not of type 0x01")
        found[key.name] = (*found.get(key.name, ()), key)
    return found


def _check_extends(size: int, root: bytes, checkpoint: Checkpoint, proof: tuple[bytes, ...]) -> None:
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise ProofError("the root of an empty tree is SHA-256 of nothing")
    if size == 0 and checkpoint.size > 0:
        # Every tree extends the empty one, so there is nothing to prove.
        if proof:
            raise ProofError("a proof from size 0 must be empty")
        return
    verify_consistency(size, checkpoint.size, root, checkpoint.root, proof)


@contextlib.contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnavailable(f"the witness's database refuses: {error}") from error
