"""Removal and rekeying while a site, its peer or the custodian goes away: nothing is forgotten, or kept, by half."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from keepers import YEAR, Opener, events, has_ciphertext, keeper, state
from ledgers import until
from sites import Ground, Site, clear, running_site

from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.regions.keeping.rekey import rekey
from glasshouse.storage.db import Database

NOW = 1_900_000_000


@dataclass
class Switched:
    """Two sites that a test starts and stops, each with its own database and directory."""

    ground: Ground
    databases: dict[str, Database]

    def start(self, stack: ExitStack, name: str) -> Site:
        return stack.enter_context(running_site(self.ground, name, self.databases[name]))

    def both(self, stack: ExitStack) -> tuple[Site, Site]:
        one, other = (self.start(stack, name) for name in self.ground.names)
        until(lambda: one.intake.replication.able and other.intake.replication.able, 60)
        return one, other


@pytest.fixture
def switched(database: Database, other_database: Database, tmp_path: Path) -> Switched:
    for each in (database, other_database):
        clear(each)
    ground = Ground(tmp_path)
    return Switched(ground, dict(zip(ground.names, (database, other_database), strict=True)))


def test_stopped_between_the_event_and_the_deletion(switched: Switched) -> None:
    with ExitStack() as stack:
        one, other = switched.both(stack)
        handle = one.upload(b"removed, not yet deleted").handle
        assert keeper(one, after=YEAR + 60).remove_due() == 1
        until(lambda: state(other, handle) == ("removed", False), 60)
        assert has_ciphertext(one, handle)
        assert has_ciphertext(other, handle)
    with ExitStack() as stack:
        one, other = switched.both(stack)
        for site in (one, other):
            keeper(site).clear()
            assert state(site, handle) == ("removed", False)
            assert not has_ciphertext(site, handle)
        assert len(events(other, one.name, "removed")) == 1
        assert keeper(one, after=YEAR + 60).remove_due() == 0


def test_the_ciphertext_waits_for_the_peer(switched: Switched) -> None:
    """An event that only this site has deletes nothing yet: the peer might never hear of it."""
    with ExitStack() as stack:
        one, _ = switched.both(stack)
        handle = one.upload(b"erased while the peer is away").handle
    with ExitStack() as stack:
        one = switched.start(stack, "zurich-1")
        # What is due waits for the peer altogether.
        assert keeper(one, after=YEAR + 60).step() is False
        assert state(one, handle) == ("held", True)
        # A removal that was begun in spite of that does not delete the ciphertext.
        assert keeper(one, after=YEAR + 60, able=True).remove_due() == 1
        keeper(one).clear()
        assert state(one, handle) == ("removed", False)
        assert has_ciphertext(one, handle)
        other = switched.start(stack, "zurich-2")
        until(lambda: state(other, handle) == ("removed", False), 60)
        until(lambda: keeper(one).clear() == 0 and not has_ciphertext(one, handle), 60)
        keeper(other).clear()
        assert not has_ciphertext(other, handle)


def test_a_rekeying_survives_restarts_and_an_absent_custodian(
    switched: Switched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glasshouse.regions.keeping.rekey.BATCH", 2)
    with ExitStack() as stack:
        one, _ = switched.both(stack)
        handles = [one.upload(b"object %d" % number).handle for number in range(5)]
        old = one.place.keys.epochs()
        with pytest.raises(CustodyUnavailable):
            rekey(one.place, Opener(patience=2), now=NOW)
    with ExitStack() as stack:
        one, other = switched.both(stack)
        assert [one.content(handle) for handle in handles] == [b"object %d" % number for number in range(5)]
        done = rekey(one.place, Opener(), now=NOW)
        assert (done.destroyed, done.wrapped) == (old, 1)
        assert [one.content(handle) for handle in handles] == [b"object %d" % number for number in range(5)]
    with ExitStack() as stack:
        # Stopped before its wish became an event: the next start says it.
        one, other = switched.both(stack)
        until(lambda: keeper(one).step() is False)
        until(lambda: len(events(other, one.name, "rekeyed")) == 1, 60)
