"""M1 Left out of the source.

Cheat: the old site leaves objects out of what it says that it holds, so that nobody misses them at the new sites and
    they stay behind: a version or a delete marker of a store, or an object of a site's vault; or it says that an object
    is smaller, or has other content, than it has.
Noticed by: the supervisor, which lists the old store or vault by itself, with its own credentials and another client,
    and makes the rows of the old site's description again; once more at the fence, when nothing changes any more.
Seen: a refusal in the ledger that names the object's handle; no listing, and so no fence, no countersignature.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from leaving import SECRET, Leaving
from supervised import Supervised
from world import NOW, digest

from glasshouse.relocation.catalogue import DirectoryCatalogue
from glasshouse.relocation.descriptions import Described, describe, keep_descriptions, read_descriptions
from glasshouse.relocation.errors import NotYet, Refused
from glasshouse.relocation.examining import Ciphertexts
from glasshouse.relocation.lists import RowList, in_order, keep_list
from glasshouse.relocation.stores.opening import open_store
from glasshouse.relocation.supervising import (
    SiteListing,
    StoreListing,
    check_extra,
    list_site,
    list_store,
    listing,
    refusal,
)

KEYS = [b"a/one", b"a/two", b"b/three", "Zürich".encode(), b"dir/deep/file"]
LEFT_OUT = b"b/three"
Cheat = Callable[[Iterable[Described]], Iterable[Described]]


def honest(described: Iterable[Described]) -> Iterable[Described]:
    return described


def leaves_out(described: Iterable[Described]) -> Iterable[Described]:
    return (one for one in described if one.key != LEFT_OUT)


def makes_smaller(described: Iterable[Described]) -> Iterable[Described]:
    for one in described:
        yield Described(key=one.key, ordinal=0, size=1, content=one.content) if one.key == LEFT_OUT else one


def tells_other_content(described: Iterable[Described]) -> Iterable[Described]:
    for one in described:
        content = digest(b"harmless") if one.key == LEFT_OUT else one.content
        yield Described(key=one.key, ordinal=0, size=one.size, content=content)  # type: ignore[arg-type]


def tells_a_marker(described: Iterable[Described]) -> Iterable[Described]:
    return (Described(key=one.key, ordinal=0, size=0) if one.key == LEFT_OUT else one for one in described)


class Store:
    """The old site's directory, what it says of it, and the supervisor."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.root = directory, directory / "store"
        for key in KEYS:
            path = self.root / os.fsdecode(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"content of " + key)
            os.utime(path, (NOW - 86_400, NOW - 86_400))
        self.world = Leaving(Origin.STORE)

    def says(self, cheat: Cheat, *, at: Step = Step.SOURCE) -> RowList:
        """The old site describes its store, and signs the rows of that."""
        self.description = self.directory / f"{at}.jsonl"
        _, size = keep_descriptions(self.description, cheat(describe(open_store(self.root.as_uri()))))
        made = (one.row(SECRET) for one in read_descriptions(self.description))
        rows = keep_list(self.directory / f"{at}.rows", in_order(made, self.directory / "scratch"))
        if at == Step.SOURCE:
            for step in self.world.steps(rows.sharded)[:5]:
                step()
            self.world.say(Step.SOURCE, site="moscow", epoch=1, rows=rows.sharded, size=size)
        return rows

    def list(self, rows: RowList, *, since: int | None = NOW) -> None:
        """The supervisor lists it and logs what it finds."""
        how = StoreListing(
            site="moscow",
            secret=SECRET,
            scratch=self.directory / "scratch",
            reads=None,
            since=since,  # type: ignore[arg-type]
        )
        source = DirectoryCatalogue(self.root, self.directory / "scratch")
        try:
            listed = list_store(source, self.description, rows.sharded, how)
            self.world.log(listing(self.world.course, listed, party="lab", now=self.world.now), "lab")
        except Refused as error:
            self.world.log(refusal(self.world.course, error.faults, party="lab", now=self.world.now), "lab")
            raise


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def refused(store: Store, words: str) -> None:
    said = store.world.course.need(Step.REFUSAL).predicate
    handle = Described(key=LEFT_OUT, ordinal=0, size=0).row(SECRET)["key"]
    assert [(fault.site, fault.handle) for fault in said.faults] == [("moscow", handle)]
    assert words in said.faults[0].text
    # Names of objects are their owners' business: the ledger has the handle alone.
    assert "three" not in said.faults[0].text
    with pytest.raises(NotYet, match="has not said listing"):
        store.world.course.before(Step.FENCE, "acme", "moscow")


@pytest.mark.parametrize(
    ("cheat", "words"),
    [
        (leaves_out, "left out of the source"),
        (makes_smaller, "bytes in the store, 1 in the source"),
        (tells_other_content, "other content in the store"),
        (tells_a_marker, "is content in the store"),
    ],
)
def test_attack_a_store_is_described_as_something_else(store: Store, cheat: Cheat, words: str) -> None:
    rows = store.says(cheat)
    with pytest.raises(Refused):
        store.list(rows)
    refused(store, words)


def test_attack_a_description_that_is_not_what_was_signed(store: Store) -> None:
    rows = store.says(leaves_out)
    keep_descriptions(store.description, describe(open_store(store.root.as_uri())))
    with pytest.raises(Refused, match="not the 4 rows that it has signed"):
        store.list(rows)


def test_attack_an_old_object_is_passed_off_as_a_new_one(store: Store) -> None:
    """While the store goes on taking, that works; at the fence nothing is new any more."""
    rows = store.says(leaves_out)
    os.utime(store.root / LEFT_OUT.decode(), (NOW + 5, NOW + 5))
    store.list(rows)
    at_the_fence = store.says(leaves_out, at=Step.FENCE)
    with pytest.raises(Refused, match="left out"):
        store.list(at_the_fence, since=None)
    refused_at_last = store.world.course.need(Step.REFUSAL).predicate
    assert refused_at_last.faults[0].handle == Described(key=LEFT_OUT, ordinal=0, size=0).row(SECRET)["key"]
    with pytest.raises(NotYet, match="has refused"):
        store.world.course.before(Step.FENCE, "acme", "moscow")


def test_attack_an_object_of_a_vault_is_left_out_of_the_inventory(tmp_path: Path) -> None:
    vault, rows, hidden = site(tmp_path)
    # At the beginning it could have been taken since.
    extra = tmp_path / "extra"
    listed = list_site(vault, SiteListing(site="moscow", rows=rows, scratch=tmp_path, extra=extra))  # type: ignore[arg-type]
    assert listed.since == 1
    with pytest.raises(Refused, match="in no inventory since") as found:
        check_extra(extra, rows, "moscow")
    assert [fault.handle for fault in found.value.faults] == [hidden]
    with pytest.raises(Refused, match="left out of the inventory") as found:
        list_site(vault, SiteListing(site="moscow", rows=rows, scratch=tmp_path))  # type: ignore[arg-type]
    assert [fault.handle for fault in found.value.faults] == [hidden]


def test_attack_an_inventory_of_objects_that_are_not_there(tmp_path: Path) -> None:
    vault, rows, _ = site(tmp_path)
    gone = str(rows.at(3)["key"])
    (tmp_path / "moscow" / gone[0] / gone).unlink()
    with pytest.raises(Refused, match="does not lie in the vault") as found:
        list_site(vault, SiteListing(site="moscow", rows=rows, scratch=tmp_path, extra=tmp_path / "extra"))  # type: ignore[arg-type]
    assert [fault.handle for fault in found.value.faults] == [gone]


def test_attack_other_rows_than_the_books_of_the_supervisor_have(tmp_path: Path) -> None:
    vault, rows, _ = site(tmp_path)
    booked = keep_list(tmp_path / "booked", []).sharded
    with pytest.raises(Refused, match="the supervisor's books"):
        list_site(
            vault,
            SiteListing(site="moscow", rows=rows, scratch=tmp_path, booked=booked, extra=tmp_path / "extra"),  # type: ignore[arg-type]
        )


def site(tmp_path: Path) -> tuple[Ciphertexts, RowList, str]:
    """A vault with one object that its inventory does not have; the inventory's rows, and the object."""
    world = Supervised(tmp_path, count=12)
    held = world.held["zurich-1"]
    held.vault.rename(tmp_path / "moscow")
    hidden = sorted(world.rows)[5]
    del world.rows[hidden]
    return Ciphertexts(store=open_store((tmp_path / "moscow").as_uri())), world.row_list(tmp_path), hidden


def test_control_a_store_that_is_described_as_it_is(store: Store) -> None:
    rows = store.says(honest)
    # What comes and goes meanwhile is no fault.
    (store.root / "new").write_bytes(b"new")
    os.utime(store.root / "new", (NOW + 5, NOW + 5))
    (store.root / "a" / "one").unlink()
    store.list(rows)
    assert store.world.course.need(Step.LISTING).predicate.rows == rows.sharded


def test_control_a_store_at_the_fence(store: Store) -> None:
    store.list(store.says(honest))
    (store.root / "new").write_bytes(b"new")
    rows = store.says(honest, at=Step.FENCE)
    how = StoreListing(site="moscow", secret=SECRET, scratch=store.directory / "scratch", since=None)  # type: ignore[arg-type]
    source = DirectoryCatalogue(store.root, store.directory / "scratch")
    listed = list_store(source, store.description, rows.sharded, how)
    assert (listed.rows, listed.listed, listed.read, listed.since, listed.gone) == (rows.sharded, 6, 6, 0, 0)


def test_control_a_vault_that_is_as_its_inventory_says(tmp_path: Path) -> None:
    vault, rows, hidden = site(tmp_path)
    (tmp_path / "moscow" / hidden[0] / hidden).unlink()
    listed = list_site(vault, SiteListing(site="moscow", rows=rows, scratch=tmp_path))  # type: ignore[arg-type]
    assert (listed.listed, listed.rows) == (11, rows.sharded)
    # Taken since, and in the inventory of the fence; or erased since, as an inventory shows.
    (tmp_path / "moscow" / hidden[0] / hidden).write_bytes(b"taken since")
    extra = tmp_path / "extra"
    list_site(vault, SiteListing(site="moscow", rows=rows, scratch=tmp_path, extra=extra))  # type: ignore[arg-type]
    check_extra(extra, rows, "moscow", buried=lambda handle: handle == hidden)
