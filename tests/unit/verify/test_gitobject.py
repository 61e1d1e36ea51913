"""Commits and tags: ids as git computes them, and signatures that count only where they hold."""

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.gitobject import object_id, parse_commit, parse_tag
from lineages import NOW, Story, signature
from world import seeded

ANN, BOB = seeded("ann").public, seeded("bob").public


def test_ids_are_those_of_git() -> None:
    assert object_id("blob", b"hello\n", 40) == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert object_id("blob", b"hello\n", 64) == "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4"


@pytest.mark.parametrize("digits", [40, 64])
def test_a_signed_commit(digits: int) -> None:
    story = Story(digits)
    first = story.commit("first", by=None)
    merged = story.commit("merge", first, object_id("commit", b"other", digits))
    commits = [parse_commit(content, digits) for _, content in story.objects]
    assert [commit.id for commit in commits] == [first, merged]
    assert [len(commit.parents) for commit in commits] == [0, 2]
    assert [commit.signer for commit in commits] == [None, ANN]
    assert commits[1].time == NOW
    assert commits[1].tree == object_id("tree", b"", digits)


def content(**changes: str) -> bytes:
    lines = {"tree": "tree " + "1" * 40, "parent": "parent " + "2" * 40, "author": "author A <a@b> 1 +0000"}
    lines |= {"committer": "committer C <c@d> 2 -0330", "rest": "", "end": "", "message": "m"}
    return "\n".join(line for name, line in (lines | changes).items() if line or name == "end").encode()


def test_plain_content() -> None:
    commit = parse_commit(content(rest="encoding latin1\nmergetag object x\n gpgsig y"), 40)
    assert (commit.time, commit.parents, commit.signer) == (2, ("2" * 40,), None)
    assert parse_commit(content(parent="", author="author  <> 1 +0000", message="") + b"\n", 40).parents == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        content(tree="tree " + "1" * 39),
        content(tree="tree " + "A" * 40),
        content(tree=""),
        content(parent="parent " + "2" * 64),
        content(author=""),
        content(committer=""),
        content(committer="committer C <c@d> 2"),
        content(committer="committer C <c@d> -2 +0000"),
        content(author="author A\0 1 +0000"),
        content(message="m\0"),
        content().replace(b"\n\nm", b""),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_no_commit(data: bytes) -> None:
    with pytest.raises(FormatError, match="commit"):
        parse_commit(data, 40)


def test_a_parent_after_the_author_is_none() -> None:
    """As git reads it: parents stand below the tree, and nowhere else."""
    assert parse_commit(content(rest="parent " + "3" * 40), 40).parents == ("2" * 40,)


def test_a_signature_counts_only_where_it_holds() -> None:
    story = Story()
    story.commit("good")
    (_, good), armour = story.objects[0], signature("ann", b"something else").decode().rstrip().replace("\n", "\n ")
    unsigned = Story()
    unsigned.commit("good", by=None)
    plain = unsigned.objects[0][1]
    assert parse_commit(good, 40).signer == ANN
    for other in (
        good.replace(b"good", b"evil"),
        good.replace(b"gpgsig ", b"gpgsig-sha256 "),
        good.replace(b"\n\ngood", f"\ngpgsig {armour}\n\ngood".encode()),
        plain.replace(b"\n\ngood", f"\ngpgsig {armour}\n\ngood".encode()),
        plain.replace(
            b"\n\ngood", b"\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQ\n -----END PGP SIGNATURE-----\n\ngood"
        ),
    ):
        assert parse_commit(other, 40).signer is None


# --- tags ----------------------------------------------------------------------------------------------------------


def test_a_review_tag() -> None:
    story = Story()
    commit = story.commit("first")
    story.review(commit, "1" * 40)
    (_, data) = story.objects[-1]
    tag = parse_tag(data, 40)
    assert (tag.target, tag.name, tag.signer) == (commit, f"review/bob/{commit[:12]}", BOB)
    assert tag.title == f"Reviewed acme/engine on main since {'1' * 40}"
    for other in (
        data.replace(b"Reviewed", b"reviewed"),
        data + b"more",
        data.replace(b"-----BEGIN", b"x-----BEGIN"),
        data.partition(b"-----BEGIN")[0],
        data.replace(b"-----BEGIN SSH", b"-----BEGIN SSH SIGNATURE-----\n-----BEGIN SSH"),
    ):
        assert parse_tag(other, 40).signer is None


@pytest.mark.parametrize(
    "change",
    [
        (b"type commit", b"type tree"),
        (b"object ", b"object 0"),
        (b"tagger", b"tagged"),
        (b"tag review", b"tag \nreview"),
        (b"tag review", b"tag \xff"),
        (b"Reviewed", b"\0"),
        (b"Reviewed", b"\xff"),
    ],
)
def test_what_is_no_tag_of_a_commit(change: tuple[bytes, bytes]) -> None:
    story = Story()
    story.review(story.commit("first"))
    with pytest.raises(FormatError, match="tag"):
        parse_tag(story.objects[-1][1].replace(*change), 40)
