"""The auditor's rules about inventories, its own copy of the rows, and when it signs that it has inspected them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import Envelope
from glasshouse_verify.receipt import Counts, Reason
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use
from onlookers import alarms
from overseeing import Overseeing
from region_world import DAY, RegionWorld, receipt_of
from world import digest

from glasshouse.regions.delta import HeldRow, format_delta, parse_delta
from glasshouse.supervision.inventories import Books


class Overseen(Overseeing, RegionWorld):
    """A region with an auditor, who follows after each epoch."""

    def __init__(self, place: Path, **changes: Any) -> None:
        super().__init__(**changes)
        self.oversee(place)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Overseen]:
    made = Overseen(tmp_path)
    yield made
    made.books.close()


def lived(world: Overseen, epochs: int = 4) -> list[Envelope]:
    """An honest life: objects come, go for each reason, and become irrecoverable."""
    found = []
    for number in range(epochs):
        found.append(world.take(b"object %d" % number))
        found.append(world.take(b"elsewhere %d" % number, site="zurich-2"))
        if number:
            world.erase(found[2 * number - 2], Reason.CUSTOMER)
        if number == 2:
            key = receipt_of(found[0]).handle
            row = dict(world.rows.erased[key])
            del row["residue_until"]
            world.rows.erased[key] = row
        world.close()
        world.later(DAY)
    return found


# --- honest --------------------------------------------------------------------------------------------------------


def test_an_honest_region_raises_nothing_and_is_inspected(world: Overseen) -> None:
    found = []
    for number in range(3):
        found += lived(world, 1) if number == 0 else [world.take(b"x%d" % number)]
        world.close()
        assert world.audit() == [Use.INSPECTION] * (2 if number == 0 else 1)
        assert world.audit() == []
        world.later(DAY)
    assert world.said() == {}
    world.later(-DAY)
    assert world.check(found[0]).outcome == Outcome.VERIFIED


def test_a_whole_life(world: Overseen) -> None:
    found = lived(world)
    # Nobody has tallied that keys were destroyed: that is for the rule `erasure`.
    assert [use for use in world.audit() if use == Use.INSPECTION] == [Use.INSPECTION] * 4
    assert world.said() == {}
    assert {world.check(mine).outcome for mine in found} == {Outcome.VERIFIED}


def test_books_are_taken_up_again(world: Overseen, tmp_path: Path) -> None:
    lived(world, 2)
    world.audit()
    world.books.close()
    world.take(b"after the restart")
    world.close()
    with Books(tmp_path / "books.sqlite3") as again:
        assert again.epoch("au") == 2
        world.auditor = world.open_auditor(again)
        assert world.audit() == [Use.INSPECTION]
        assert again.epoch("au") == 3
        assert again.faults() == {}


def test_the_depth_may_change(world: Overseen) -> None:
    import region_world

    lived(world, 2)
    world.audit()
    try:
        region_world.DEPTH = 1
        world.take(b"more")
        world.close()
        world.later(DAY)
        assert world.audit() == [Use.INSPECTION]
    finally:
        region_world.DEPTH = 2
    world.take(b"and more")
    world.close()
    assert world.audit() == [Use.INSPECTION]
    assert world.said() == {}


def test_an_epoch_waits_for_all_sites_and_for_its_delta(world: Overseen) -> None:
    world.take()
    world.close("zurich-1")
    delta = world.statement(world.last["zurich-1"]).delta
    kept = world.blobs.pop(delta)
    assert world.audit() == []
    world.post(inventory_of(world, "zurich-2"), "zurich-2")
    assert world.audit() == []
    world.blobs[delta] = kept
    assert world.audit() == [Use.INSPECTION]


def inventory_of(world: Overseen, site: str) -> bytes:
    """The inventory that the other site has logged, as this site would."""
    from glasshouse_verify.statement import make_statement

    says = world.statement(world.last["zurich-1"])
    return make_statement(Use.INVENTORY, replace(says, site=site))


def test_only_who_is_independent_inspects(world: Overseen, tmp_path: Path) -> None:
    lived(world, 1)
    with Books(tmp_path / "others") as books:
        for party, uses in (("second", [Use.INSPECTION]), ("ngo", []), ("acme", [])):
            world.auditor = world.open_auditor(books, party)
            assert world.audit() == uses


def test_a_key_of_before_there_were_regions(tmp_path: Path) -> None:
    from world import seeded

    old = {seeded("lab").keyid: {"uses": ["status", "finding", "charter"]}}
    world = Overseen(tmp_path, parties={"lab": {"keys": old}})
    lived(world, 1)
    assert world.audit() == []
    world.books.close()


# --- rows ----------------------------------------------------------------------------------------------------------


def vanish(world: Overseen, mine: Envelope) -> dict[str, Any]:
    del world.rows.held[receipt_of(mine).handle]
    return {"counts": replace(world.counts(), pending=world.counts().pending)}


def restore(world: Overseen, mine: Envelope) -> dict[str, Any]:
    world.erase(mine, Reason.CUSTOMER)
    world.close()
    receipt = receipt_of(mine)
    world.rows.held[receipt.handle] = receipt.row
    return {}


def bury_nothing(world: Overseen, mine: Envelope) -> dict[str, Any]:
    never = replace(receipt_of(mine), handle=digest(b"never"))
    tombstone = world.erase(mine, Reason.CUSTOMER)
    world.rows.erased[never.handle] = encode(replace(tombstone, key=never.handle))
    return {}


def bury_tomorrow(world: Overseen, mine: Envelope) -> dict[str, Any]:
    world.erase(mine, removed=world.now + 1)
    return {}


def rewrite(world: Overseen, mine: Envelope) -> dict[str, Any]:
    tombstone = world.erase(mine)
    world.close()
    later = replace(tombstone, residue_until=(tombstone.residue_until or 0) + 1)
    world.rows.erased[tombstone.key] = encode(later)
    return {}


def swap(world: Overseen, mine: Envelope) -> dict[str, Any]:
    """Another commitment under a handle that was inventoried: the delta does not say so."""
    world.rows.held[receipt_of(mine).handle] = receipt_of(world.take(b"another")).row | {"key": receipt_of(mine).handle}
    return {}


def sign_something_else(world: Overseen, _mine: Envelope) -> dict[str, Any]:
    return {"erased": replace(world.rows.sharded()[1], root=digest(b"other"))}


@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        (vanish, "the held rows are not those that all deltas lead to: "),
        (restore, "1 objects that were erased come back"),
        (bury_nothing, "1 objects that were never held are buried"),
        (bury_tomorrow, "1 objects were removed after the inventory that says so"),
        (rewrite, "1 objects have their tombstones rewritten"),
        (swap, "the held rows are not those that all deltas lead to: "),
        (sign_something_else, "the erased rows are not those that all deltas lead to: "),
    ],
)
def test_rows(world: Overseen, cheat: Callable[[Overseen, Envelope], dict[str, Any]], words: str) -> None:
    mine = lived(world, 2)[1]
    world.audit()
    changes = cheat(world, mine)
    world.close(**changes)
    assert any(words in text for text in world.said()["inventory-rows"]), world.said()
    inspected = len(list(world.history.standing(Use.INSPECTION)))
    said = world.audit()
    assert Use.FINDING in said
    newest = world.epoch
    epochs = [record.predicate.epoch for record in world.history.standing(Use.INSPECTION)]
    assert newest not in epochs
    assert len(epochs) - inspected == newest - 3
    assert world.audit() == []


def test_a_fault_lasts_as_long_as_its_cause(world: Overseen) -> None:
    mine = lived(world, 2)[1]
    row = world.rows.held.pop(receipt_of(mine).handle)
    world.close()
    world.close()
    assert len(world.said()["inventory-rows"]) == 2
    world.rows.held[str(row["key"])] = row
    world._before.held[str(row["key"])] = row
    world.close()
    assert len(world.said()["inventory-rows"]) == 2
    assert [use for use in world.audit() if use == Use.INSPECTION][2:] == [Use.INSPECTION]


def test_the_site_whose_rows_have_no_fault_is_followed(world: Overseen) -> None:
    """One site alone publishes rows that no delta leads to, and is first; the books go on with the other's."""
    mine = lived(world, 1)[1]
    world.audit()
    honest, later = world.rows.copy(), world.take(b"later")
    row = world.rows.held.pop(receipt_of(mine).handle)
    world.close("zurich-2", counts=replace(world.counts(), pending=2))
    assert any("the held rows are not those" in text for text in world.said()["inventory-rows"])
    world.audit()
    assert world.books.epoch("au") == 1
    assert honest.held
    world.rows.held[str(row["key"])] = row
    world._before.held.pop(str(row["key"]), None)
    world._before.held[str(row["key"])] = row
    world._before.held.pop(receipt_of(later).handle, None)
    world.epoch -= 1
    world.close("zurich-1")
    world.audit()
    assert world.books.epoch("au") == 2
    assert len(world.said()["inventory-rows"]) == 1
    world.later(DAY)
    world.take(b"and both agree again")
    world.close()
    world.audit()
    epochs = [record.predicate.epoch for record in world.history.standing(Use.INSPECTION)]
    assert epochs == [1, 3]


def test_inventories_of_others_lead_nowhere(world: Overseen) -> None:
    """A site of another region cannot put its rows into the books of this one."""
    world.take()
    world.rows.held[digest(b"invented")] = {"commitment": digest(b"x"), "key": digest(b"invented")}
    world.close("zurich-1", signers=("zurich-2",))
    world.audit()
    assert world.books.epoch("au") == 0
    del world.rows.held[digest(b"invented")]
    world._before = type(world.rows)({}, {})
    world.epoch, world.last = 0, {}
    world.close()
    world.audit()
    assert world.books.epoch("au") == 1
    assert [record.predicate.epoch for record in world.history.standing(Use.INSPECTION)] == [1]


@pytest.mark.parametrize("data", [b"", b"{}\n", b"no json\n"])
def test_a_delta_that_cannot_be_read(world: Overseen, data: bytes) -> None:
    world.take()
    world.blobs[digest(data)] = data
    world.close(delta=digest(data))
    assert "its delta cannot be read" in world.said()["inventory-rows"][0]


def test_a_delta_of_another_epoch(world: Overseen) -> None:
    lived(world, 1)
    first = world.statement(world.last["zurich-1"]).delta
    world.close(delta=first)
    assert "its delta is of another region or epoch" in world.said()["inventory-rows"][0]


def test_a_depth_that_would_exhaust_everybody(world: Overseen) -> None:
    world.take()
    world.close(held=replace(world.rows.sharded()[0], depth=6))
    assert "its depth is 6" in world.said()["inventory-rows"][0]


def test_rows_added_twice(world: Overseen) -> None:
    lived(world, 1)
    mine = world.take(b"mine")
    delta = parse_delta(format_delta(world.delta()))
    held = world.statement(world.last["zurich-1"])
    again = HeldRow(key=sorted(world._before.held)[0], commitment=digest(b"x"))
    data = format_delta(replace(delta, epoch=2, added=tuple(sorted((*delta.added, again), key=lambda row: row.key))))
    world.blobs[digest(data)] = data
    world.close(delta=digest(data))
    assert "that are held already are added" in world.said()["inventory-rows"][0]
    assert held.epoch == 1
    assert mine


# --- sites, counts, dates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "signers", "words"),
    [
        ({"site": "bern"}, ("zurich-1",), "is of a site that the charter does not have"),
        ({"region": "eu"}, ("zurich-1",), "is of a site that the charter does not have"),
        ({}, ("zurich-2",), "is signed by no key of that site"),
        ({"charter": digest(b"x")}, (), "names a charter that is not in the chain"),
        ({"previous": digest(b"x")}, (), "names no inventory before it"),
        ({"epoch": 7}, (), "follows on inventory 2 of au"),
        ({"time": 5}, (), "is dated before the one that it follows on"),
    ],
)
def test_sites(world: Overseen, changes: dict[str, Any], signers: tuple[str, ...], words: str) -> None:
    lived(world, 2)
    world.close("zurich-1", signers=signers, **changes)
    assert any(words in text for text in world.said()["inventory-sites"]), world.said()


def test_a_site_that_joins_later(world: Overseen) -> None:
    """Its first inventory follows on one that it took in and that was not its to log."""
    for _ in range(2):
        world.take()
        world.close("zurich-1")
        world.later(DAY)
    world.take()
    world.close(previous=world.last["zurich-1"])
    assert "inventory-sites" not in world.said()
    world.close("zurich-1")
    world.epoch -= 1
    world.close("zurich-2", previous=digest(b"never logged"))
    assert "names no inventory before it" in world.said()["inventory-sites"][0]


def test_an_epoch_said_twice_and_a_fork(world: Overseen) -> None:
    lived(world, 2)
    before = dict(world.last)
    world.close()
    world.last, world.epoch = before, 2
    world.take(b"more")
    world.close("zurich-1")
    assert "was logged twice" in world.said()["inventory-sites"][0]


def test_rules_that_begin_later(tmp_path: Path) -> None:
    world = Overseen(tmp_path, regions={"au": {"epoch": 2}})
    world.take()
    world.close()
    assert "is made under rules that begin with epoch 2" in world.said()["inventory-sites"][0]
    world.books.close()


@pytest.mark.parametrize("member", ["held", "erased", "delta", "journals", "receipts", "counts"])
def test_sites_that_disagree(world: Overseen, member: str) -> None:
    mine = lived(world, 2)[1]
    world.take(b"only at one")
    world.erase(mine)
    first = world.statement(world.last["zurich-1"])
    world.close("zurich-1")
    world.epoch -= 1
    world.close("zurich-2", **{member: getattr(first, member)})
    said = [text for text in world.said()["inventory-sites"] if "disagree about" in text]
    assert len(said) == 1
    assert member in said[0]
    world.audit()
    assert [record.predicate.epoch for record in world.history.standing(Use.INSPECTION)] == [1, 2]


def counted(world: Overseen, **changes: int) -> Counts:
    return replace(world.counts(), **changes)


def test_counts(world: Overseen) -> None:
    lived(world, 2)
    one_more = counted(world, received=5, stored=5, pending=4, held=4)
    for counts, words in (
        (counted(world, received=9), "9 received are not 0 refused and 4 stored"),
        (one_more, "4 held, but 3 rows of them"),
        (one_more, "5 stored, but 4 receipts"),
        (counted(world, on_hold=4), "4 on hold of 3 held"),
    ):
        world.close(counts=counts)
        assert any(words in text for text in world.said()["inventory-counts"]), world.said()


def test_counts_that_go_back(world: Overseen) -> None:
    world.refused = 3
    lived(world, 2)
    world.refused = 2
    world.numbers["zurich-2"] = 1
    world.journals["zurich-1"] = 2
    world.close(receipts={"zurich-1": 2, "zurich-2": 1})
    said = world.said()["inventory-counts"]
    for words in ("refused went back from 3 to 2", "last receipt of zurich-2 went back from 2 to 1", "journal of"):
        assert any(words in text for text in said), said


def test_dates(world: Overseen) -> None:
    lived(world, 2)
    world.later(300)
    assert "inventory-dates" not in world.said()
    world.later(1)
    assert "au has had no inventory since" in world.said()["inventory-dates"][0]
    world.close("zurich-1")
    assert "it was due by" in world.said()["inventory-dates"][0]
    world.later(DAY + 301)
    assert any("zurich-2 has not logged inventory 3 of au" in text for text in world.said()["inventory-dates"])


def test_a_region_that_never_began(tmp_path: Path) -> None:
    world = Overseen(tmp_path)
    assert "au has had no inventory since" in world.said()["inventory-dates"][0]
    world.books.close()


def test_regions_that_break_a_rule(world: Overseen) -> None:
    world.amend({"regions": {"au": {"replicas": 9}}})
    assert "the regions of charter 2 break a rule" in world.said()["inventory-dates"][0]


def test_a_missing_delta(world: Overseen) -> None:
    world.take()
    world.close()
    del world.blobs[world.statement(world.last["zurich-1"]).delta]
    assert any("inventory delta" in text for text in alarms(world, world.now + 601)["availability"])
