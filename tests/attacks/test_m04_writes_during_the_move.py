"""M4 Writes and deletes during the move.

Cheat: the old site keeps from the new ones what it takes while the move is under way: it leaves an event out of the
    journal that it hands over, numbers the others anew, tells each of them something else, or lets an object come back
    that was erased meanwhile.
Noticed by: the new sites, whose replicas of its journal have no gaps and one history; the customer, whose receipt the
    renumbered row does not bear out; whoever compares the two new sites.
Seen: 409 or 400 and a journal that does not go on, so that the fence never arrives and nobody takes over; no receipt at
    the new sites; two chains at one position.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.dsse import parse_envelope, verify_envelope
from glasshouse_verify.errors import SignatureError
from ledgers import until
from moves import NEW, OLD, Move, moving
from sites import same_journals

from glasshouse.regions import outgoing
from glasshouse.regions.batch import Batch, Item
from glasshouse.regions.errors import Arriving
from glasshouse.regions.journal import START, Event, Kind, Note, extended, heads
from glasshouse.regions.keeping.fencing import lag
from glasshouse.regions.peers import PeerClient
from glasshouse.regions.receipts import envelope
from glasshouse.storage.db import Database


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        found.old.upload(b"before the move")
        found.open()
        found.wait()
        yield found


def stays_behind(move: Move) -> None:
    """Wherever it is fenced, the new sites do not learn of it: they do not take over, and customers are told so."""
    note = Note(kind=Kind.FENCED, body={"relocation": "au-2026"})
    move.old.intake.committer.append(note).result(60)
    until(lambda: move.old.place.rules().state == "left")
    assert not move.caught_up()
    assert all(behind > 0 for behind in lag(move.old.place).values())
    for site in move.new:
        with pytest.raises(Arriving):
            site.upload(b"after the fence")


def sends(monkeypatch: pytest.MonkeyPatch, bend: Callable[[str, Batch], Batch]) -> list[str]:
    """The old site's program bends what it sends; what it is answered."""
    honest, heard = PeerClient.push, list[str]()

    def push(client: PeerClient, batch: Batch) -> object:
        try:
            return honest(client, bend(client.site, batch) if batch.site == OLD else batch)
        except Exception as error:
            heard.append(str(error))
            raise

    monkeypatch.setattr(PeerClient, "push", push)
    return heard


def without(content: bytes) -> Callable[[Sequence[Item]], tuple[Item, ...]]:
    return lambda items: tuple(item for item in items if item.facts is None or item.facts.size != len(content))


def test_attack_a_write_is_left_out(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = b"what nobody is to find in Zurich"
    heard = sends(monkeypatch, lambda _, batch: replace(batch, items=without(hidden)(batch.items)))
    taken = move.old.upload(hidden)
    move.old.upload(b"something else")
    until(lambda: any("where" in text and "follows" in text for text in heard))
    for site in move.new:
        assert site.rows("select 1 from regions.object where handle = %s", bytes.fromhex(taken.handle)) == []
    stays_behind(move)


def renumbered(known: dict[str, int]) -> Callable[[str, Batch], Batch]:
    """Without what is hidden, the rest moved up: a second history, which holds together by itself."""

    def bend(_: str, batch: Batch) -> Batch:
        items = []
        for item in without(b"hidden")(batch.items):
            event, move_up = item.event, known["hidden"]
            number = None if event.number is None else event.number - move_up
            body = event.body if item.facts is None else item.facts.body()
            made = Event.make(OLD, event.position - move_up, event.kind, event.handle, number, body or {})
            items.append(replace(item, event=made))
        known["hidden"] += len(batch.items) - len(items)
        chain = known.setdefault("chain", 0) or int.from_bytes(batch.chain, "big")
        first = items[0].event.position if items else batch.after + 1
        after = first - 1
        known["chain"] = int.from_bytes(_chained(chain.to_bytes(32, "big"), items), "big")
        return replace(batch, after=after, chain=chain.to_bytes(32, "big"), items=tuple(items))

    return bend


def _chained(chain: bytes, items: Sequence[Item]) -> bytes:
    for item in items:
        chain = extended(chain, item.event)
    return chain


def test_attack_the_rest_is_numbered_anew(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    move.stop(NEW[1])
    seen: dict[str, int] = {"hidden": 0}
    sends(monkeypatch, renumbered(seen))
    move.old.upload(b"hidden")
    mine = move.old.upload(b"mine, after it")
    there = "select signatures, number from regions.object where handle = %s"
    until(lambda: move.new[0].rows(there, bytes.fromhex(mine.handle)))
    ((signatures, number),) = move.new[0].rows(there, bytes.fromhex(mine.handle))
    assert number == 2
    receipts = move.new[0].intake.receipts
    (row,) = receipts._rows([mine.handle])
    shown = parse_envelope(envelope(receipts._statement(row), signatures))
    keys = {signer.keyid: signer.public for signer in move.ground.signers.values()}
    with pytest.raises(SignatureError):
        verify_envelope(shown, keys)


def test_attack_each_new_site_is_told_something_else(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    def bend(peer: str, batch: Batch) -> Batch:
        items = tuple(_held_back(item) if peer == NEW[1] else item for item in batch.items)
        return replace(batch, items=items)

    sends(monkeypatch, bend)
    move.old.intake.committer.append(Note(kind=Kind.COUNTERS, body={"received": 7, "refused": 0})).result(60)
    until(lambda: all(heads(site.place.database)[OLD].position == 2 for site in move.new))
    assert not same_journals(*move.new)
    one, other = (heads(site.place.database)[OLD] for site in move.new)
    assert one.chain != other.chain != START
    move.old.upload(b"the next one")
    until(lambda: any(replicator.alarm for replicator in move.old.intake.replication.replicators), timeout_seconds=60)


def _held_back(item: Item) -> Item:
    if item.event.kind != Kind.COUNTERS:
        return item
    event = Event.make(OLD, item.event.position, Kind.COUNTERS, None, None, {"received": 2, "refused": 0})
    return replace(item, event=event)


def test_attack_what_was_erased_comes_back(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = move.old.upload(b"to be erased")
    move.wait()
    (item,) = [item for item in outgoing.read_items(move.old.place, 1, 3) if item.event.handle == stored.handle]
    body = {"reason": "retention", "time": 1, "commitment": "0" * 64}
    move.old.intake.committer.append(Note(kind=Kind.REMOVED, handle=stored.handle, body=body)).result(60)
    move.wait()

    def bend(_: str, batch: Batch) -> Batch:
        event = Event.make(OLD, batch.after + 1, Kind.STORED, stored.handle, 3, item.event.body or {})
        return replace(batch, items=(replace(item, event=event),))

    heard = sends(monkeypatch, bend)
    move.old.upload(b"the next one")
    until(lambda: any("refuses" in text or "is known here" in text for text in heard))
    for site in move.new:
        query = "select state from regions.object where handle = %s"
        assert site.rows(query, bytes.fromhex(stored.handle)) == [("removed",)]


def test_control_writes_and_deletes_reach_both(move: Move) -> None:
    kept, gone = move.old.upload(b"kept"), move.old.upload(b"gone")
    body = {"reason": "retention", "time": 1, "commitment": "0" * 64}
    move.old.intake.committer.append(Note(kind=Kind.REMOVED, handle=gone.handle, body=body)).result(60)
    move.fence()
    move.wait()
    for site in move.new:
        assert site.content(kept.handle) == b"kept"
        query = "select state from regions.object where handle = %s"
        assert site.rows(query, bytes.fromhex(gone.handle)) == [("removed",)]
    assert same_journals(*move.new)
    assert move.new[1].upload(b"kept").receipt == kept.receipt
