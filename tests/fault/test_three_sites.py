"""A region of three sites whose charter asks for two copies: one away and back, one that joins later."""

import contextlib
import hashlib
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from glasshouse_verify.region import Mode, Region
from keepers import Opener
from ledgers import until
from sites import Ground, Site, clear, receipt_of, running_site, same_journals, signing_sites

from glasshouse.regions.inventory import Inventories
from glasshouse.regions.placing import Place
from glasshouse.regions.vault import Vault
from glasshouse.storage.db import Database

NAMES = ("zurich-1", "zurich-2", "zurich-3")
LARGE = 3 << 20


@dataclass
class Growing(Ground):
    """Three sites, of which the charter names `members` at the moment."""

    names: tuple[str, ...] = NAMES
    members: tuple[str, ...] = NAMES
    opener: Opener = field(default_factory=Opener)

    def region(self) -> Region:
        whole = super().region()
        return replace(whole, sites={name: whole.sites[name] for name in self.members})  # type: ignore[index]

    def place(self, name: str, database: Database, vault: Vault | None = None) -> Place:
        place = super().place(name, database, vault)
        return replace(place, rules=lambda: self.rules(name), custodian=lambda: self.opener)


@pytest.fixture
def databases(database: Database, other_database: Database, third_database: Database) -> tuple[Database, ...]:
    found = (database, other_database, third_database)
    for one in found:
        clear(one)
    return found


def held_at(receipt: bytes, *sites: Site) -> bool:
    """Whether the sites hold the content of a receipt that two of the region have signed."""
    said = receipt_of(receipt)
    assert len(signing_sites(sites[0].ground, receipt)) == 2
    return all(hashlib.sha256(site.content(said.handle)).hexdigest() == said.sha256 for site in sites)


def known(site: Site, *peers: str) -> bool:
    return {one.peer for one in site.intake.replication.replicators if one.up.is_set()} == set(peers)


@pytest.mark.parametrize("mode", list(Mode))
def test_one_of_three_is_away_and_comes_back(tmp_path: Path, databases: tuple[Database, ...], mode: Mode) -> None:
    ground = Growing(tmp_path, custody=mode)
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(running_site(ground, *of)) for of in zip(NAMES[:2], databases[:2], strict=True))
        with running_site(ground, NAMES[2], databases[2]):
            until(lambda: known(one, *NAMES[1:]) and known(two, NAMES[0], NAMES[2]))
            receipts = [site.upload(b"three are there, says %s" % site.name.encode()).receipt for site in (one, two)]
        until(lambda: known(one, NAMES[1]) and known(two, NAMES[0]))
        receipts += [site.upload(os.urandom(size)).receipt for site in (one, two) for size in (10, 70_000, LARGE)]
        with running_site(ground, NAMES[2], databases[2]) as three:
            until(lambda: same_journals(one, two, three))
            receipts.append(three.upload(b"back").receipt)
            until(lambda: same_journals(one, two, three))
            assert all(held_at(receipt, one, two, three) for receipt in receipts)
            # Everything was kept for the third as long as it was away: nobody had to ask the custodian.
            assert ground.opener.counted == {}
            transfers = "select count(*) from regions.object where transfer is not null"
            until(lambda: all(site.rows(transfers) == [(0,)] for site in (one, two, three)))


def test_uploads_go_on_while_the_third_flaps(tmp_path: Path, databases: tuple[Database, ...]) -> None:
    """Nobody who waits for two signatures is told that a site is missing because another one is."""
    ground, stopping, stored, failed = Growing(tmp_path), threading.Event(), [], []
    with (
        running_site(ground, NAMES[0], databases[0]) as one,
        running_site(ground, NAMES[1], databases[1]) as two,
    ):
        until(lambda: known(one, NAMES[1]))

        def send() -> None:
            while not stopping.is_set():
                try:
                    stored.append(one.upload(os.urandom(100)).receipt)
                except Exception as error:
                    failed.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for _ in range(3):
                with running_site(ground, NAMES[2], databases[2]) as three:
                    until(lambda: known(one, *NAMES[1:]))
                until(lambda: known(one, NAMES[1]))
        finally:
            stopping.set()
            sender.join()
        assert failed == []
        with running_site(ground, NAMES[2], databases[2]) as three:
            until(lambda: same_journals(one, two, three))
            assert all(held_at(receipt, one, two, three) for receipt in (*stored[:3], *stored[-3:]))


@pytest.mark.parametrize("mode", list(Mode))
def test_a_third_site_joins_while_the_others_serve(tmp_path: Path, databases: tuple[Database, ...], mode: Mode) -> None:
    """An amendment brings it in. What the two have by then reaches it too; in dual custody the custodian counts it."""
    ground = Growing(tmp_path, custody=mode, members=NAMES[:2])
    sizes = (10, 70_000, LARGE)
    with contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(running_site(ground, *of)) for of in zip(NAMES[:2], databases[:2], strict=True))
        until(lambda: known(one, NAMES[1]) and known(two, NAMES[0]))
        receipts = [site.upload(os.urandom(size)).receipt for site in (one, two) for size in sizes]
        until(lambda: same_journals(one, two))
        transfers = "select count(*) from regions.object where transfer is not null"
        until(lambda: all(site.rows(transfers) == [(0,)] for site in (one, two)))
        ground.members = NAMES
        three = stack.enter_context(running_site(ground, NAMES[2], databases[2]))
        until(lambda: known(one, *NAMES[1:]) and known(two, NAMES[0], NAMES[2]) and known(three, *NAMES[:2]))
        until(lambda: same_journals(one, two, three))
        receipts += [site.upload(b"after that, says %s" % site.name.encode()).receipt for site in (one, two, three)]
        until(lambda: same_journals(one, two, three))
        assert all(held_at(receipt, one, two, three) for receipt in receipts)
        assert ground.opener.counted == ({"repair": 2 * len(sizes)} if mode == Mode.DUAL else {})


def test_a_site_that_joins_as_the_first_by_name_takes_the_epochs_up(
    tmp_path: Path, databases: tuple[Database, ...]
) -> None:
    """The first by name announces epochs; not before it knows those that there were."""
    names = ("basel-1", *NAMES[:2])
    ground, now = Growing(tmp_path, names=names, members=NAMES[:2]), int(time.time())
    with contextlib.ExitStack() as stack:

        def start(name: str, database: Database) -> tuple[Site, Inventories]:
            site = stack.enter_context(running_site(ground, name, database))
            append, whole = site.intake.committer.append, site.intake.replication.whole
            return site, Inventories(site.place, append, whole=whole)

        found = [start(*of) for of in zip(NAMES[:2], databases[:2], strict=True)]

        def closed(epoch: int) -> bool:
            for _, inventories in found:
                inventories.turn(now, at_once=inventories.last().epoch < epoch)
            return all(inventories.last().epoch == epoch for _, inventories in found)

        until(lambda: known(found[0][0], NAMES[1]) and known(found[1][0], NAMES[0]))
        for epoch, content in enumerate((b"one", b"two"), start=1):
            found[0][0].upload(content)
            until(lambda epoch=epoch: closed(epoch))  # type: ignore[misc]
        ground.members = names
        joined, inventories = start(names[0], databases[2])
        # Nothing is here yet, or only a part: this site would lead, and says nothing.
        inventories.turn(now, at_once=True)
        found.append((joined, inventories))
        until(lambda: known(joined, *NAMES[:2]))
        joined.upload(b"three")
        until(lambda: closed(3))
        assert len({(last.epoch, *sorted(last.cut.items())) for last in (one.last() for _, one in found)}) == 1
        assert [unposted.epoch for unposted in inventories.unposted()] == [3]
        assert set(inventories.last().cut) == set(names)
