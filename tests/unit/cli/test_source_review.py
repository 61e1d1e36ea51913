"""`glasshouse source review`: a tag that counts as a review, or none."""

import subprocess
from pathlib import Path

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.gitobject import parse_tag
from initiative import command
from repository import Repository
from world import PRODUCT, seeded

from glasshouse.parties.errors import SettingsError


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "bob")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "bob@example.org")
    return Repository(tmp_path / "repository")


def review(repository: Repository, *words: str) -> dict[str, str]:
    key = () if "--key" in words else ("--key", repository.keys / "bob")
    return command(repository.place, "source", "review", "--product", PRODUCT, "--as", "bob", *key, *words)


def read(repository: Repository, tag: str) -> tuple[str, bytes | None]:
    content = repository.git("cat-file", "tag", f"refs/tags/{tag}") + "\n"
    parsed = parse_tag(content.encode(), 40)
    return parsed.title, parsed.signer


def test_what_was_read_is_what_is_signed(repository: Repository) -> None:
    first, second = repository.commit(text="1"), repository.commit(text="2")
    third = repository.commit(text="3")
    bob = seeded("bob").public
    assert read(repository, review(repository, first)["tag"]) == ("Reviewed acme/engine on main", bob)
    made = review(repository)
    assert made == {**made, "tag": f"review/bob/{third[:12]}", "commit": third, "since": second}
    assert read(repository, made["tag"]) == (f"Reviewed acme/engine on main since {second}", bob)
    made = review(repository, "HEAD^", "--since", "HEAD^^", "--branch", "releases/1.x")
    assert read(repository, made["tag"]) == (f"Reviewed acme/engine on releases/1.x since {first}", bob)


def test_a_second_review_of_one_commit_is_refused(repository: Repository) -> None:
    repository.commit(text="1")
    review(repository)
    with pytest.raises(SettingsError, match="already exists"):
        review(repository)


def test_a_review_that_nobody_could_check_is_not_made(repository: Repository) -> None:
    repository.commit(text="1")
    key = repository.keys / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", key], check=True)
    with pytest.raises(SettingsError, match="no ed25519 key"):
        review(repository, "--key", str(key))
    assert repository.git("tag", "-l") == ""


@pytest.mark.parametrize("words", [("HEAD~7",), ("--since", "nothing"), ("--branch", "a b"), ("--branch", "x..y")])
def test_what_cannot_be_reviewed(repository: Repository, words: tuple[str, ...]) -> None:
    repository.commit(text="1")
    with pytest.raises(SettingsError):
        review(repository, *words)
    with pytest.raises(FormatError):
        review(repository, "--product", "engine")
    assert repository.git("tag", "-l") == ""
