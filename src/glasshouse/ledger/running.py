"""A running log: its writer, its integrator and its reads in one object, for the process that serves it."""

import contextlib
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from typing import Self

from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.note import VerifierKey, parse_note, parse_vkey
from glasshouse_verify.tile import tile_reader
from glasshouse_verify.tlogproof import TlogProof, format_tlog_proof
from glasshouse_verify.tree import inclusion_proof

from glasshouse.ledger.admission import Admission, CharterAdmission
from glasshouse.ledger.cosign import WitnessEndpoint, Witnessing, WitnessingRule
from glasshouse.ledger.edge import tile_fetcher
from glasshouse.ledger.errors import LogAlarm, NotThere
from glasshouse.ledger.integrate import Integrator
from glasshouse.ledger.log import CHECKPOINT_KEY, QUERIES, Log, lookup
from glasshouse.ledger.writer import Sequencer, new_entry
from glasshouse.parties.ring import KeyRing
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ObjectMissing
from glasshouse.storage.objects import ObjectStore


class RunningLog:
    """An opened log that takes entries and publishes them while it is entered as a context manager.

    ``keys`` are the log's own, ``witnessing`` says which of them signs a checkpoint and whom to ask for cosignatures;
    see ``FixedWitnessing`` and ``CharterWitnessing``.
    Constructing it raises LogAlarm if the log's records contradict each other, WriterConflict if another process runs
    the log, DatabaseUnavailable or StorageUnavailable.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: ObjectStore,
        log: Log,
        keys: KeyRing,
        admission: Admission,
        witnessing: WitnessingRule,
        interval_seconds: float = 0.5,
        refresh_seconds: float = 600.0,
        witness_timeout_seconds: float = 5.0,
    ) -> None:
        self.database = database
        self.store = store
        self.log = log
        self.admission = admission
        admission.load(database, log)
        with contextlib.ExitStack() as undo:
            self._sequencer = Sequencer(database, log, admission, committed=self._wake)
            undo.callback(self._sequencer.close)
            self._integrator = Integrator(
                database,
                store,
                log,
                keys,
                witnessing,
                interval_seconds=interval_seconds,
                refresh_seconds=refresh_seconds,
                witness_timeout_seconds=witness_timeout_seconds,
            )
            undo.pop_all()

    @property
    def alarm(self) -> str | None:
        """Why the log signs nothing any more, None in good order."""
        return self._integrator.alarm

    @property
    def published_size(self) -> int:
        """The size of the published checkpoint, -1 before the first."""
        return self._integrator.published_size

    def add(self, entries: Sequence[bytes]) -> "Future[list[int]]":
        """Sequence entries, all or none; the future gives their indexes once they are durable.

        Raises EntryRefused, NotAdmitted, Busy; LogAlarm when the log has stopped signing, for then nothing acknowledged
        would ever be published.
        """
        if self.alarm is not None:
            raise LogAlarm(self.alarm)
        return self._sequencer.submit([new_entry(entry, self.admission) for entry in entries])

    def lookup(self, digest: bytes, *, after: int = -1) -> list[int]:
        """The durable entries that name the digest or have it as their statement's identity, ascending.

        Those above index ``after``, at most MAX_LOOKUP.
        """
        return lookup(self.database, self.log, digest, after=after)

    def proof(self, index: int) -> bytes:
        """The tlog-proof of an entry against the published checkpoint. Raises NotThere."""
        try:
            note = parse_note(self.store.get(CHECKPOINT_KEY))
        except ObjectMissing:
            raise NotThere("no checkpoint has been published yet") from None
        size = parse_checkpoint(note.text).size
        if index >= size:
            raise NotThere(f"the published checkpoint has {size} entries, entry {index} is not among them")
        read = tile_reader(size, tile_fetcher(self.store))
        hashes = tuple(inclusion_proof(index, size, read))
        return format_tlog_proof(TlogProof(index=index, proof=hashes, checkpoint=note))

    def handover(self, version: int) -> bytes:
        """The first published checkpoint over the amendment to charter `version`, witnessed under the policy before.

        Raises NotThere.
        """
        link = self.admission.link(version) if isinstance(self.admission, CharterAdmission) else None
        if link is None or link.index < 0:
            raise NotThere(f"this log has no amendment to charter {version}")
        with self.database.transaction() as connection:
            values = {"log_id": self.log.id, "index": link.index}
            row = connection.execute(QUERIES["first_witnessed_above"], values).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise NotThere(f"no published checkpoint covers the amendment to charter {version} yet")
        return row[0]

    def __enter__(self) -> Self:
        self._sequencer.__enter__()
        self._integrator.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sequencer.__exit__()
        self._integrator.__exit__()

    def _wake(self) -> None:
        self._integrator.wake()


class FixedWitnessing:
    """The same witnesses and policies for every checkpoint."""

    def __init__(self, witnessing: Witnessing) -> None:
        self._witnessing = witnessing

    def __call__(self, _published_size: int, _size: int, /) -> Witnessing:
        """See WitnessingRule."""
        return self._witnessing

    def log_keys(self) -> Collection[VerifierKey]:
        """See WitnessingRule."""
        return tuple(key for policy in self._witnessing.policies for key in policy.logs)


class CharterWitnessing:
    """The log key, witnesses and policies of the charter.

    The checkpoint that first covers an amendment has to satisfy the policy of the charter before it (that is what
    proves the amendment), the ones after it the new policy. Where one checkpoint covers several amendments, it has to
    satisfy the policy before each of them.
    """

    def __init__(self, admission: CharterAdmission) -> None:
        self._admission = admission

    def __call__(self, published_size: int, size: int, /) -> Witnessing:
        """See WitnessingRule."""
        links = self._admission.between(published_size, size)
        needed = [link.charter for link in (links[:-1] or links)]
        asked = {
            witness.key: WitnessEndpoint(key=parse_vkey(witness.key), url=witness.url)
            for charter in (self._admission.newest.charter, *needed)
            for witness in charter.ledger.witnesses.values()
        }
        return Witnessing(policies=tuple(charter.policy for charter in needed), endpoints=tuple(asked.values()))

    def log_keys(self) -> Collection[VerifierKey]:
        """See WitnessingRule."""
        texts = dict.fromkeys(link.charter.ledger.key for link in self._admission.links())
        return tuple(map(parse_vkey, texts))
