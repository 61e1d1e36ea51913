"""R2 Reviewers shown other source than was built.

Cheat: reviewers get a clean source tree, the conveyor builds another one; the vendor names one tree here and the other
    there, in the source, the release, the provenance and the packs.
Noticed by: the customer where the names do not fit together; the rebuilders, who build the tree that reviewers see,
    where the vendor lies consistently.
Seen: exit 3 with the name that differs, or with the words of the rebuilder who got other bytes; exit 5 where rebuilds
    of the other tree are all there is.
"""

from forgery import forge
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import ReleasedFile, Tree, Use, Verdict, make_statement
from onlookers import alarms
from world import FILE, PLATFORM, SHIPPED, World, digest, texts

EVIL_TREE = Tree(root=digest(b"the tree that is really built"), size=43)


def file() -> ReleasedFile:
    return ReleasedFile(platform=PLATFORM, name=FILE, sha256=digest(SHIPPED))


def test_control_one_tree_for_all() -> None:
    world = World()
    world.honest()
    assert world.verify().outcome == Outcome.VERIFIED


def test_attack_provenance_names_the_other_tree() -> None:
    world = World()
    evil = world.source(manifest=EVIL_TREE)
    release = world.release(provenance=world.provenance(evil, file()))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    report = world.verify()
    assert report.outcome == Outcome.MISMATCH
    assert list(texts(report)) == ["provenance"]


def test_attack_provenance_lies_too() -> None:
    """Every signed word names the clean tree; who builds it gets other bytes."""
    world = World()
    release = world.release()
    for party in ("lab", "second"):
        world.rebuild(release, party, Verdict.DIFFERS)
    world.status()
    assert world.verify().outcome == Outcome.MISMATCH
    assert "verdicts" in alarms(world)


def second_source(world: World) -> str:
    """The other tree, logged as a source of its own for the rebuilders' eyes."""
    return world.post(make_statement(Use.SOURCE, world.source(manifest=EVIL_TREE, time=world.now)), "acme")


def test_attack_rebuilders_sent_to_the_other_tree() -> None:
    world = World()
    release = world.release()
    evil = second_source(world)
    verdicts = [world.rebuild(release, party, source=evil) for party in ("lab", "second")]
    status = world.status()
    assert world.verify().outcome == Outcome.UNDECIDED
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status))
    assert report.outcome == Outcome.MISMATCH
    assert "from another source" in texts(report)["rebuild"]


def test_attack_rebuild_of_another_release_replayed() -> None:
    world = World()
    world.honest()
    evil = world.release("1.1", shipped=b"evil 1.1")
    honest = [n for n in range(len(world.entries)) if n in (3, 4)]
    status = world.status()
    report = world.verify(forge(world, evil, rebuilds=honest, status=status), b"evil 1.1")
    assert report.outcome == Outcome.MISMATCH
    assert "of another release" in texts(report)["rebuild"]


def test_attack_clean_tree_shown_beside_a_release_from_the_other() -> None:
    world = World()
    clean = world.post(make_statement(Use.SOURCE, world.source(time=world.now)), "acme")
    release = world.release(source=world.source(manifest=EVIL_TREE))
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    status = world.status()
    report = world.verify(forge(world, release, source=clean, rebuilds=verdicts, status=status))
    assert report.outcome == Outcome.MISMATCH
    assert texts(report)["source"] == "the release names another source than the one shown"


def test_attack_source_that_too_few_reviewed() -> None:
    """The charter asks for two reviewers; the vendor names one, or the author once more."""
    for people in ({}, {"reviewers": ("Eve",)}, {"reviewers": ("Eve", "Ann"), "authors": ("Ann",)}):
        world = World(products={"acme/engine": {"reviewers": 2}})
        release = world.release(source=world.source(**people))
        for party in ("lab", "second"):
            world.rebuild(release, party)
        world.status()
        report = world.verify()
        assert report.outcome == Outcome.UNDECIDED
        assert "of the 2 reviewers" in texts(report)["source"]
        assert any("reviewers" in text for text in alarms(world)["releases"])


def test_control_source_that_two_reviewed() -> None:
    world = World(products={"acme/engine": {"reviewers": 2}})
    release = world.release(source=world.source(reviewers=("Eve", "Bob"), authors=("Ann",)))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
