"""The integrator: makes the tree of the sequenced entries, signs it, has it cosigned, publishes it. One per log.

The order is the promise. Entries are durable already (writer.py); then

    1. entry bundles and tiles, durable, each written once;
    2. a look at what was written: the stored tiles must prove that the new tree extends the one signed last;
    3. the log's signature and, by compare-and-swap in the database, the record that this tree is the newest signed one;
    4. the pending checkpoint, then the witnesses, then, once the policy is satisfied, the published checkpoint.

Where an amendment changes who vouches for the log, the checkpoint that first covers it is signed and cosigned as before
(the handover), and the same tree right after that as the amendment asks.

A crash between any two steps leaves tiles nobody refers to yet, or a signed tree not published yet; the next start
goes on from the database's record. Nothing is ever signed that contradicts it: if the tiles, the entries or a witness
do, the integrator raises LogAlarm and stops for good.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from glasshouse_verify.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from glasshouse_verify.errors import ProofError, QuorumError, VerifyError
from glasshouse_verify.note import (
    Note,
    NoteSignature,
    VerifierKey,
    format_note,
    parse_note,
    signature_value,
    verify_note,
)
from glasshouse_verify.policy import Policy
from glasshouse_verify.tile import TILE_WIDTH, entries_path, format_bundle, tile_path, tile_reader
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import consistency_proof, tree_root, verify_consistency

from glasshouse.ledger.cosign import Cosigner, Witnessing, WitnessingRule, satisfies
from glasshouse.ledger.edge import Edge, first_contradiction, tile_fetcher
from glasshouse.ledger.errors import LogAlarm
from glasshouse.ledger.log import CHECKPOINT_KEY, PENDING_KEY, QUERIES, Log, StoredEntry, read_entries, read_head
from glasshouse.parties.errors import PartyError
from glasshouse.parties.ring import KeyRing
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ObjectConflict, ObjectMissing, StorageError
from glasshouse.storage.objects import ObjectStore

_LOG = logging.getLogger(__name__)
MAX_STEP_ENTRIES = 32_768
_PARALLEL_WRITES = 8
_MAX_BACKOFF_SECONDS = 30.0
_IDLE_SECONDS = 5.0


class Integrator:
    """Integrates and publishes one log. Use as a context manager: it runs in a thread of its own.

    ``keys`` are the log's own, ``witnessing`` says which of them signs a checkpoint and whom to ask for cosignatures.
    Opening raises LogAlarm if the records of the log contradict each other. A key that is asked for and not there is
    waited for, as witnesses are: acknowledged entries stay durable.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        log: Log,
        keys: KeyRing,
        witnessing: WitnessingRule,
        *,
        interval_seconds: float = 0.5,
        refresh_seconds: float = 600.0,
        witness_timeout_seconds: float = 5.0,
    ) -> None:
        known = {key.public for key in (log.key, *witnessing.log_keys())}
        if not any(signer.public in known for signer in keys.signers()):
            raise LogAlarm(f"the key given is not the one that the log {log.origin!r} signs with")
        self._database = database
        self._store = store
        self._log = log
        self._keys = keys
        self._witnessing = witnessing
        self._interval_seconds = interval_seconds
        self._refresh_seconds = refresh_seconds
        self._cosigner = Cosigner(log.key, other_keys=self._log_keys, timeout_seconds=witness_timeout_seconds)
        self._writes = ThreadPoolExecutor(max_workers=_PARALLEL_WRITES, thread_name_prefix="tiles")
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="integrator", daemon=True)
        self._retry_at = 0.0
        self._backoff_seconds = interval_seconds
        self._more = False
        self._alarm: str | None = None
        self._signed: Checkpoint | None = None
        self._signed_note: Note | None = None
        self._published_size = -1
        self._published_at = 0.0
        self._published_policies: tuple[Policy, ...] | None = None
        try:
            self._edge = self._open()
        except BaseException:
            self._close()
            raise

    @property
    def alarm(self) -> str | None:
        """Why nothing is signed any more, None in good order."""
        return self._alarm

    @property
    def signed_size(self) -> int:
        """The size of the newest signed tree, -1 before the first."""
        return -1 if self._signed is None else self._signed.size

    @property
    def published_size(self) -> int:
        """The size of the published checkpoint, -1 before the first."""
        return self._published_size

    def wake(self) -> None:
        """Say that entries were sequenced."""
        self._wake.set()

    def __enter__(self) -> "Integrator":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._close()

    def step(self) -> None:
        """Integrate what was sequenced, sign it, publish what the witnesses cosign. Raises LogAlarm, StorageError."""
        self._integrate()
        while self._publish():
            _LOG.info("the log %s is handed over at %d entries", self._log.origin, self._published_size)

    def _close(self) -> None:
        self._writes.shutdown()
        self._cosigner.close()

    # --- opening -------------------------------------------------------------------------------------------------

    def _open(self) -> Edge:
        """The edge of the newest signed tree, compared with the database, the tiles and the stored checkpoints."""
        head = read_head(self._database, self._log)
        size = head.signed_size or 0
        for key in (PENDING_KEY, CHECKPOINT_KEY):
            with contextlib.suppress(ObjectMissing):
                self._compare_stored(key, self._store.get(key), head.signed_size, head.signed_root)
        edge = Edge()
        if size:
            try:
                edge = Edge.load(size, tile_fetcher(self._store))
            except ObjectMissing as error:
                raise LogAlarm(
                    f"{error.key} is missing, but a tree of {size} entries was signed: the store was rolled back"
                ) from error
            except VerifyError as error:
                raise LogAlarm(f"a stored tile is not what was signed: {error}") from error
            if edge.root() != head.signed_root:
                raise LogAlarm(f"the stored tree is not the one signed at {size} entries: {self._contradiction(size)}")
        self._recall()
        return edge

    def _compare_stored(self, key: str, data: bytes, size: int | None, root: bytes | None) -> None:
        try:
            note = parse_note(data)
            verify_note(note, self._log_keys())
            stored = parse_checkpoint(note.text)
        except VerifyError as error:
            raise LogAlarm(f"{key} in the store is not a checkpoint of this log: {error}") from error
        if size is None or stored.size > size:
            raise LogAlarm(
                f"{key} in the store is signed for {stored.size} entries, the database knows of {size or 0}: "
                "the database was rolled back or belongs to another log"
            )
        if stored.size == size and stored.root != root:
            raise LogAlarm(f"{key} in the store and the database hold two trees of {size} entries")

    def _recall(self) -> None:
        """Take up the newest signed and witnessed checkpoints, and store them again in case a crash came between."""
        with self._database.transaction() as connection:
            signed = connection.execute(QUERIES["newest_signed"], {"log_id": self._log.id}).fetchone()
            witnessed = connection.execute(QUERIES["newest_witnessed"], {"log_id": self._log.id}).fetchone()
        if signed is not None and isinstance(signed[1], bytes):
            self._signed_note = parse_note(signed[1])
            self._signed = parse_checkpoint(self._signed_note.text)
            self._store.put(PENDING_KEY, signed[1])
        if witnessed is not None and isinstance(witnessed[1], bytes):
            self._published_size = parse_checkpoint(parse_note(witnessed[1]).text).size
            # What is stored may be the same checkpoint with newer cosignatures.
            stored = self._stored()
            if stored is None or parse_checkpoint(stored.text).size < self._published_size:
                self._store.put(CHECKPOINT_KEY, witnessed[1])
                stored = parse_note(witnessed[1])
            policies = self._witnessing(self._published_size, self._published_size).policies
            self._published_policies = policies if satisfies(policies, stored) else None

    def _stored(self) -> Note | None:
        try:
            return parse_note(self._store.get(CHECKPOINT_KEY))
        except ObjectMissing:
            return None

    def _contradiction(self, size: int) -> str:
        start = size - size % TILE_WIDTH
        leaves = {entry.index: entry.leaf for entry in read_entries(self._database, self._log, start, size)}
        return first_contradiction(size, self._store, leaves)

    # --- integrating ---------------------------------------------------------------------------------------------

    def _integrate(self) -> None:
        head = read_head(self._database, self._log)
        old = self._signed
        if (head.signed_size, head.signed_root) != ((old.size, old.root) if old else (None, None)):
            raise LogAlarm("the database's record of the newest signed tree changed behind this writer's back")
        size = min(head.sequenced, self._edge.size + MAX_STEP_ENTRIES)
        self._more = size < head.sequenced
        if old is not None and size == old.size:
            return
        edge = self._edge.copy()
        try:
            self._write(edge, size)
        except ObjectConflict as error:
            raise LogAlarm(f"{error.key} is stored with other content than the entries have") from error
        new = Checkpoint(origin=self._log.origin, size=edge.size, root=edge.root())
        self._check_stored(old, new)
        note = self._sign(new, self._rule(new))
        self._swap(old, new, note)
        self._edge, self._signed, self._signed_note = edge, new, note
        self._retry_at = 0.0
        self._store.put(PENDING_KEY, format_note(note))

    def _write(self, edge: Edge, size: int) -> None:
        """Append the entries up to ``size`` to the edge, and store the bundles and tiles of a tree of this size."""
        under_way: set[Future[bool]] = set()

        def store(key: str, data: bytes) -> None:
            nonlocal under_way
            if len(under_way) >= 2 * _PARALLEL_WRITES:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
            under_way.add(self._writes.submit(self._store.create, key, data))

        finished: list[int] = []
        for number, bundle in self._bundles(edge, size):
            for entry in bundle:
                if entry.index >= edge.size:
                    for tile in edge.append(entry.leaf):
                        store(tile.key, tile.data)
            store(entries_path(number, len(bundle)), format_bundle(entry.data for entry in bundle))
            if len(bundle) == TILE_WIDTH:
                finished.append(number)
        for tile in edge.partial_tiles():
            store(tile.key, tile.data)
        for future in under_way:
            future.result()
        for number in finished:
            # One bundle late, for readers who are still at an older size.
            self._drop_partials(number - 1)

    def _bundles(self, edge: Edge, size: int) -> Iterator[tuple[int, list[StoredEntry]]]:
        """The entries of each bundle that is new or has grown, checked against their leaf hashes and the edge."""
        known = edge.leaves[:]
        start = edge.size - len(known)
        bundle: list[StoredEntry] = []
        expected = start
        for entry in read_entries(self._database, self._log, start, size):
            if entry.index != expected or leaf_hash(entry.data) != entry.leaf:
                raise LogAlarm(f"entry {expected} in the database is missing or not what was acknowledged")
            if entry.index - start < len(known) and known[entry.index - start] != entry.leaf:
                raise LogAlarm(f"entry {entry.index} in the database is not the one in the signed tree")
            bundle.append(entry)
            expected += 1
            if len(bundle) == TILE_WIDTH:
                yield entry.index // TILE_WIDTH, bundle
                bundle = []
        if expected != size:
            raise LogAlarm(f"entry {expected} is missing in the database, which says that it has {size}")
        if bundle:
            yield bundle[0].index // TILE_WIDTH, bundle

    def _check_stored(self, old: Checkpoint | None, new: Checkpoint) -> None:
        """The tiles as they are stored, not as they are in memory, must lead from the old root to the new one."""
        read = tile_reader(new.size, tile_fetcher(self._store))
        try:
            if tree_root(new.size, read) != new.root:
                raise ProofError(f"the stored tiles do not have the root of the tree of {new.size} entries")
            if old is not None and old.size:
                proof = consistency_proof(old.size, new.size, read)
                verify_consistency(old.size, new.size, old.root, new.root, proof)
        except (VerifyError, ObjectMissing) as error:
            raise LogAlarm(
                f"not signed: {error}; {self._contradiction(old.size) if old else 'the store loses writes'}"
            ) from error

    def _rule(self, checkpoint: Checkpoint) -> Witnessing:
        """Who has to vouch for a checkpoint, after the one published last."""
        return self._witnessing(max(self._published_size, 0), checkpoint.size)

    def _log_keys(self) -> tuple[VerifierKey, ...]:
        """Every key of this log: those that have signed, those that shall, and what else its ring holds."""
        held = (
            VerifierKey(name=self._log.origin, algorithm=self._log.key.algorithm, public=signer.public)
            for signer in self._keys.signers()
        )
        return tuple(dict.fromkeys((self._log.key, *self._witnessing.log_keys(), *held)))

    def _sign(self, checkpoint: Checkpoint, witnessing: Witnessing) -> Note:
        """The note with the signatures of the log that the policies ask for. Raises KeyUnavailable."""
        text, keys = format_checkpoint(checkpoint), witnessing.signing_keys(self._log.key)
        signed = ((key, self._keys.holding(key.public).sign(text.encode())) for key in keys)
        signatures = tuple(
            NoteSignature(name=key.name, key_id=key.key_id, value=signature_value(key.algorithm, signature, 0))
            for key, signature in signed
        )
        note = Note(text=text, signatures=signatures)
        verify_note(note, keys)
        return note

    def _swap(self, old: Checkpoint | None, new: Checkpoint, note: Note) -> None:
        """Record the new tree as the newest signed one, unless the record is not the one it was built on."""
        with self._database.transaction() as connection:
            swapped = connection.execute(
                QUERIES["sign"],
                {
                    "log_id": self._log.id,
                    "size": new.size,
                    "root": new.root,
                    "old_size": None if old is None else old.size,
                    "old_root": None if old is None else old.root,
                },
            ).fetchone()
            if swapped is None:
                raise LogAlarm(f"not published: another tree was signed while that of {new.size} entries was made")
            connection.execute(
                QUERIES["insert_checkpoint"],
                {"log_id": self._log.id, "size": new.size, "root": new.root, "signed": format_note(note)},
            )

    def _drop_partials(self, number: int) -> None:
        """Remove the partial forms of a full bundle and its tile, which the full forms begin with."""
        for full in (entries_path(number), tile_path(0, number)) if number >= 0 else ():
            list(self._writes.map(self._store.delete, self._store.list(f"{full}.p/")))

    # --- publishing ----------------------------------------------------------------------------------------------

    def _publish(self) -> bool:
        """Publish the signed tree where that is due; True if it was published and already other policies ask for it."""
        signed = self._signed
        now = time.monotonic()
        if signed is None or now < self._retry_at or not self._is_due(signed, now):
            return False
        witnessing = self._rule(signed)
        read = tile_reader(signed.size, tile_fetcher(self._store))
        try:
            note = self._signed_for(signed, witnessing)
            cosigned = self._cosigner.collect(note, witnessing, lambda old: consistency_proof(old, signed.size, read))
        except (QuorumError, PartyError) as error:
            self._retry_at = now + self._backoff_seconds
            self._backoff_seconds = min(2 * self._backoff_seconds, _MAX_BACKOFF_SECONDS)
            _LOG.warning("the checkpoint of %d entries waits for signatures: %s", signed.size, error)
            return False
        data = format_note(cosigned)
        with self._database.transaction() as connection:
            connection.execute(
                QUERIES["set_witnessed"], {"log_id": self._log.id, "size": signed.size, "witnessed": data}
            )
        self._store.put(CHECKPOINT_KEY, data)
        self._published_size, self._published_at = signed.size, now
        self._published_policies = witnessing.policies
        self._backoff_seconds = self._interval_seconds
        return self._is_due(signed, now)

    def _is_due(self, signed: Checkpoint, now: float) -> bool:
        """Whether the signed tree is not published, or not lately, or not as the charter in force by now asks."""
        if signed.size != self._published_size or now >= self._published_at + self._refresh_seconds:
            return True
        return self._rule(signed).policies != self._published_policies

    def _signed_for(self, signed: Checkpoint, witnessing: Witnessing) -> Note:
        """The signed tree's note, signed anew where it was signed by other keys than are asked for now."""
        note, keys = self._signed_note, witnessing.signing_keys(self._log.key)
        if note is None or {(s.name, s.key_id) for s in note.signatures} != {(k.name, k.key_id) for k in keys}:
            note = self._signed_note = self._sign(signed, witnessing)
            self._store.put(PENDING_KEY, format_note(note))
        return note

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.step()
            except LogAlarm as error:
                self._alarm = str(error)
                _LOG.critical("the log %s is stopped: %s", self._log.origin, error)
                return
            except (StorageError, PartyError) as error:
                _LOG.warning("integration waits: %s", error)
            except Exception:
                _LOG.exception("integration failed; it will be tried again")
            self._stopping.wait(self._interval_seconds)
            if not self._more:
                behind = self._signed is not None and self._is_due(self._signed, time.monotonic())
                self._wake.wait(self._interval_seconds if behind else min(self._refresh_seconds, _IDLE_SECONDS))
            self._wake.clear()
