"""Products of customers follow their region from its old site to the new ones, by the charter alone."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.encoding import JSON
from ledgers import until
from moves import MOVE, NEW, OLD, Move, moving
from sites import receipt_of

from glasshouse.regions import client as client_module
from glasshouse.regions.client import Sent, SiteClient
from glasshouse.regions.destination import Destination
from glasshouse.regions.errors import SiteUnavailable
from glasshouse.regions.keeping.fencing import fence_of
from glasshouse.storage.db import Database

METADATA: dict[str, JSON] = {"category": "suspicious"}


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        found.open()
        yield found


def send(client: SiteClient, directory: Path, content: bytes) -> Sent:
    path = directory / f"file-{threading.get_ident()}"
    path.write_bytes(content)
    return client.send_file(path, METADATA)


def test_a_product_sends_on_while_its_region_moves(move: Move, tmp_path: Path) -> None:
    token, stop, sent = move.enrol(), threading.Event(), list[tuple[bytes, Sent]]()

    def product() -> None:
        with move.client(token) as client:
            while not stop.is_set():
                content = os.urandom(200)
                sent.append((content, send(client, tmp_path, content)))

    thread = threading.Thread(target=product)
    thread.start()
    try:
        until(lambda: len(sent) > 20)
        move.fence()
        until(lambda: sent[-1][1].site in NEW, timeout_seconds=60)
        until(lambda: sum(one.site in NEW for _, one in sent) > 20, timeout_seconds=60)
    finally:
        stop.set()
        thread.join()
    move.wait()
    assert {one.site for _, one in sent} == {OLD, NEW[0]}
    for content, one in sent:
        handle = receipt_of(one.envelope).handle
        assert [site.content(handle) for site in move.new] == [content, content]
    found = fence_of(move.old.place, MOVE)
    assert found is not None
    assert len({one.receipt.handle for _, one in sent}) == len(sent)


def test_what_the_old_site_has_acknowledged_has_its_receipt_everywhere(move: Move, tmp_path: Path) -> None:
    token = move.enrol()
    with move.client(token) as client:
        first = send(client, tmp_path, b"mine")
        assert first.site == OLD
        move.wait()
        move.fence()
        again = send(client, tmp_path, b"mine")
        assert (again.site, again.created, again.envelope) == (NEW[0], False, first.envelope)
        assert client.receipt(first.receipt.handle) == first.envelope
        until(lambda: fence_of(move.old.place, MOVE).refused == 1)  # type: ignore[union-attr]
    move.ground.close()
    with move.client(token) as client:
        after = send(client, tmp_path, b"mine")
        assert (after.site, after.envelope) == (NEW[0], first.envelope)
        assert send(client, tmp_path, b"new").site == NEW[0]


def test_where_the_old_site_is_dead_the_new_ones_are_found(move: Move, tmp_path: Path) -> None:
    token = move.enrol()
    move.wait()
    move.fence()
    move.stop(OLD)
    with move.client(token) as client:
        assert send(client, tmp_path, b"mine").site == NEW[0]
        assert set(client.policies()) == set(NEW)


def test_nobody_is_kept_waiting_for_sites_that_never_open(move: Move, tmp_path: Path) -> None:
    """The old site is dead and was not fenced: the new ones do not take, and say so."""
    token = move.enrol()
    move.wait()
    move.stop(OLD)
    with move.client(token) as client, pytest.raises(SiteUnavailable, match="arriving: moscow takes the data"):
        send(client, tmp_path, b"mine")


def test_decisions_are_made_where_somebody_takes(move: Move) -> None:
    token = move.enrol()
    with move.client(token) as client:
        assert set(client.decide({"off": True})) == {OLD}
        move.wait()
        move.fence()
        assert set(client.decide({"off": True})) == set(NEW)


def test_a_file_in_parts_begins_anew_at_a_new_site(move: Move, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PART_BYTES", 100_000)
    token, content, fenced = move.enrol(), os.urandom(450_000), list[int]()
    path = tmp_path / "large"
    path.write_bytes(content)
    move.wait()

    def progress(size: int) -> None:
        fenced.append(size)
        if sum(fenced) > 250_000 and fence_of(move.old.place, MOVE) is None:
            move.fence()

    with move.client(token) as client:
        sent = client.send_file(path, METADATA, progress)
    assert sent.site == NEW[0]
    until(lambda: all(handle_there(move, site, sent) for site in (0, 1)))
    assert move.counters[OLD].objects() == 0


def handle_there(move: Move, number: int, sent: Sent) -> bool:
    query = "select 1 from regions.object where handle = %s"
    return bool(move.new[number].rows(query, bytes.fromhex(sent.receipt.handle)))


def test_a_product_with_yesterdays_charter_asks_for_the_newest(move: Move, tmp_path: Path) -> None:
    token = move.enrol()
    # As it was cached before the amendment: nothing of it moves.
    old = move.client(token).destination
    before = replace(old, rules=replace(old.rules, moving=None))
    asked = []

    def renew() -> Destination:
        asked.append(1)
        return move.client(token).destination

    assert move.fence()
    for closed in (False, True):
        if closed:
            move.ground.close()
            move.stop(OLD)
        with SiteClient(before, token, renew=renew) as client:
            for number in range(2):
                assert send(client, tmp_path, b"%d behind the fence %d" % (number, closed)).site in NEW
            assert set(client.decide({"off": False})) == set(NEW)
    assert len(asked) == 2
    with SiteClient(before, token) as client, pytest.raises(SiteUnavailable):
        send(client, tmp_path, b"nobody to ask")
