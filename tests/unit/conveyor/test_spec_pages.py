"""The examples in docs/spec of the conveyor's formats are what the code writes and what it reads."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from glasshouse_verify.encoding import format_json
from glasshouse_verify.statement import Pack, Source, Tree
from workshop import REPOSITORY, tree_of

from glasshouse.conveyor.archive import Limits, decompressed, read_all, read_members
from glasshouse.conveyor.build import NOT_VARIED, BuildResult, Output
from glasshouse.conveyor.lock import check_recipe, parse_lock
from glasshouse.conveyor.manifest import content_salt, source_root, source_rows
from glasshouse.conveyor.pack import new_identity, seal_pack
from glasshouse.conveyor.provenance import provenance
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.tree import SourceTree, scan_tree

SPEC = REPOSITORY / "docs" / "spec"
SECRET = bytes(range(32))


def block(page: str, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (SPEC / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    tree_of(tmp_path, {"build.sh": "cc src/main.c\n", "src/main.c": "int main(void) { return 0; }\n"})
    (tmp_path / "build.sh").chmod(0o755)
    (tmp_path / "start").symlink_to("build.sh")
    return scan_tree(tmp_path)


def test_the_recipe() -> None:
    recipe = parse_recipe(block("recipe", "toml").encode())
    assert recipe.product == "signature-base"
    described = set(re.findall(r"`(build\.[a-z_]+)`", (SPEC / "recipe.md").read_text()))
    assert described == {f"build.{field}" for field in recipe.build.__dataclass_fields__}


def test_the_lock() -> None:
    lock = parse_lock(block("lock", "jsonl").encode())
    assert lock.data.decode() == block("lock", "jsonl")
    assert {len(lock.debs), len(lock.wheels)} == {1}
    assert len(lock.indexes) == 2
    recipe = parse_recipe(block("recipe", "toml").encode())
    environment = replace(recipe.environment, packages=("gcc",), links=(("/usr/bin/cc", "gcc"),))
    with pytest.raises(Exception, match="deb/coreutils"):
        check_recipe(lock, environment)


def test_the_source_manifest(tree: SourceTree) -> None:
    rows = "".join(format_json(dict(row)).decode() + "\n" for row in source_rows(tree, SECRET))
    assert rows == block("source-manifest", "jsonl")
    root = source_root(tree, SECRET)
    assert f"size {root.size}\nroot {root.root.hex()}\n" == block("source-manifest", "source-root")
    assert content_salt(SECRET, "src/main.c").hex() + "\n" == block("source-manifest", "salt")


def test_the_source_pack(tree: SourceTree, tmp_path: Path) -> None:
    """Opened without our own code as far as possible: any age and any tar will do."""
    secret, recipient = new_identity()
    packed = seal_pack(tree, SECRET, [recipient], tmp_path / "pack")
    (tmp_path / "plain").write_bytes(
        pyrage.decrypt(packed.path.read_bytes(), [pyrage.x25519.Identity.from_str(secret)])
    )
    with (tmp_path / "plain").open("rb") as stream:
        members = read_members(decompressed(stream, "x.gz"), Limits(members=10, total_bytes=100_000))
        listed = [(member.path, read_all(content, 10_000) if content else b"") for member, content in members]
    assert [path for path, _ in listed] == [
        "pack.json",
        "source/build.sh",
        "source/src",
        "source/src/main.c",
        "source/start",
    ]
    assert listed[0][1].decode() + "\n" == block("source-pack", "pack-header")


def test_the_provenance(tree: SourceTree, tmp_path: Path) -> None:
    root = source_root(tree, SECRET)
    digest = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    source = Source(
        party="acme",  # type: ignore[arg-type]
        product="acme/hello-c",  # type: ignore[arg-type]
        version="1.0",  # type: ignore[arg-type]
        manifest=Tree(root=root.root.hex(), size=root.size),  # type: ignore[arg-type]
        lock=Tree(root=digest, size=69),  # type: ignore[arg-type]
        lock_file=digest,  # type: ignore[arg-type]
        indexes=(),
        recipe="glasshouse/recipe.toml",  # type: ignore[arg-type]
        epoch=1_732_147_200,
        time=1_732_147_300,
        pack=Pack(sha256=digest, size=1, recipients=()),  # type: ignore[arg-type]
    )
    (tmp_path / "build.log").write_text("")
    output = Output(name="hello", path=tmp_path / "hello", sha256=digest, size=1)
    result = BuildResult(
        outputs=(output,),
        log=tmp_path / "build.log",
        started=1_732_147_400,
        finished=1_732_147_401,
        variations={"cpus": "0,1", "kernel": "6.1.0-28-amd64", "machine": "x86_64", "started": "1732147400"},
        not_varied=NOT_VARIED,
        executor="bubblewrap 0.8.0",
    )
    text = json.dumps(json.loads(provenance(source, result, "acme")), indent=1, sort_keys=True) + "\n"
    assert text == block("provenance", "provenance")
