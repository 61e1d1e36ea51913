"""Lineages of real repositories: what git and ssh-keygen have made is read, recomputed and found to be signed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.lineage import Account, examine, parse_lineage
from lineages import BRANCH, Story
from repository import Repository
from workshop import c_recipe
from world import PRODUCT, seeded

from glasshouse.conveyor.ancestry import git_tree
from glasshouse.conveyor.errors import InvalidRecipe, InvalidSource
from glasshouse.conveyor.lock import make_lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.recipe import GitSource, parse_recipe
from glasshouse.conveyor.source import FetchedSource, Wish, fetch_source
from glasshouse.conveyor.store import Store, http_client

KEYS = {name: seeded(name).public for name in ("ann", "bob", "eve")}
Fetch = Callable[..., FetchedSource]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    recipe = c_recipe(["true"], ["out"])
    lock = make_lock(recipe.environment, [], [], [])

    def run(commit: str | None = None, *before: str, version: str | None = None, branch: str = BRANCH) -> FetchedSource:
        source = GitSource(location="repository", commit=commit, branch=branch)
        place = tmp_path / f"tree{len(list(tmp_path.glob('tree*')))}"
        with http_client() as client:
            origins = Origins(client=client, mirrors={}, keyring=Path("/none"))
            wish = Wish(version=version, before=before)
            whole = replace(recipe, source=source)
            return fetch_source(whole, tmp_path, lock, place, Store(tmp_path / "store"), origins, wish)

    return run


def account(fetched: FetchedSource, asked: int = 1) -> Account:
    lineage = parse_lineage(fetched.lineage or b"")
    return examine(lineage, fetched.commit or "", fetched.before, (PRODUCT, BRANCH), KEYS, asked)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_commits_and_reviews_by_ssh_keygen(object_format: str, tmp_path: Path, fetch: Fetch) -> None:
    repository = Repository(tmp_path / "repository", object_format=object_format)
    first = repository.commit(text="1")
    second = repository.commit("lib/a.c", "2", by="eve")
    repository.review(second, first)
    found = account(fetch(second, first))
    assert found == Account(changes=(second,), authors=("eve",), reviewers=("bob",), faults=())
    assert account(fetch(first)).changes == (first,)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_the_tree_has_the_id_that_its_commit_names(object_format: str, tmp_path: Path, fetch: Fetch) -> None:
    repository = Repository(tmp_path / "repository", object_format=object_format)
    for path in ("a", "a.b/c", "a-b/ä", "z/y/x"):
        repository.commit(path, path)
    (repository.place / "run").write_text("#!/bin/sh\n")
    (repository.place / "run").chmod(0o755)
    (repository.place / "z/link").symlink_to("y/x")
    tip = repository.commit("empty", "")
    tree = git_tree(fetch(tip).tree, len(tip))
    assert (
        tree == repository.git("rev-parse", "HEAD^{tree}") == parse_lineage(fetch(tip).lineage or b"").commits[tip].tree
    )


def test_a_merged_branch_that_began_before_the_release(repository: Repository, fetch: Fetch) -> None:
    first = repository.commit(text="1")
    repository.git("branch", "topic")
    repository.commit(text="2")
    released = repository.commit(text="3")
    repository.git("checkout", "-q", "topic")
    topic = repository.commit("topic.c", "4", by="eve")
    repository.git("checkout", "-q", BRANCH)
    merge = repository.merge("topic")
    repository.review(merge, released)
    found = fetch(merge, released)
    assert account(found).faults == ()
    assert set(account(found).changes) == {topic, merge}
    assert first not in parse_lineage(found.lineage or b"").commits


def test_unsigned_and_unreviewed_commits_are_named(repository: Repository, fetch: Fetch) -> None:
    first = repository.commit(text="1")
    second = repository.commit(text="2", by="mallory")
    third = repository.commit(text="3", signed=False)
    repository.review(third, second, by="mallory")
    repository.git("tag", "-a", "-m", f"Reviewed {PRODUCT} on {BRANCH}", "review/bob/unsigned", third, by="bob")
    repository.git("tag", "review/bob/light", third)
    repository.git("tag", "-s", "-m", "x", "review/eve/of-a-tree", f"{third}^{{tree}}", by="eve")
    unsigned, unreviewed = account(fetch(third, first)).faults
    for fault in (unsigned, unreviewed):
        assert fault.startswith("2 of 2 commits")
        assert second[:12] in fault
        assert third[:12] in fault


def test_a_tag_that_cannot_be_read_is_nobodys_review(repository: Repository, fetch: Fetch) -> None:
    first = repository.commit(text="1")
    second = repository.commit(text="2")
    repository.review(second, first)
    head = f"object {second}\ntype commit\ntag review/x\n"
    (repository.place / "tag").write_bytes(head.encode() + b"tagger X <x> 1 +0000\n\nReviewed \xff\n")
    strange = repository.git("hash-object", "-t", "tag", "-w", "--literally", "tag")
    repository.git("update-ref", "refs/tags/review/x", strange)
    found = fetch(second, first)
    assert (account(found).reviewers, account(found).faults) == (("bob",), ())


def test_a_force_push_is_seen(repository: Repository, fetch: Fetch) -> None:
    repository.commit(text="1")
    released = repository.commit(text="2")
    repository.git("reset", "-q", "--hard", "HEAD^")
    rewritten = repository.commit(text="3")
    repository.review(rewritten)
    (fault,) = account(fetch(rewritten, released)).faults
    assert "the branch was rewritten" in fault
    repository.git("reflog", "expire", "--expire=now", "--all")
    repository.git("gc", "-q", "--prune=now")
    (fault,) = account(fetch(rewritten, released)).faults
    assert "the branch was rewritten" in fault


def test_the_newest_release_that_is_an_ancestor_is_followed(repository: Repository, fetch: Fetch) -> None:
    first = repository.commit(text="1")
    newest = repository.commit(text="2")
    repository.git("checkout", "-q", "-b", "old", first)
    mended = repository.commit(text="1 mended")
    assert fetch(mended, newest, first, branch="old").before == first


def test_replaced_objects_and_grafts_change_nothing(repository: Repository, fetch: Fetch) -> None:
    """`git replace` shows another history than the ids say; it is fetched with the other refs, and not believed."""
    first = repository.commit(text="1")
    second = repository.commit(text="2")
    third = repository.commit(text="3")
    repository.git("replace", "--graft", third, first)
    assert repository.git("rev-list", third).split() == [third, first]
    assert account(fetch(third, first)).changes == (second, third)


def test_the_tag_of_the_version_names_the_commit(repository: Repository, fetch: Fetch) -> None:
    first = repository.commit(text="1")
    repository.git("tag", "v1.0")
    second = repository.commit(text="2")
    repository.git("tag", "-a", "-m", "two", "2.0")
    repository.commit(text="3")
    assert fetch(version="1.0").commit == first
    assert fetch(version="2.0").commit == second
    for version in (None, "3.0"):
        with pytest.raises(InvalidRecipe, match="no tag of the repository names the version"):
            fetch(version=version)


def test_a_build_servers_clone_knows_the_branch_as_its_origins(repository: Repository, fetch: Fetch) -> None:
    first = repository.commit(text="1")
    repository.git("tag", "v1.0")
    elsewhere = repository.place.rename(repository.place.with_name("origin"))
    repository.git("clone", "-q", str(elsewhere), str(repository.place), inside=elsewhere)
    repository.git("checkout", "-q", "--detach", "v1.0")
    repository.git("branch", "-q", "-D", BRANCH)
    assert fetch(version="1.0").commit == first


def test_a_commit_beside_its_branch_is_refused(repository: Repository, fetch: Fetch) -> None:
    repository.commit(text="1")
    repository.git("checkout", "-q", "-b", "next")
    ahead = repository.commit(text="2")
    with pytest.raises(InvalidSource, match="is not on the branch main"):
        fetch(ahead)
    with pytest.raises(InvalidRecipe, match="has no branch other"):
        fetch(ahead, branch="other")


def test_a_history_that_is_too_long_is_refused(
    repository: Repository, fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.commit(text="1")
    for number in range(3):
        tip = repository.commit(text=str(number), signed=False)
    monkeypatch.setattr("glasshouse.conveyor.ancestry.MAX_OBJECTS", 2)
    with pytest.raises(InvalidSource, match="more than 2"):
        fetch(tip, first)
    monkeypatch.setattr("glasshouse.conveyor.ancestry.MAX_LINEAGE", 100)
    with pytest.raises(InvalidSource, match="more than 100"):
        fetch(first)


def test_what_is_made_by_hand_in_other_tests_is_what_git_makes(repository: Repository) -> None:
    """Git itself finds the signatures of tests/lineages.py good."""
    story = Story()
    story.review(story.commit("first", tree=repository.git("mktree", "--missing", by="ann") or ""))
    allowed = repository.keys / "allowed"
    allowed.write_text("".join(f"{name} {(repository.keys / f'{name}.pub').read_text()}" for name in ("ann", "bob")))
    names = []
    for kind, content in story.objects:
        (repository.place / kind).write_bytes(content)
        names.append(repository.git("hash-object", "-t", kind, "-w", "--no-filters", kind))
    setting = ("-c", f"gpg.ssh.allowedSignersFile={allowed}")
    repository.git(*setting, "verify-commit", names[0])
    repository.git(*setting, "verify-tag", names[1])


@pytest.mark.parametrize("branch", ["a b", "../x", "a..b", "x.lock", "-x", "a//b", "a/"])
def test_names_that_no_branch_has(branch: str) -> None:
    head, _, rest = c_recipe(["true"], ["out"]).text.decode().partition("[source]")
    source = '[source]\nkind = "git"\nlocation = "."\nbranch = "{}"\n\n[environment]'
    tail = rest.partition("[environment]")[2]
    parse_recipe((head + source.format("releases/1.x") + tail).encode())
    with pytest.raises(InvalidRecipe, match=r"source\.branch"):
        parse_recipe((head + source.format(branch) + tail).encode())
