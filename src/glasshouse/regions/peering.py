"""All the peers of a site: a replicator for each, which come and go with the rules of the moment."""

import threading
from collections.abc import Sequence

from glasshouse.regions import journal
from glasshouse.regions.batch import Item
from glasshouse.regions.errors import Short
from glasshouse.regions.peers import Credentials
from glasshouse.regions.placing import Place
from glasshouse.regions.replication import Receipts, Replicator
from glasshouse.regions.unwrapping import Unwrapping


class Replication:
    """All the peers of a site, as the rules of the moment have them. Use as a context manager."""

    def __init__(self, place: Place, receipts: Receipts, own: Credentials) -> None:
        self._place = place
        self._receipts = receipts
        self._own = own
        self._unwrapping = Unwrapping(place)
        self._lock = threading.Lock()
        self._running = False
        self._replicators: dict[str, Replicator] = {}
        self.renew(place.rules().peers)

    @property
    def replicators(self) -> list[Replicator]:
        """One for each peer."""
        with self._lock:
            return list(self._replicators.values())

    @property
    def peers(self) -> frozenset[str]:
        """Those that are pushed to."""
        with self._lock:
            return frozenset(self._replicators)

    def renew(self, peers: Sequence[str]) -> None:
        """Push to these peers from now on; their journals are open. Returns once those that are gone have ended."""
        with self._lock:
            gone = [self._replicators.pop(peer) for peer in set(self._replicators) - set(peers)]
            for peer in peers:
                if peer not in self._replicators:
                    made = Replicator(
                        self._place, self._receipts, peer, self._own, self._unwrapping, able=lambda: self.able
                    )
                    self._replicators[peer] = made
                    if self._running:
                        made.__enter__()
        for replicator in gone:
            replicator.__exit__()

    @property
    def able(self) -> bool:
        """Whether as many peers answer as a receipt needs."""
        up = sum(replicator.up.is_set() for replicator in self.replicators)
        return up + 1 >= self._place.rules().rules.replicas

    def whole(self) -> bool:
        """Whether every peer was met, and its journal is here as far as it went then."""
        heads = journal.heads(self._place.database)
        met = {replicator.peer: replicator.met for replicator in self.replicators}
        return all(
            position is not None and peer in heads and heads[peer].position >= position
            for peer, position in met.items()
        )

    def offer(self, items: Sequence[Item]) -> None:
        """See Replicator."""
        for replicator in self.replicators:
            replicator.offer(items)

    def settle(self) -> None:
        """Wait until the receipts that were handed out are written down, for somebody who is about to read them."""
        for replicator in self.replicators:
            replicator.settle()

    def __enter__(self) -> "Replication":
        with self._lock:
            self._running = True
            for replicator in self._replicators.values():
                replicator.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.renew(())
        self._receipts.fail(Short("the site is stopping"))
