"""Fetching a source tree: from an index, a git repository or bundle, a directory; and what is refused."""

import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from debian_archive import DebianArchive, served
from workshop import c_recipe

from glasshouse.conveyor.errors import InvalidRecipe, InvalidSource, OriginUnavailable
from glasshouse.conveyor.lock import Lock, make_lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.recipe import DebianSource, DirectorySource, GitSource, IndexSource, Recipe, SourceOrigin
from glasshouse.conveyor.source import FetchedSource, fetch_source
from glasshouse.conveyor.store import Store, http_client

GIT = {"GIT_AUTHOR_DATE": "1700000000 +0100", "GIT_COMMITTER_DATE": "1700000123 -0500", "GIT_CONFIG_GLOBAL": os.devnull}


@pytest.fixture
def lock() -> Lock:
    return make_lock(c_recipe(["true"], ["out"]).environment, [], [], [])


class Fetcher:
    """Fetches into tmp_path/tree with an index of its own."""

    def __init__(self, directory: Path, lock: Lock, client: httpx.Client, base: str) -> None:
        self.directory, self.lock = directory, lock
        self.store = Store(directory / "store")
        self.origins = Origins(
            client=client, mirrors={"debian": f"{base}/debian"}, keyring=Path("/none"), index_url=f"{base}/simple"
        )

    def __call__(self, source: SourceOrigin | None, **fields: tuple[str, ...]) -> FetchedSource:
        recipe: Recipe = replace(c_recipe(["true"], ["out"]), source=source, **fields)  # type: ignore[arg-type]
        return fetch_source(recipe, self.directory, self.lock, self.directory / "tree", self.store, self.origins)


@pytest.fixture
def fetch(tmp_path: Path, lock: Lock) -> Iterator[Fetcher]:
    with served(tmp_path) as base, http_client() as client:
        yield Fetcher(tmp_path, lock, client, base)


def publish(directory: Path, filename: str, content: bytes) -> IndexSource:
    digest = DebianArchive(directory, None).add_wheel("thing", filename, content)  # type: ignore[arg-type]
    return IndexSource(name="thing", version="1", filename=filename, sha256=digest)


def sdist(files: dict[str, str], top: str = "thing-1", mtime: int = 1_700_000_000) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{top}/{name}")
            info.size, info.mtime = len(content), mtime
            archive.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


def paths(source: FetchedSource) -> list[str]:
    return [file.path for file in source.tree.files]


def test_a_source_distribution(fetch: Fetcher, tmp_path: Path) -> None:
    source = fetch(publish(tmp_path, "thing-1.tar.gz", sdist({"a.c": "1", "d/b.c": "2"})))
    assert paths(source) == ["a.c", "d/b.c", "glasshouse/lock.jsonl", "glasshouse/recipe.toml"]
    assert (source.epoch, source.commit) == (1_700_000_000, None)


def test_a_source_distribution_from_before_zip_files(fetch: Fetcher, tmp_path: Path) -> None:
    assert fetch(publish(tmp_path, "thing-1.tar.gz", sdist({"a": ""}, mtime=0))).epoch == 315_532_800


def test_a_wheel_as_source(fetch: Fetcher, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("x/rules.yar", (2024, 1, 2, 3, 4, 6)), "rule")
    source = fetch(publish(tmp_path, "thing-1-py3-none-any.whl", out.getvalue()))
    assert paths(source)[-1] == "x/rules.yar"
    assert source.epoch == 1_704_164_646


def test_a_source_archive_of_debian(fetch: Fetcher, tmp_path: Path) -> None:
    path, content = "pool/main/t/thing/thing_1.orig.tar.gz", sdist({"a.c": "1"})
    (tmp_path / "debian" / path).parent.mkdir(parents=True)
    (tmp_path / "debian" / path).write_bytes(content)
    with pytest.raises(OriginUnavailable, match="has SHA-256"):
        fetch(DebianSource(path=path, sha256="0" * 64))
    source = fetch(DebianSource(path=path, sha256=hashlib.sha256(content).hexdigest()))
    assert paths(source)[0] == "a.c"
    assert source.epoch == 1_700_000_000


def test_what_the_index_does_not_have(fetch: Fetcher, tmp_path: Path) -> None:
    published = publish(tmp_path, "thing-1.tar.gz", sdist({"a": ""}))
    with pytest.raises(OriginUnavailable, match="lists no file"):
        fetch(replace(published, filename="thing-2.tar.gz"))
    with pytest.raises(InvalidSource, match="lists it with SHA-256"):
        fetch(replace(published, sha256="0" * 64))


@pytest.mark.parametrize("content", [b"no archive", sdist({"a": "", "../../b": ""}), sdist({"x": "y" * 9})[:-20]])
def test_a_hostile_source_distribution(content: bytes, fetch: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(InvalidSource):
        fetch(publish(tmp_path, "thing-1.tar.gz", content))


def test_the_reserved_directory_must_be_free(fetch: Fetcher, tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="exists in the source"):
        fetch(publish(tmp_path, "thing-1.tar.gz", sdist({"glasshouse/recipe.toml": "mine"})))


def test_a_directory_and_included_files(fetch: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/a.c").write_text("1")
    (tmp_path / "src/l").symlink_to("a.c")
    (tmp_path / "script.py").write_text("2")
    source = fetch(DirectorySource(path="src", epoch=1_600_000_000), include=("script.py",))
    assert paths(source) == ["a.c", "glasshouse/lock.jsonl", "glasshouse/recipe.toml", "glasshouse/script.py", "l"]
    assert source.epoch == 1_600_000_000


@pytest.mark.parametrize("include", [("missing.py",), ("recipe.toml",), ("a.py", "b/a.py")])
def test_an_included_file_must_be_there_and_have_its_own_name(
    include: tuple[str, ...], fetch: Fetcher, tmp_path: Path
) -> None:
    for place in ("src/a", "a.py", "b/a.py", "recipe.toml"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).touch()
    with pytest.raises(InvalidRecipe, match="include"):
        fetch(DirectorySource(path="src", epoch=1_600_000_000), include=include)


def test_a_recipe_without_source_fetches_nothing(fetch: Fetcher) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        fetch(None)
    assert caught.value.field == "source"


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    run = subprocess.run(command, cwd=repository, env={**os.environ, **GIT}, check=True, capture_output=True, text=True)
    return run.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose attributes would change what `git archive` or a checkout gives."""
    place = tmp_path / "repository"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / ".gitattributes").write_text("hidden export-ignore\n*.txt text eol=crlf\nsubst export-subst\n")
    (place / "hidden").write_text("reviewed too\n")
    (place / "a.txt").write_bytes(b"one\ntwo\n")
    (place / "subst").write_text("$Format:%H$\n")
    (place / "run").write_text("#!/bin/sh\n")
    (place / "run").chmod(0o755)
    (place / "link").symlink_to("a.txt")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "first")
    return place


@pytest.mark.parametrize("bundled", [False, True], ids=["repository", "bundle"])
def test_a_commit_is_taken_blob_by_blob(bundled: bool, repository: Path, fetch: Fetcher, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "a.txt").write_text("later")
    git(repository, "commit", "-q", "-a", "-m", "second")
    if bundled:
        git(repository, "bundle", "create", "-q", str(tmp_path / "x.bundle"), "main")
    source = fetch(GitSource(location="x.bundle" if bundled else "repository", commit=commit))
    assert (source.epoch, source.commit) == (1_700_000_123, commit)
    modes = {file.path: file.mode for file in source.tree.files if not file.path.startswith("glasshouse/")}
    assert modes == {
        ".gitattributes": "100644",
        "a.txt": "100644",
        "hidden": "100644",
        "link": "120000",
        "run": "100755",
        "subst": "100644",
    }
    assert source.tree.read("a.txt", 100) == b"one\ntwo\n"
    assert source.tree.read("subst", 100) == b"$Format:%H$\n"


def test_git_that_cannot_give_the_commit(repository: Path, fetch: Fetcher) -> None:
    with pytest.raises(OriginUnavailable, match="ls-tree failed"):
        fetch(GitSource(location="repository", commit="0" * 40))


@pytest.mark.parametrize("location", ["missing.bundle", "ext::sh -c evil", "--upload-pack=evil"])
def test_a_location_that_is_none(location: str, fetch: Fetcher) -> None:
    with pytest.raises(OriginUnavailable):
        fetch(GitSource(location=location, commit="0" * 40))


def test_a_submodule_is_refused(repository: Path, fetch: Fetcher) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{commit},module")
    git(repository, "commit", "-q", "-m", "module")
    with pytest.raises(InvalidSource, match="submodule"):
        fetch(GitSource(location="repository", commit=git(repository, "rev-parse", "HEAD")))
