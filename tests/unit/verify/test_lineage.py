"""Lineages: what the objects between two releases show, and what anybody notices who recomputes them."""

import re
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.charter import ProductRule
from glasshouse_verify.errors import FormatError
from glasshouse_verify.lineage import Account, History, compare, examine, format_lineage, history_of, parse_lineage
from lineages import BRANCH, Story, example
from world import PRODUCT, World, digest, seeded

DEVELOPERS = {name: seeded(name).public for name in ("ann", "bob", "eve")}


def account(
    story: Story, tip: str, before: str | None, *without: str, asked: int = 1, developers: Any = DEVELOPERS
) -> Account:
    return examine(parse_lineage(story.lineage(*without)), tip, before, (PRODUCT, BRANCH), developers, asked)


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.mark.parametrize("digits", [40, 64])
def test_changes_signed_and_reviewed(digits: int) -> None:
    story = Story(digits)
    first = story.commit("first")
    second = story.commit("second", first)
    third = story.commit("third", second, by="eve")
    story.review(third, first)
    found = account(story, third, first)
    assert found == Account(changes=(second, third), authors=("ann", "eve"), reviewers=("bob",), faults=())


def test_the_first_release_claims_its_tip_only(story: Story) -> None:
    first = story.commit("first", by=None)
    second = story.commit("second", first)
    story.review(second, first)
    assert account(story, second, None) == Account(changes=(second,), authors=("ann",), reviewers=("bob",), faults=())
    assert account(story, second, None, first).faults == ()
    assert "no valid signature" in account(story, first, None).faults[0]


def test_one_commit_released_twice(story: Story) -> None:
    """Built in another environment, say: the reviews of the commit still stand."""
    first = story.commit("first")
    story.review(first)
    assert account(story, first, first) == Account(changes=(first,), authors=("ann",), reviewers=("bob",), faults=())


def test_each_reviews_the_other(story: Story) -> None:
    first = story.commit("first")
    second = story.commit("second", first, by="ann")
    third = story.commit("third", second, by="bob")
    story.review(third, first, by="ann")
    assert account(story, third, first).faults == (
        f"1 of 2 commits have fewer than the 1 review by others that the charter asks for: {second[:12]}",
    )
    story.review(third, first, by="bob")
    found = account(story, third, first)
    assert (found.authors, found.reviewers, found.faults) == (("ann", "bob"), ("ann", "bob"), ())
    assert "2 of 2 commits" in account(story, third, first, asked=2).faults[0]
    story.review(third, first, by="eve")
    assert account(story, third, first, asked=2).faults == ()


def test_a_review_covers_its_range_only(story: Story) -> None:
    first = story.commit("first")
    second = story.commit("second", first)
    third = story.commit("third", second)
    story.review(third, second)
    assert second[:12] in account(story, third, first).faults[0]
    assert third[:12] not in account(story, third, first).faults[0]
    story.review(second)
    assert account(story, third, first).faults == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"by": None},
        {"by": "mallory"},
        {"by": "ann"},
        {"product": "acme/other"},
        {"branch": "next"},
        {"name": "reviewed/"},
        {"since": "3" * 40},
    ],
    ids=str,
)
def test_a_review_that_does_not_count(story: Story, changes: dict[str, Any]) -> None:
    """Unsigned, by a stranger, by the author; of another product or branch; no review; since something unknown."""
    first = story.commit("first")
    second = story.commit("second", first)
    story.review(second, **{"since": first} | changes)
    found = account(story, second, first)
    assert found.reviewers == ()
    assert "review by others" in found.faults[0]


def test_unsigned_and_foreign_commits(story: Story) -> None:
    first = story.commit("first")
    second = story.commit("second", first, by=None)
    third = story.commit("third", second, by="mallory")
    chain = [second, third]
    for number in range(5):
        chain.append(story.commit(str(number), chain[-1], by="mallory"))
    tip = chain[-1]
    story.review(tip, first)
    some = ", ".join(identity[:12] for identity in chain[:3])
    assert account(story, tip, first).faults == (
        f"7 of 7 commits have no valid signature of a developer whom the charter names: {some}, …",
    )
    assert account(story, tip, first, developers=None).faults == ()


def test_history_rewritten(story: Story) -> None:
    first = story.commit("first")
    released = story.commit("released", first)
    rewritten = story.commit("rewritten", first)
    story.review(rewritten)
    for without in ((), (first,), (released,), (first, released)):
        (fault,) = account(story, rewritten, released, *without).faults
        assert "the branch was rewritten" in fault
    assert "rewritten" in account(story, first, released).faults[0]


def test_a_commit_left_out(story: Story) -> None:
    first = story.commit("first")
    second = story.commit("second", first)
    third = story.commit("third", second)
    story.review(third, first)
    assert account(story, third, first, first).faults == ()
    assert "its lineage is cut" in account(story, third, first, second).faults[0]
    assert account(story, third, first, third).faults == (f"commit {third[:12]} is not in its lineage",)


def test_a_branch_that_began_before_the_release(story: Story) -> None:
    old = story.commit("old")
    released = story.commit("released", story.commit("between", old))
    topic = story.commit("topic", old)
    merge = story.commit("merge", released, topic)
    story.review(merge, released)
    assert account(story, merge, released).faults == ()
    assert account(story, merge, released).changes in ((topic, merge),)
    # Without the way from the release back to where the branch began, it might be anything.
    between = next(iter(parse_lineage(story.lineage()).commits.values())).id
    assert between == old
    assert "cut" in account(story, merge, released, released, old).faults[0]


def test_a_foreign_root_merged_in(story: Story) -> None:
    """Signed and reviewed, a history that has nothing to do with this one is a change like others."""
    released = story.commit("released")
    foreign = story.commit("foreign", by="mallory")
    merge = story.commit("merge", released, foreign)
    story.review(merge, released)
    assert foreign[:12] in account(story, merge, released).faults[0]


def test_two_names_with_one_key(story: Story) -> None:
    first = story.commit("first")
    second = story.commit("second", first)
    story.review(second, first, by="ann")
    faults = account(story, second, first, developers={"ann": seeded("ann").public, "bob": seeded("ann").public}).faults
    assert "two developers one key" in faults[0]
    assert "review by others" in faults[1]


def test_a_long_history_with_many_reviews_is_soon_examined(story: Story) -> None:
    tip = first = story.commit("first", by=None)
    for number in range(1_500):
        tip = story.commit(str(number), tip, by=None)
    found = account(story, tip, first)
    assert len(found.changes) == 1_500


# --- the format ----------------------------------------------------------------------------------------------------


def test_what_is_no_lineage(story: Story) -> None:
    first = story.commit("first")
    story.review(first)
    data = story.lineage()
    assert parse_lineage(b"").commits == {}
    for bad in (
        data[:-1],
        data + b"x",
        data.replace(b" commit ", b" blob "),
        data.replace(b" commit ", b" commit 0"),
        data.replace(b" commit ", b"  commit "),
        data + data,
        data.replace(b"first", b"other"),
        data.replace(first.encode(), b"0" * 40),
        b"0" * 40 + b" commit 99999999\n",
        b"x" * 200,
    ):
        with pytest.raises(FormatError, match="lineage"):
            parse_lineage(bad)


def test_two_formats_are_not_mixed() -> None:
    short, long = Story(40), Story(64)
    short.commit("x")
    long.commit("x")
    with pytest.raises(FormatError, match="two formats"):
        parse_lineage(short.lineage() + long.lineage())


def test_more_than_it_may_hold(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    story.commit("second", story.commit("first"))
    data = story.lineage()
    monkeypatch.setattr("glasshouse_verify.lineage.MAX_OBJECTS", 1)
    with pytest.raises(FormatError, match="more than 1 objects"):
        parse_lineage(data)
    monkeypatch.setattr("glasshouse_verify.lineage.MAX_LINEAGE", 10)
    with pytest.raises(FormatError, match="more than 10"):
        format_lineage(story.objects, 40)


def test_histories() -> None:
    world = World()
    assert history_of(world.source()) is None
    said = {"branch": "releases/1.x", "lineage": digest(b"x")}
    assert history_of(world.source(history=said)) == History(branch="releases/1.x", lineage=digest(b"x"))
    for bad in ({}, [], 1, {**said, "branch": "a b"}, {**said, "branch": "a..b"}, {**said, "more": 1}):
        with pytest.raises(FormatError, match="history"):
            history_of(world.source(history=bad))


def test_what_a_source_says_beyond_its_lineage(story: Story) -> None:
    first = story.commit("first")
    second = story.commit("second", first)
    story.review(second, first)
    shown, world = account(story, second, first), World()
    assert compare(world.source(authors=("ann",), reviewers=("bob",)), shown) == ()
    (invented,) = compare(world.source(authors=("ann",), reviewers=("bob", "eve")), shown)
    assert "eve" in invented
    (concealed,) = compare(world.source(authors=(), reviewers=("bob",)), shown)
    assert "ann" in concealed


def test_a_charter_names_developers() -> None:
    world = World(products={PRODUCT: {"developers": {"ann": "A" * 43 + "="}}})
    rule: ProductRule = world.history.chain.newest.charter.products[PRODUCT]
    assert rule.developers == {"ann": bytes(32)}
    with pytest.raises(FormatError, match="developers"):
        World(products={PRODUCT: {"developers": {"ann": "AAAA"}}})


def test_the_page_shows_what_the_code_writes() -> None:
    story, before, tip = example()
    page = (Path(__file__).resolve().parents[3] / "docs/spec/lineage.md").read_text()
    blocks = dict(re.findall(r"^```(lineage|before)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert blocks == {"lineage": story.lineage(before).decode(), "before": before + "\n"}
    found = account(story, tip, before, before)
    assert (found.authors, found.reviewers, found.faults) == (("ann",), ("bob",), ())
