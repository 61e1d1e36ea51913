"""The witness role (c2sp.org/tlog-witness, c2sp.org/tlog-cosignature): cosigns what extends what it has seen.

    POST /add-checkpoint                     a checkpoint with a consistency proof → a cosignature line for each key
    GET  /<sha256 of the origin>/checkpoint  the newest checkpoint cosigned for a log

A witness serves the logs it is configured with, its initiative's own and foreign ones, each identified by its origin.
Its state is one row per log in SQLite. The comparison with that row and its replacement are one transaction that
holds the write lock, and the row is on disk before the cosignature leaves: two requests at once, or a crash, never
make it sign two trees that do not extend each other. What a log signed that contradicts an earlier tree is kept as
evidence.

Keys change: a witness signs with every key that it holds, and a log may be given a further key (`succeed`). Once a
checkpoint under that key has been cosigned, the log's older keys count no more, so that whoever stole one of them
cannot lead the witness away from the log.

Specification: docs/spec/witness-http.md.
"""

import asyncio
import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
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
    format_vkey,
    parse_note,
    parse_vkey,
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
from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.ring import KeyRing
from glasshouse.storage.errors import StorageUnavailable

_LOG = logging.getLogger(__name__)
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
create table if not exists successor (
    position integer primary key,
    origin text not null,
    vkey text not null unique
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
    """A checkpoint that a log signed, and that does not extend what was cosigned for it: evidence against the log."""

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

    ``name`` is the name of its cosignature/v1 keys, whose private halves are ``keys``; ``logs`` are the Ed25519 keys
    of the logs it serves, each named like its origin; ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        keys: KeyRing,
        logs: Iterable[VerifierKey],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._keys = keys
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
            rows = self._database.execute("select vkey from successor order by position").fetchall()
        for (vkey,) in rows:
            key = parse_vkey(vkey)
            if key.name in self._logs:
                self._append(key)

    def succeed(self, key: VerifierKey) -> bool:
        """Serve the log named like ``key`` under this key too; from its first checkpoint on, under no older one.

        False where the key was known already. Raises UnknownLog for a log that is not served, FormatError for a key
        that is not a log's.
        """
        if _log_key(key).name not in self._logs:
            raise UnknownLog(f"the log {key.name!r} is not among those this witness serves")
        with self._lock:
            with self._writing() as database:
                row = (key.name, format_vkey(key))
                database.execute("insert or ignore into successor (origin, vkey) values (?, ?)", row)
            return self._append(key)

    def cosigned(self, origin: str) -> Checkpoint | None:
        """The newest checkpoint cosigned for a log."""
        with self._lock, _storage():
            known = self._newest(self._database, origin)
        return None if known is None else known[0]

    def add_checkpoint(self, request: AddCheckpoint) -> tuple[NoteSignature, ...]:
        """Cosign a checkpoint that extends the one cosigned last; the new state is durable when this returns.

        A signature for each of the witness's keys. Raises UnknownLog, SignatureRefused, EntryRefused, SizeConflict or
        ProofRefused, checked in the order of the protocol, and KeyUnavailable where no key can sign.
        """
        checkpoint = parse_checkpoint(request.note.text)
        log_note, generation = self._log_signed(checkpoint, request.note)
        if request.old > checkpoint.size:
            raise EntryRefused(
                f"the old size {request.old} is larger than the checkpoint's {checkpoint.size}",
                field="old size",
                fix="send the size of the checkpoint that this one extends",
            )
        with self._lock, self._writing() as database:
            known = self._newest(database, checkpoint.origin)
            size, root = (0, EMPTY_ROOT) if known is None else (known[0].size, known[0].root)
            if known is not None and generation < self._generation(checkpoint.origin, parse_note(known[1])):
                raise SignatureRefused("the log has signed with a newer key; this one counts no more")
            if request.old != size:
                raise SizeConflict(size)
            try:
                _check_extends(size, root, checkpoint, request.proof)
            except ProofError as error:
                self._keep(database, checkpoint.origin, str(error), log_note, known[1] if known else b"")
                raise ProofRefused(str(error)) from error
            signatures = self._cosign(request.note.text)
            note = format_note(Note(text=log_note.text, signatures=(*log_note.signatures, *signatures)))
            database.execute(
                "insert into log (origin, size, root, note) values (?, ?, ?, ?)"
                " on conflict (origin) do update set size = excluded.size, root = excluded.root, note = excluded.note",
                (checkpoint.origin, checkpoint.size, checkpoint.root, note),
            )
        return signatures

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

    def _append(self, key: VerifierKey) -> bool:
        """Add a generation of one key to its log, unless it has the key."""
        generations = self._logs[key.name]
        if any(key in generation for generation in generations):
            return False
        generations.append((key,))
        return True

    def _log_signed(self, checkpoint: Checkpoint, note: Note) -> tuple[Note, int]:
        """The note with the log's own signatures only, which verify, and the newest generation among their keys."""
        generations = self._logs.get(checkpoint.origin)
        if generations is None:
            raise UnknownLog(f"the log {checkpoint.origin!r} is not among those this witness serves")
        try:
            signed = verify_note(note, [key for generation in generations for key in generation])
        except SignatureError as error:
            raise SignatureRefused(str(error)) from error
        ids = {(key.name, key.key_id) for key, _ in signed}
        own = {(s.name, s.key_id): s for s in note.signatures if (s.name, s.key_id) in ids}
        kept = Note(text=note.text, signatures=tuple(own.values()))
        return kept, self._generation(checkpoint.origin, kept)

    def _generation(self, origin: str, note: Note) -> int:
        """The newest generation of the log's keys that a note bears a signature of; -1 where it bears none."""
        ids = {(s.name, s.key_id) for s in note.signatures}
        known = enumerate(self._logs[origin])
        return max((n for n, keys in known if any((key.name, key.key_id) in ids for key in keys)), default=-1)

    def _cosign(self, text: str) -> tuple[NoteSignature, ...]:
        moment = int(self._clock())
        message, signatures, failure = signed_bytes(COSIGNATURE_V1, text, moment), list[NoteSignature](), None
        for signer in self._keys.signers():
            key = VerifierKey(name=self._name, algorithm=COSIGNATURE_V1, public=signer.public)
            try:
                value = signature_value(COSIGNATURE_V1, signer.sign(message), moment)
            except KeyUnavailable as error:
                _LOG.warning("a key of the witness does not sign: %s", error)
                failure = error
            else:
                signatures.append(NoteSignature(name=key.name, key_id=key.key_id, value=value))
        if not signatures:
            raise failure or KeyUnavailable("this witness has no key")
        return tuple(signatures)

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
        """A transaction that holds the write lock from its beginning; the evidence stays even where it refuses."""
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
            signatures = await asyncio.to_thread(lambda: witness.add_checkpoint(parse_request(body)))
        except UnknownLog as error:
            return error_response(404, str(error), "origin", "ask the witness's operator to add the log")
        except SignatureRefused as error:
            return error_response(403, str(error), "signature", "send the checkpoint with a valid signature of the log")
        except SizeConflict as error:
            # Given as a header, for the framework would add a charset to a media type of text.
            return Response(f"{error.size}\n", 409, headers={**FRESH, "content-type": "text/x.tlog.size"})
        except ProofRefused as error:
            return error_response(422, str(error), "consistency proof", "prove the checkpoint from the old size")
        except KeyUnavailable as error:
            return error_response(503, str(error), "", "the operator must look into the witness's keys")
        lines = format_note(Note(text="\n", signatures=signatures)).removeprefix(b"\n\n")
        return PlainTextResponse(lines, headers=FRESH)

    async def checkpoint(request: Request) -> Response:
        note = await asyncio.to_thread(witness.newest, request.path_params["origin_hash"])
        return PlainTextResponse(note, headers=FRESH)

    return [
        Route("/add-checkpoint", guarded(add_checkpoint), methods=["POST"]),
        Route("/{origin_hash}/checkpoint", guarded(checkpoint), methods=["GET"]),
    ]


def _by_origin(logs: Iterable[VerifierKey]) -> dict[str, list[tuple[VerifierKey, ...]]]:
    """Origin → generations of keys, one after the other; keys that are configured together are one generation."""
    found: dict[str, list[tuple[VerifierKey, ...]]] = {}
    for key in logs:
        (together,) = found.get(_log_key(key).name, [()])
        found[key.name] = [(*together, key)]
    return found


def _log_key(key: VerifierKey) -> VerifierKey:
    if key.algorithm != ED25519:
        raise FormatError("log key", f"{key.name} is not of type 0x01")
    return key


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
