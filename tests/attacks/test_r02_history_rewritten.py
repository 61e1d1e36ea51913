"""R2 Source that nobody reviewed, or whose history was rewritten.

Cheat: the vendor force-pushes a branch, so that what was reviewed and released is gone from it; releases a commit
    that nobody reviewed or signed; names reviewers who reviewed nothing; or shows the reviewed commit and packs another
    tree.
Noticed by: every auditor, from the commits and signed reviews in the source's lineage, whose ids and signatures it
    recomputes; the rebuilders, who have the tree, where it is not the commit's.
Seen: an alarm of the rule source-history that names the commits; where the charter's number of reviewers is not even
    claimed, exit 5; for another tree, the verdict pack-not-received, and exit 5.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.lineage import History
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Verdict
from lineages import BRANCH, Story
from onlookers import alarms
from rebuilds import Rebuilder
from workshop import RECIPES, c_recipe, environment, tree_of
from world import NOW, PRODUCT, USES, World, digest, seeded, texts

from glasshouse.conveyor.ancestry import git_tree

HELLO = (RECIPES / "hello-c/source/hello.c").read_text()
RECIPE = c_recipe(["cc", "-O2", "-o", "/build/out/out", "hello.c"], ["out"])
DEVELOPERS = {name: encode_base64(seeded(name).public) for name in ("ann", "bob", "eve")}


class Vendor(World):
    """A vendor whose charter names developers and asks for one reviewer; it has released 1.0, as it should be."""

    def __init__(self, **product: Any) -> None:
        super().__init__(products={PRODUCT: {"reviewers": 1, "developers": DEVELOPERS} | product})
        self.story, self.sources = Story(), dict[str, str]()
        self.first = self.story.commit("first")
        self.story.review(self.first)
        self.ship("1.0", self.first)

    def ship(self, version: str, tip: str, follows: str | None = None, *without: str, **changes: Any) -> str:
        """Release a commit; returns the release's id. `sources` has the source's id, by version."""
        lineage = self.story.lineage(*without)
        self.blobs[digest(lineage)] = lineage
        follow = None if follows is None else self.sources[follows]
        said = History(branch=changes.pop("branch", BRANCH), lineage=digest(lineage), follows=follow)
        fields: dict[str, Any] = {"history": encode(said), "commit": tip, "epoch": NOW}
        fields |= {"authors": ("ann",), "reviewers": ("bob",)}
        source = self.source(version, **(fields | changes))
        release = self.release(version, source=source, shipped=version.encode())
        self.sources[version] = self.statement(release).source
        self.oversee(release)
        return release

    @property
    def alarms(self) -> list[str]:
        return alarms(self).get("source-history", [])


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


def test_control_reviewed_and_signed(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first)
    vendor.ship("1.1", second, "1.0")
    assert vendor.verify(shipped=b"1.1").outcome == Outcome.VERIFIED
    assert alarms(vendor) == {}


def test_attack_force_pushed(vendor: Vendor) -> None:
    """What was released as 1.0 is gone from the branch."""
    other = vendor.story.commit("first, rewritten")
    vendor.story.review(other)
    vendor.ship("1.1", other, "1.0")
    (text,) = vendor.alarms
    assert text.startswith("acme/engine 1.1: commit ")
    assert "the branch was rewritten" in text
    assert vendor.first[:12] in text


def test_attack_rolled_back(vendor: Vendor) -> None:
    """A newer version from an older commit."""
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first)
    vendor.ship("1.1", second, "1.0")
    vendor.ship("1.2", vendor.first, "1.1")
    assert any("acme/engine 1.2: commit" in text and "rewritten" in text for text in vendor.alarms)


def test_attack_rewritten_and_said_to_follow_nothing(vendor: Vendor) -> None:
    other = vendor.story.commit("first, rewritten")
    vendor.story.review(other)
    vendor.ship("1.1", other)
    assert vendor.alarms == [
        "acme/engine 1.1: it follows no source that was released, where 1.0 was released before it"
    ]


def test_attack_rewritten_and_said_to_follow_an_older_release(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second)
    vendor.ship("1.1", second, "1.0")
    other = vendor.story.commit("second, rewritten", vendor.first)
    vendor.story.review(other)
    vendor.ship("1.2", other, "1.0")
    assert vendor.alarms == ["acme/engine 1.2: it follows 1.0, not 1.1, the newest release of main"]


def test_control_a_branch_of_an_older_release(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second)
    vendor.ship("2.0", second, "1.0")
    mended = vendor.story.commit("mended", vendor.first)
    vendor.story.review(mended, branch="releases/1.x")
    vendor.ship("1.0.1", mended, "1.0", branch="releases/1.x")
    assert vendor.alarms == []


def test_attack_a_new_branch_that_began_elsewhere(vendor: Vendor) -> None:
    other = vendor.story.commit("another first")
    vendor.story.review(other, branch="next")
    vendor.ship("1.1", other, "1.0", branch="next")
    assert "rewritten" in vendor.alarms[0]


def test_attack_unreviewed(vendor: Vendor) -> None:
    """A change that only its author has seen; the vendor names a reviewer all the same."""
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first, by="ann")
    vendor.ship("1.1", second, "1.0")
    assert vendor.verify(shipped=b"1.1").outcome == Outcome.VERIFIED
    unreviewed, invented = vendor.alarms
    assert (
        f"1 of 1 commits have fewer than the 1 review by others that the charter asks for: {second[:12]}" in unreviewed
    )
    assert "it names reviewers whose signed reviews its lineage does not show: bob" in invented


def test_attack_unreviewed_and_nobody_named(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first)
    vendor.ship("1.1", second, "1.0", reviewers=None)
    report = vendor.verify(shipped=b"1.1")
    assert report.outcome == Outcome.UNDECIDED
    assert texts(report)["source"] == "the source names 0 of the 1 reviewers that the charter asks for"
    assert "fewer than the 1 review" in vendor.alarms[0]


def test_attack_changed_after_the_review(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first)
    third = vendor.story.commit("one more thing", second)
    vendor.ship("1.1", third, "1.0")
    (text,) = vendor.alarms
    assert f"1 of 2 commits have fewer than the 1 review by others that the charter asks for: {third[:12]}" in text


def test_attack_commits_that_no_developer_signed(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first, by="mallory")
    vendor.story.review(second, vendor.first)
    vendor.ship("1.1", second, "1.0", authors=())
    (text,) = vendor.alarms
    assert "no valid signature of a developer whom the charter names" in text


def test_attack_the_author_is_not_named(vendor: Vendor) -> None:
    """So that the gate counts an author as a reviewer."""
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first)
    vendor.ship("1.1", second, "1.0", authors=())
    assert vendor.alarms == ["acme/engine 1.1: it does not name its authors ann"]


def test_attack_commits_left_out(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first, by="mallory")
    third = vendor.story.commit("third", second)
    vendor.story.review(third, vendor.first)
    vendor.ship("1.1", third, "1.0", second)
    assert "its lineage is cut" in vendor.alarms[0]


def test_attack_no_history_shown(vendor: Vendor) -> None:
    vendor.ship("1.1", vendor.first, "1.0", history=None)
    assert vendor.alarms == [
        "acme/engine 1.1: it shows no history, though the charter names the developers who have to sign its commits"
    ]


def test_attack_lineage_withheld(vendor: Vendor) -> None:
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first)
    vendor.ship("1.1", second, "1.0")
    vendor.blobs.popitem()
    lineage = vendor.statement(vendor.sources["1.1"]).history["lineage"]
    vendor.blobs.pop(lineage, None)
    assert any("lineage" in text for text in alarms(vendor)["availability"])


@pytest.mark.parametrize("damage", [b"", b"x", b"a" * 40 + b" commit 1\nx\n"])
def test_attack_another_lineage_than_it_says(vendor: Vendor, damage: bytes) -> None:
    vendor.blobs[digest(damage)] = damage
    said = {"branch": "main", "lineage": digest(damage), "follows": vendor.sources["1.0"]}
    vendor.ship("1.1", vendor.first, "1.0", history=said)
    assert "is not in its lineage" in vendor.alarms[0] or "its history cannot be read" in vendor.alarms[0]


@pytest.mark.parametrize(
    "changes", [{"history": {"branch": "main"}}, {"commit": None}, {"commit": "main"}, {"epoch": 7}]
)
def test_attack_a_history_out_of_shape(vendor: Vendor, changes: dict[str, Any]) -> None:
    vendor.ship("1.1", vendor.first, "1.0", **changes)
    assert len(vendor.alarms) == 1


def test_attack_another_party_releases_the_product(vendor: Vendor) -> None:
    """So that the vendor's next source follows the wrong one."""
    uses = {"keys": {vendor.keys["lab"].keyid: {"uses": [*USES["lab"], "source", "release"]}}}
    vendor.amend({"parties": {"lab": uses}})
    for party in ("acme", "lab"):
        said = {"branch": BRANCH, "lineage": digest(b""), "follows": vendor.sources["1.0"]}
        source = vendor.source("0.9", party=party, commit=vendor.first, history=said, time=NOW + len(party))
        vendor.release("0.9", source=source, by="lab", party="lab", shipped=b"0.9")
    second = vendor.story.commit("second", vendor.first)
    vendor.story.review(second, vendor.first)
    vendor.ship("1.1", second, "1.0")
    assert not any(text.startswith("acme/engine 1.1") for text in vendor.alarms)


def test_control_without_developers_continuity_alone_is_asked(vendor: Vendor) -> None:
    vendor = Vendor(developers=None)
    second = vendor.story.commit("second", vendor.first, by="mallory")
    vendor.ship("1.1", second, "1.0")
    assert vendor.alarms == []
    vendor.ship("1.2", vendor.first, "1.1")
    assert len(vendor.alarms) == 1


@pytest.mark.parametrize("packed", ["as reviewed", "with a line more"])
def test_attack_the_reviewed_commit_beside_another_tree(packed: str, tmp_path: Path) -> None:
    """The rebuilder who opens the pack finds another tree than the commit's; the commit's own tree it builds."""
    environment()
    rebuilder, story = Rebuilder(World(), tmp_path / "lab"), Story()
    world, files = rebuilder.world, {"hello.c": HELLO}
    tip = story.commit("first", tree=git_tree(tree_of(tmp_path / "reviewed", files), 40))
    lineage = story.lineage()
    world.blobs[digest(lineage)] = lineage
    source = rebuilder.source(RECIPE, files if packed == "as reviewed" else {"hello.c": HELLO + "// more\n"})
    history = encode(History(branch=BRANCH, lineage=digest(lineage)))
    release = world.release(shipped=b"other bytes", name="out", source=replace(source, history=history, commit=tip))
    verdict = rebuilder.judge(release).rebuild
    if packed == "as reviewed":
        assert verdict.verdict == Verdict.DIFFERS
    else:
        assert verdict.verdict == Verdict.PACK_NOT_RECEIVED
        assert f"commit {tip}: has another tree than the source pack" in verdict.explanation
