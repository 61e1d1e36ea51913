"""A ring of keys: what a node that goes on running holds for one purpose, over all rotations.

The ledger signs with the key that the charter in force names, a witness with all that it has. A key made while they run
is found without a restart, and one that a token refused the PIN for is not tried again.
"""

import threading
from collections.abc import Callable, Iterable

from glasshouse_verify.encoding import encode_base64

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.signer import Signer


class KeyRing:
    """Signers by their public keys, oldest first. Threads may share it.

    ``find`` gives the signers that it has not given before; it may raise KeyUnavailable.
    """

    def __init__(self, *signers: Signer, find: Callable[[], Iterable[Signer]] = tuple) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._signers = {signer.public: signer for signer in signers}

    def signers(self) -> tuple[Signer, ...]:
        """The signers found so far."""
        with self._lock:
            return tuple(self._signers.values())

    def refresh(self) -> None:
        """Look for keys made meanwhile; raises KeyUnavailable for one that cannot be used."""
        with self._lock:
            for signer in self._find():
                self._signers.setdefault(signer.public, signer)

    def holding(self, public: bytes) -> Signer:
        """The signer of a public key; raises KeyUnavailable where this party does not hold it."""
        with self._lock:
            signer = self._signers.get(public)
        if signer is None:
            self.refresh()
            with self._lock:
                signer = self._signers.get(public)
        if signer is None:
            raise KeyUnavailable(f"the private half of the key {encode_base64(public)} is not among this node's keys")
        return signer
