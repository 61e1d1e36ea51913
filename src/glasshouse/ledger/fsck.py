"""fsck: checks a whole log, every entry against every tile against the signed checkpoint, and says in words what is
wrong.

    report = check_log(store.get, policy)            a directory or bucket
    report = check_log(client.get, policy)           a log served over HTTP, anybody's

Three things have to agree: the entries, the tiles (which proofs are made from), and the root that was signed. Where
two of them do, the third is the wrong one, and the conclusion says so. Memory is bounded by one tile for each level.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from glasshouse_verify.checkpoint import Checkpoint, parse_checkpoint
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.note import Note, parse_note
from glasshouse_verify.policy import Policy, check_checkpoint
from glasshouse_verify.tile import (
    TILE_WIDTH,
    entries_path,
    parse_bundle,
    tile_path,
    tile_reader,
    tile_width,
)
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier, tree_root

from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.log import CHECKPOINT_KEY
from glasshouse.storage.errors import ObjectMissing

Fetch = Callable[[str], bytes]
MAX_FINDINGS = 1000
_HASH_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong: the path of the resource, and a sentence."""

    path: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was checked and what was found; ``sound`` if nothing was. At most MAX_FINDINGS findings are listed."""

    checkpoint: Checkpoint | None
    findings: tuple[Finding, ...]
    conclusion: str

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check_log(fetch: Fetch, policy: Policy, *, checkpoint_path: str = CHECKPOINT_KEY) -> Report:
    """Check the log that ``fetch(path)`` reads, up to its checkpoint, which has to satisfy the policy.

    ``fetch`` raises ObjectMissing or NotThere for what is not there; its other errors pass through.
    """
    check = _Check(fetch)
    checkpoint = check.checkpoint(policy, checkpoint_path)
    if checkpoint is None:
        return Report(checkpoint=None, findings=tuple(check.findings), conclusion="there is no checkpoint to go by")
    entries_root = check.tree(checkpoint.size)
    tiles_agree = check.tiles_lead_to(checkpoint)
    entries_agree = entries_root == checkpoint.root
    if not entries_agree and not check.findings:
        check.find(
            checkpoint_path, f"its root is not that of the first {checkpoint.size} entries, nor that of the tiles"
        )
    conclusion = _conclusion(bool(check.findings), entries_agree, tiles_agree)
    return Report(checkpoint=checkpoint, findings=tuple(check.findings), conclusion=conclusion)


def _conclusion(found: bool, entries_agree: bool, tiles_agree: bool) -> str:
    match found, entries_agree, tiles_agree:
        case False, _, _:
            return "every entry and every tile is what was signed"
        case _, True, True:
            return "the entries and the tree are those that were signed; what is named above is damaged beside them"
        case _, True, False:
            return "the entries are those that were signed; the tiles named above are not"
        case _, False, True:
            return "the tree is the one that was signed; the entries named above were altered or are missing"
        case _:
            return "neither the entries nor the tiles lead to the signed root: this is not the log that was signed"


class _Check:
    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self.findings: list[Finding] = []

    def find(self, path: str, text: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(path=path, text=text))

    def checkpoint(self, policy: Policy, path: str) -> Checkpoint | None:
        """The checkpoint, also when its signatures do not hold: what lies below can be checked all the same."""
        note: Note | None = None
        try:
            note = parse_note(self._fetch(path))
            return check_checkpoint(policy, note).checkpoint
        except (ObjectMissing, NotThere):
            self.find(path, "is missing")
        except VerifyError as error:
            self.find(path, f"is not a checkpoint that the policy accepts: {error}")
        try:
            return None if note is None else parse_checkpoint(note.text)
        except FormatError:
            return None

    def tree(self, size: int) -> bytes | None:
        """Compare bundles with tiles, and tiles with those below; the entries' root, None if some are missing."""
        frontier, whole = Frontier(), True
        below: list[list[bytes]] = [[]]
        for index in range(-(-size // TILE_WIDTH)):
            width = tile_width(0, index, size)
            leaves = self._leaves(index, width)
            tile = self._tile(0, index, width)
            if leaves is not None and tile is not None:
                self._compare_leaves(index, width, leaves, tile)
            whole = whole and leaves is not None
            for leaf in leaves or ():
                frontier.append(leaf)
            if width == TILE_WIDTH:
                self._climb(below, 0, _root(tile or leaves))
        for level in range(1, len(below)):
            self._compare_tile(level, size >> 8 * (level + 1), below[level])
        return frontier.root() if whole else None

    def tiles_lead_to(self, checkpoint: Checkpoint) -> bool:
        def fetch(level: int, index: int, width: int) -> bytes:
            return self._resource(tile_path(level, index, width), tile_path(level, index))[0][: width * _HASH_BYTES]

        try:
            return tree_root(checkpoint.size, tile_reader(checkpoint.size, fetch)) == checkpoint.root
        except (VerifyError, ObjectMissing, NotThere):
            return False

    def _climb(self, below: list[list[bytes]], level: int, root: bytes) -> None:
        """Take the root of a full tile at ``level`` up; compare the tile above once it is complete, and so on."""
        if len(below) == level + 1:
            below.append([])
        below[level + 1].append(root)
        if len(below[level + 1]) == TILE_WIDTH:
            hashes, below[level + 1] = below[level + 1], []
            # The number of full tiles seen so far at this level is not kept, it follows from what the level above
            # holds.
            index = self._count(below, level + 1)
            stored = self._compare_tile(level + 1, index, hashes)
            self._climb(below, level + 1, _root(stored or hashes))

    def _count(self, below: list[list[bytes]], level: int) -> int:
        return sum(len(hashes) << 8 * (above - level - 1) for above, hashes in enumerate(below) if above > level)

    def _compare_tile(self, level: int, index: int, computed: list[bytes]) -> list[bytes] | None:
        if not computed:
            return None
        stored = self._tile(level, index, len(computed))
        for place, (shown, true) in enumerate(zip(stored or (), computed, strict=False)):
            if true and shown != true:
                child = tile_path(level - 1, index * TILE_WIDTH + place)
                self.find(
                    tile_path(level, index, len(computed)),
                    f"hash {place} is {shown.hex()}, but the tile {child} below it has the root {true.hex()}",
                )
        return stored

    def _compare_leaves(self, index: int, width: int, leaves: list[bytes], tile: list[bytes]) -> None:
        for place, (leaf, shown) in enumerate(zip(leaves, tile, strict=True)):
            if leaf != shown:
                self.find(
                    entries_path(index, width),
                    f"entry {index * TILE_WIDTH + place} hashes to {leaf.hex()}, but hash {place} of "
                    f"{tile_path(0, index, width)} is {shown.hex()}",
                )

    def _leaves(self, index: int, width: int) -> list[bytes] | None:
        path = entries_path(index, width)
        try:
            data, is_full = self._resource(path, entries_path(index))
            entries = parse_bundle(data)
        except (ObjectMissing, NotThere):
            self.find(path, f"is missing: entries {index * TILE_WIDTH} to {index * TILE_WIDTH + width - 1}")
            return None
        except FormatError as error:
            self.find(path, f"is no entry bundle: {error}")
            return None
        if len(entries) < width or (len(entries) > width and not is_full):
            self.find(path, f"holds {len(entries)} entries, {width} were signed")
            return None
        return [leaf_hash(entry) for entry in entries[:width]]

    def _tile(self, level: int, index: int, width: int) -> list[bytes] | None:
        path = tile_path(level, index, width)
        try:
            data, is_full = self._resource(path, tile_path(level, index))
        except (ObjectMissing, NotThere):
            self.find(path, "is missing")
            return None
        hashes = list(_hashes(data))[:width]
        expected = (TILE_WIDTH if is_full else width) * _HASH_BYTES
        if len(data) != expected:
            self.find(path, f"has {len(data)} bytes, expected {expected}")
            return None
        return hashes

    def _resource(self, path: str, full_path: str) -> tuple[bytes, bool]:
        """The content, and whether it is the full form of a partial tile or bundle that may be gone by now."""
        try:
            return self._fetch(path), False
        except (ObjectMissing, NotThere):
            if path == full_path:
                raise
            return self._fetch(full_path), True


def _hashes(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _HASH_BYTES):
        yield data[at : at + _HASH_BYTES]


def _root(hashes: list[bytes] | None) -> bytes:
    frontier = Frontier()
    for node in hashes or ():
        frontier.append(node)
    return frontier.root() if frontier.size else b""
