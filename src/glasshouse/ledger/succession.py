"""How a witness learns that the log of its initiative has a new key, without keeping a copy of the log.

Charters are hash-chained and signed by a quorum of members, so a witness that has the pin can judge an amendment by
itself; it takes one only once the amendment stands in the tree that the witness has cosigned. The order on running
nodes is therefore: the amendment is logged, the old key signs the checkpoint over it, the witnesses cosign that (the
handover), the ledger publishes it, each witness finds the amendment there, and from then on takes the new key.

Keys that the witness itself is given meanwhile are found on the way.
"""

import logging
import threading
from collections.abc import Callable
from typing import Self

from glasshouse_verify.charter import Chain
from glasshouse_verify.checkpoint import Checkpoint
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.note import parse_vkey
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import inclusion_proof, verify_inclusion

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.evidence import extend_chain
from glasshouse.ledger.witness import Witness
from glasshouse.parties.errors import PartyError
from glasshouse.parties.ring import KeyRing
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
_PATIENCE_SECONDS = 2.0


class Succession:
    """The charters in force as a witness follows them. For one thread at a time."""

    def __init__(self, pin: bytes, witness: Witness) -> None:
        """Start from the payload of the first charter statement. Raises CharterError or FormatError."""
        self._chain = Chain(pin)
        self._witness = witness
        self._size = 0

    @property
    def url(self) -> str:
        """Where the ledger is, by the newest charter."""
        return self._chain.newest.charter.ledger.url

    def follow(self, client: LedgerClient) -> None:
        """Take the amendments that the cosigned tree holds, and the log keys that they name.

        The ledger is asked only where the tree has grown. Raises LedgerError where it does not answer.
        """
        cosigned = self._witness.cosigned(self._chain.newest.charter.ledger.origin)
        if cosigned is None or cosigned.size == self._size:
            return

        def included(index: int, entry: bytes) -> None:
            _check_included(client, cosigned, index, entry)

        while extend_chain(self._chain, client, cosigned.size, included) is not None:
            charter = self._chain.newest.charter
            if self._witness.succeed(parse_vkey(charter.ledger.key)):
                _LOG.info("charter %d gives the log %s a new key", charter.version, charter.ledger.origin)
        self._size = cosigned.size


class SuccessionWatch:
    """Follows a succession and looks for the witness's own new keys in a thread, while it is entered."""

    def __init__(self, succession: Succession, keys: KeyRing, *, poll_seconds: float) -> None:
        self._succession = succession
        self._keys = keys
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="succession", daemon=True)
        self._said = ""
        self._client: LedgerClient | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._client is not None:
            self._client.close()

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            failed = self._attempt(self._keys.refresh) or self._attempt(self._follow)
            # A ledger that is down for a day is said once.
            if failed and failed != self._said:
                _LOG.warning("looking for new keys: %s", failed)
            self._said = failed

    def _follow(self) -> None:
        url = self._succession.url
        if self._client is None or self._client.url != url.rstrip("/"):
            patience = {"timeout_seconds": _PATIENCE_SECONDS, "patience_seconds": _PATIENCE_SECONDS}
            self._client = LedgerClient(url, **patience)
        self._succession.follow(self._client)

    @staticmethod
    def _attempt(step: Callable[[], None]) -> str:
        try:
            step()
        except (LedgerError, PartyError, StorageError, VerifyError) as error:
            return str(error)
        return ""


def _check_included(client: LedgerClient, cosigned: Checkpoint, index: int, entry: bytes) -> None:
    """Raise ProofError unless the entry stands in the cosigned tree."""
    proof = inclusion_proof(index, cosigned.size, client.reader(cosigned.size))
    verify_inclusion(leaf_hash(entry), index, cosigned.size, proof, cosigned.root)
