"""Reading the lineage of a commit out of a repository (glasshouse_verify.lineage), and the tree that a commit names.

A lineage holds every commit since the last release's, and the signed reviews of them. Where a branch was merged that
began before the last release, it also holds the commits between the two, for they show that its beginning is old.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from glasshouse_verify.errors import FormatError
from glasshouse_verify.gitobject import parse_tag
from glasshouse_verify.lineage import MAX_LINEAGE, MAX_OBJECTS, REVIEW_PREFIX, parse_lineage

from glasshouse.conveyor.archive import CHUNK_BYTES
from glasshouse.conveyor.errors import InvalidSource
from glasshouse.conveyor.git import FETCHED, git, has
from glasshouse.conveyor.tree import RESERVED, SourceTree, TreeFile

_Node = dict[bytes, "TreeFile | _Node"]


def read_lineage(repository: Path, tip: str, before: str | None) -> bytes:
    """The lineage of `tip` back to `before`, the commit of the release before; of `tip` alone where there is none.

    A `before` that the repository lacks, or that is no ancestor, gives the lineage that there is: what it does not show
    is found by whoever examines it. Raises InvalidSource where it is too long.
    """
    if before is None or not has(repository, before):
        changes, context = [tip], set[str]()
    else:
        listed = git(repository, "rev-list", "--topo-order", "--boundary", tip, "--not", before).decode().split()
        changes = [name for name in listed if not name.startswith("-")]
        context = _between(repository, before, {name[1:] for name in listed if name.startswith("-")} - {before})
    changes = changes or [tip]
    commits, reviews = [*changes, *sorted(context - set(changes))], _reviews(repository, set(changes))
    try:
        return _read(repository, [*commits, *reviews])
    except FormatError:
        # Anybody who may push can have pushed a tag that is none; a commit that is none stays an error.
        return _read(repository, [*commits, *(name for name in reviews if _is_readable(repository, name))])


def _read(repository: Path, names: list[str]) -> bytes:
    if len(names) > MAX_OBJECTS:
        raise InvalidSource("history", f"has {len(names)} commits since the release before, more than {MAX_OBJECTS}")
    lineage = git(repository, "cat-file", "--batch", given="".join(f"{name}\n" for name in names).encode())
    if len(lineage) > MAX_LINEAGE:
        raise InvalidSource("history", f"takes {len(lineage)} bytes since the release before, more than {MAX_LINEAGE}")
    parse_lineage(lineage)
    return lineage


def _between(repository: Path, before: str, old: set[str]) -> set[str]:
    """The commits on the way from `before` back to each of `old`."""
    found: set[str] = set()
    for name in sorted(old):
        found |= set(git(repository, "rev-list", "--ancestry-path", before, "--not", name).decode().split())
    return found


def _reviews(repository: Path, changes: set[str]) -> list[str]:
    """The review tags of these commits, by name."""
    shown = "--format=%(objectname) %(*objectname)"
    lines = git(repository, "for-each-ref", shown, f"{FETCHED}/tags/{REVIEW_PREFIX}").decode().splitlines()
    found = [name for name, _, target in (line.partition(" ") for line in lines) if target in changes]
    return list(dict.fromkeys(found))


def _is_readable(repository: Path, tag: str) -> bool:
    try:
        parse_tag(git(repository, "cat-file", "tag", tag), len(tag))
    except FormatError:
        return False
    return True


def git_tree(tree: SourceTree, digits: int) -> str:
    """The id by which git names a source tree, without the files that the conveyor has added; 40 or 64 digits."""
    top: _Node = {}
    for file in tree.files:
        *parents, name = file.path.encode().split(b"/")
        if file.path.startswith(f"{RESERVED}/"):
            continue
        here = top
        for parent in parents:
            below = here.setdefault(parent, {})
            if not isinstance(below, dict):
                raise InvalidSource(file.path, "has a file as its parent")
            here = below
        here[name] = file
    return _tree_id(tree, top, digits).hex()


def _tree_id(tree: SourceTree, node: _Node, digits: int) -> bytes:
    rows = []
    for name, below in node.items():
        if isinstance(below, dict):
            # Git sorts a directory as if its name ended in a slash.
            rows.append((name + b"/", b"40000 " + name + b"\0" + _tree_id(tree, below, digits)))
        else:
            rows.append((name, below.mode.encode() + b" " + name + b"\0" + _blob_id(tree, below, digits)))
    content = b"".join(row for _, row in sorted(rows))
    return _hash(digits, b"tree %d\0" % len(content) + content).digest()


def _blob_id(tree: SourceTree, file: TreeFile, digits: int) -> bytes:
    state = _hash(digits, b"blob %d\0" % file.size)
    with tree.open(file) as content:
        while chunk := content.read(CHUNK_BYTES):
            state.update(chunk)
    return state.digest()


def _hash(digits: int, data: bytes) -> hashlib._Hash:
    return hashlib.sha256(data) if digits == 64 else hashlib.sha1(data, usedforsecurity=False)
