"""A party's view against a ledger in memory that shows what the test wants it to show."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from glasshouse_verify.errors import FormatError, ProofError, QuorumError, SignatureError
from glasshouse_verify.note import Note, format_note, parse_note
from glasshouse_verify.policy import witness_policy
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import HashReader, consistency_proof, inclusion_proof, verify_inclusion
from ledgers import MemoryTree, no_quorum
from notary import Notary
from notary import witness as witness_notary
from world import World

from glasshouse.ledger.errors import EntryAltered, NotThere, RolledBack, SplitView, Stale, ViewError
from glasshouse.ledger.view import View

LOG = Notary("viewed.example/log")
W1, W2 = witness_notary("w1.example"), witness_notary("w2.example")
POLICY = witness_policy(LOG.key, {"one": [W1.key], "two": [W2.key]}, 0)
ENTRIES = [b"%d" % n for n in range(700)]
TREE = MemoryTree(LOG.key.name, ENTRIES)
FORK = MemoryTree(LOG.key.name, [*ENTRIES[:300], *(b"fork %d" % n for n in range(400))])
NOW = 1_800_000_000


@dataclass(frozen=True)
class Shown:
    """A LedgerSource: a tree, a size, and who signed when; the entries may be others than the tree's."""

    tree: MemoryTree
    size: int
    signers: tuple[Notary, ...] = (LOG, W1, W2)
    entries_served: tuple[bytes, ...] | None = None
    time: int = NOW

    def checkpoint(self) -> bytes:
        text = self.tree.text(self.size)
        return format_note(Note(text=text, signatures=tuple(notary.sign(text, self.time) for notary in self.signers)))

    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        return iter((self.entries_served or tuple(self.tree.entries))[start:stop])

    def reader(self, size: int) -> HashReader:  # noqa: ARG002
        return self.tree.read


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    with View(tmp_path / "view", POLICY) as opened:
        yield opened


def state(view: View) -> tuple[int, list[tuple[int, bytes]]]:
    return view.size, list(view.entries(0))


def test_a_view_grows_with_the_log(view: View) -> None:
    with pytest.raises(NotThere):
        view.checkpoint()
    for size in (0, 1, 255, 256, 256, 700):
        before = view.size
        update = view.update(Shown(TREE, size))
        assert (update.old_size, update.new_size) == (before, size)
        assert update.witnesses == {"one/1": NOW, "two/1": NOW}
        assert state(view) == (size, list(enumerate(ENTRIES[:size])))
        assert parse_note(view.checkpoint()).text == TREE.text(size)
    assert view.entry(699) == b"699"
    with pytest.raises(NotThere):
        view.entry(700)
    assert list(view.entries(250, 260)) == list(enumerate(ENTRIES))[250:260]


def test_a_view_proves_what_it_holds(view: View) -> None:
    view.update(Shown(TREE, 600))
    for index in (0, 299, 599):
        proof = inclusion_proof(index, 600, view.read)
        verify_inclusion(leaf_hash(ENTRIES[index]), index, 600, proof, TREE.roots[600])
    assert consistency_proof(300, 600, view.read) == consistency_proof(300, 600, TREE.read)
    with pytest.raises(ProofError):
        view.read(0, 600)


def test_a_view_survives_its_process(tmp_path: Path) -> None:
    with View(tmp_path, POLICY) as view:
        view.update(Shown(TREE, 300))
    with View(tmp_path, POLICY) as view:
        assert state(view) == (300, list(enumerate(ENTRIES[:300])))
        assert view.update(Shown(TREE, 301)).old_size == 300


def test_processes_may_update_one_view_at_once(tmp_path: Path) -> None:
    """Each opens the view for itself, as two commands at one node do."""

    def follow(_: int) -> None:
        with View(tmp_path, POLICY) as view:
            for _ in range(20):
                view.update(Growing())

    sizes = iter(range(1, 600))

    class Growing(Shown):
        def __init__(self) -> None:
            super().__init__(TREE, 0)

        def checkpoint(self) -> bytes:
            object.__setattr__(self, "size", next(sizes))
            return super().checkpoint()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(follow, range(4)))
    with View(tmp_path, POLICY) as view:
        assert state(view) == (80, list(enumerate(ENTRIES[:80])))


@pytest.mark.parametrize(
    ("shown", "error", "says"),
    [
        (Shown(TREE, 299), RolledBack, "shows 299 entries, of which this view has verified 300"),
        (Shown(TREE, 0), RolledBack, "shows 0"),
        (Shown(MemoryTree(LOG.key.name, [b"x"] * 300), 300), SplitView, "two trees of 300 entries"),
        (Shown(MemoryTree(LOG.key.name, [b"x"] * 400), 400), SplitView, "does not extend the verified one of 300"),
    ],
)
def test_contradictions_are_refused_and_kept(view: View, shown: Shown, error: type[ViewError], says: str) -> None:
    view.update(Shown(TREE, 300))
    before = state(view)
    with pytest.raises(error, match=says) as caught:
        view.update(shown)
    assert state(view) == before
    assert {path.read_bytes() for path in caught.value.evidence} == {view.checkpoint(), shown.checkpoint()}
    assert view.update(Shown(TREE, 301)).new_size == 301


@pytest.mark.parametrize(
    "served",
    [
        (*ENTRIES[:450], b"altered", *ENTRIES[451:]),
        (*ENTRIES[:450], *ENTRIES[451:]),
        ENTRIES[:400],
        (*ENTRIES[:450], b"one too many", *ENTRIES[450:]),
        ENTRIES[:300],
    ],
    ids=["altered", "one missing", "cut", "one more", "none"],
)
def test_altered_entries_are_refused(view: View, served: tuple[bytes, ...]) -> None:
    view.update(Shown(TREE, 300))
    before = state(view)
    with pytest.raises(EntryAltered, match="is not what the witnesses saw") as caught:
        view.update(Shown(TREE, 500, entries_served=tuple(served)))
    assert caught.value.evidence == ()
    if len(served) >= 450:
        assert "entry 450 (in tile/entries/001)" in str(caught.value)
    assert state(view) == before
    assert view.update(Shown(TREE, 500)).new_size == 500


def test_entries_that_break_off(view: View) -> None:
    view.update(Shown(TREE, 300))

    class Breaking(Shown):
        def entries(self, start: int, stop: int) -> Iterator[bytes]:  # noqa: ARG002
            yield from self.tree.entries[start:400]
            raise FormatError("entry bundle", "entry 3 is cut short")

    with pytest.raises(FormatError):
        view.update(Breaking(TREE, 500))
    assert state(view) == (300, list(enumerate(ENTRIES[:300])))


@pytest.mark.parametrize(
    ("signers", "error"),
    [
        ((LOG, W1), QuorumError),
        ((LOG,), QuorumError),
        ((W1, W2), SignatureError),
        ((Notary("viewed.example/log", salt="other"), W1, W2), SignatureError),
        ((LOG, W1, witness_notary("w2.example", salt="other")), QuorumError),
    ],
)
def test_who_must_have_signed(view: View, signers: tuple[Notary, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        view.update(Shown(TREE, 3, signers=signers))
    assert view.size == 0


def test_the_age_of_a_checkpoint(view: View) -> None:
    old = Shown(TREE, 3, time=NOW - 101)
    with pytest.raises(Stale, match="not witnessed recently enough"):
        view.update(old, now=NOW, max_age_seconds=100)
    assert view.update(old).new_size == 3
    assert view.update(replace(old, time=NOW - 100), now=NOW, max_age_seconds=100).new_size == 3


def test_the_policy_may_change(view: View) -> None:
    view.update(Shown(TREE, 3))
    view.policy = no_quorum(LOG.key)
    assert view.update(Shown(TREE, 5, signers=(LOG,))).new_size == 5
    other = Notary("other.example/log")
    view.policy = no_quorum(other.key)
    with pytest.raises(SplitView, match="this view is of the log"):
        view.update(Shown(MemoryTree("other.example/log", ENTRIES), 9, signers=(other,)))


def test_statements_are_found_by_what_they_name(tmp_path: Path) -> None:
    world = World()
    world.honest()
    tree = MemoryTree(LOG.key.name, [*world.entries, b"no statement"])
    with View(tmp_path, POLICY) as view:
        view.update(Shown(tree, len(tree.entries)))
        for digest in {d for entry in world.entries for d in world._named(entry)}:
            assert set(view.lookup(digest)) >= set(world.lookup(digest))
        release = world.history.records[world.release("2.0")]
        assert view.lookup(release.id) == []
        first = next(record for record in world.history.records.values() if record.index == 1)
        assert 1 in view.lookup(first.id)
