"""Lineages: the git objects that show how the source of a release follows from that of the release before.

    8c1f… commit 412
    tree 4b82…
    …

    d03a… tag 530
    object 8c1f…
    …

It is what `git cat-file --batch` prints: each object's id, kind and size, then its content and a newline. Whoever
recomputes the ids knows that nothing was left out between two commits, and which keys signed what; nobody's word is
needed. `commit` objects are the changes; `tag` objects are reviews: signed tags named review/… whose message begins

    Reviewed acme/engine on main since 9f2c41d0a1b2c3d4e5f60718293a4b5c6d7e8f90

which says that the signer has read every change that the tagged commit has and the named one has not; without `since`,
all of it. What a lineage shows is judged by `examine`, against the developers whom the charter names.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from glasshouse_verify.codec import Digest, Identifier, Text, decode
from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError
from glasshouse_verify.gitobject import Commit, Tag, object_id, parse_commit, parse_tag
from glasshouse_verify.statement import Source

MAX_LINEAGE = 16 << 20
MAX_OBJECTS = 20_000
REVIEW_PREFIX = "review/"
BRANCH = r"(?!.*(?:\.\.|//|/\Z|\.lock\Z))[A-Za-z0-9][A-Za-z0-9._/-]{0,99}"
_HEAD = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (commit|tag) ([0-9]{1,8})")
_REVIEW = re.compile(r"Reviewed (\S{1,129}) on (\S{1,100})(?: since ([0-9a-f]{40}|[0-9a-f]{64}))?")
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class History:
    """What a source says of its history: the branch, the blob of its lineage, and the source before that it follows."""

    branch: Text
    lineage: Digest
    follows: Digest | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(BRANCH, self.branch):
            raise FormatError("source.history.branch", "must be the name of a branch such as main")


@dataclass(frozen=True, kw_only=True)
class Review:
    """A review: which changes, of what, and the raw key that signed it."""

    commit: str
    since: str | None
    product: str
    branch: str
    signer: bytes


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """A parsed lineage: its commits by id, and the signed reviews among its tags."""

    commits: Mapping[str, Commit]
    reviews: tuple[Review, ...]


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a lineage shows: the changes since the release before, by whom, reviewed by whom, and what is wrong."""

    changes: tuple[str, ...]
    authors: tuple[Identifier, ...]
    reviewers: tuple[Identifier, ...]
    faults: tuple[str, ...]


def history_of(source: Source) -> History | None:
    """The history of a source, strictly parsed; raises FormatError."""
    history: History | None = None
    if source.history is not None:
        history = decode(History, source.history, "source.history")
    return history


def review_title(product: str, branch: str, since: str | None) -> str:
    """The first line of a review's message."""
    return f"Reviewed {product} on {branch}" + (f" since {since}" if since else "")


def format_lineage(objects: Iterable[tuple[str, bytes]], digits: int) -> bytes:
    """The lineage that holds these objects, given by kind and content; raises FormatError where it would not parse."""
    data = b"".join(
        b"%s %s %d\n%s\n" % (object_id(kind, content, digits).encode(), kind.encode(), len(content), content)
        for kind, content in objects
    )
    parse_lineage(data)
    return data


def parse_lineage(data: bytes) -> Lineage:
    """Parse a lineage, recompute every id and check every signature; raises FormatError."""
    commits: dict[str, Commit] = {}
    tags: dict[str, Tag] = {}
    for kind, identity, content in _objects(data):
        if identity in commits or identity in tags:
            raise FormatError("lineage", f"holds {identity} twice")
        if object_id(kind, content, len(identity)) != identity:
            raise FormatError("lineage", f"holds other content under {identity}")
        if kind == "commit":
            commits[identity] = parse_commit(content, len(identity))
        else:
            tags[identity] = parse_tag(content, len(identity))
    if len({len(identity) for identity in (*commits, *tags)}) > 1:
        raise FormatError("lineage", "mixes objects of two formats")
    return Lineage(commits=commits, reviews=tuple(review for tag in tags.values() if (review := _review(tag))))


def _objects(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    if len(data) > MAX_LINEAGE:
        raise FormatError("lineage", f"{len(data)} bytes, more than {MAX_LINEAGE}")
    place, count = 0, 0
    while place < len(data):
        end = data.find(b"\n", place, place + 90)
        head = _HEAD.fullmatch(data[place:end]) if end >= 0 else None
        if head is None:
            raise FormatError("lineage", f"has neither commit nor tag at byte {place}")
        count += 1
        if count > MAX_OBJECTS:
            raise FormatError("lineage", f"holds more than {MAX_OBJECTS} objects")
        size = parse_decimal(head[3].decode(), "lineage.size")
        place = end + 1 + size + 1
        if data[place - 1 : place] != b"\n":
            raise FormatError("lineage", f"the content of {head[1].decode()} does not end where it says")
        yield head[2].decode(), head[1].decode(), data[end + 1 : place - 1]


def _review(tag: Tag) -> Review | None:
    """The review that a tag is; None for another tag, or one without a good signature."""
    said = _REVIEW.fullmatch(tag.title)
    if tag.signer is None or said is None or not tag.name.startswith(REVIEW_PREFIX):
        return None
    return Review(commit=tag.target, since=said[3], product=said[1], branch=said[2], signer=tag.signer)


def examine(
    lineage: Lineage,
    tip: str,
    before: str | None,
    context: tuple[str, str],
    developers: Mapping[Identifier, bytes] | None,
    asked: int,
) -> Account:
    """What a lineage shows of the changes that commit `tip` has and commit `before`, of the last release, has not.

    `context` is product and branch. Without `before`, or where it is the tip, the tip alone is judged: nothing is
    claimed of what was there when supervision began. With `developers` every change needs a signature by one of them,
    and signed reviews by `asked` others.
    """
    if tip not in lineage.commits:
        return Account(changes=(), authors=(), reviewers=(), faults=(f"commit {tip[:12]} is not in its lineage",))
    faults: list[str] = []
    changes: tuple[str, ...] = (tip,)
    old, missing, leads = frozenset(lineage.commits[tip].parents), frozenset[str](), True
    if before is not None and before != tip:
        old = _reachable(lineage, before)
        changes, missing = _changes(lineage, tip, old)
        leads = any(before in lineage.commits[change].parents for change in changes)
    if missing or not leads:
        faults.append(
            f"commit {tip[:12]} is not shown to descend from {(before or '')[:12]}, which the release before was built "
            "from: the branch was rewritten, or its lineage is cut"
        )
    if developers is None:
        return Account(changes=changes, authors=(), reviewers=(), faults=tuple(faults))
    names = {public: name for name, public in developers.items()}
    if len(names) != len(developers):
        faults.append("the charter gives two developers one key")
    board = _Board(lineage, changes, old, names)
    faults += board.unsigned()
    reviewers = board.reviewers(context)
    faults += board.unreviewed(asked)
    authors = tuple(sorted(name for name, mask in board.signed.items() if mask))
    return Account(changes=changes, authors=authors, reviewers=reviewers, faults=tuple(faults))


def _reachable(lineage: Lineage, start: str) -> frozenset[str]:
    """Every commit that is `start` or, by the objects in hand, an ancestor of it."""
    seen, waiting = {start}, [start]
    while waiting:
        commit = lineage.commits.get(waiting.pop())
        new = set(commit.parents) - seen if commit is not None else set[str]()
        seen |= new
        waiting += new
    return frozenset(seen)


def _changes(lineage: Lineage, tip: str, old: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The commits from `tip` back to `old`, parents first, and the ids of those that the lineage lacks."""
    order: list[str] = []
    missing: set[str] = set()
    seen, stack = set(old), [(tip, False)]
    while stack:
        identity, is_left = stack.pop()
        if is_left:
            order.append(identity)
        elif identity not in seen:
            seen.add(identity)
            commit = lineage.commits.get(identity)
            if commit is None:
                missing.add(identity)
            else:
                stack.append((identity, True))
                stack += [(parent, False) for parent in commit.parents]
    return tuple(order), frozenset(missing)


class _Board:
    """The changes as bits of integers: who signed which, and which were reviewed how often."""

    def __init__(
        self, lineage: Lineage, changes: tuple[str, ...], old: frozenset[str], names: Mapping[bytes, Identifier]
    ) -> None:
        self.lineage, self.changes, self.old, self.names = lineage, changes, old, names
        self.bit = {identity: 1 << place for place, identity in enumerate(changes)}
        self.signed: dict[Identifier, int] = dict.fromkeys(names.values(), 0)
        self.covered: dict[Identifier, int] = dict.fromkeys(names.values(), 0)
        self.ancestry: dict[str, int] = {}
        for identity in changes:
            commit = lineage.commits[identity]
            # Parents come first, so each has its bits already.
            above = (self.ancestry.get(parent, 0) for parent in commit.parents)
            self.ancestry[identity] = reduce(or_, above, self.bit[identity])
            signer = None if commit.signer is None else names.get(commit.signer)
            if signer is not None:
                self.signed[signer] |= self.bit[identity]

    def unsigned(self) -> Iterator[str]:
        mask = ~reduce(or_, self.signed.values(), 0)
        yield from self._told(mask, "no valid signature of a developer whom the charter names")

    def reviewers(self, context: tuple[str, str]) -> tuple[Identifier, ...]:
        """Count the reviews of this product and branch; returns who has reviewed what another one signed."""
        for review in self.lineage.reviews:
            name, known = self.names.get(review.signer), review.since is None or review.since in self.old
            if name is None or (review.product, review.branch) != context or review.commit not in self.bit:
                continue
            if known or review.since in self.bit:
                self.covered[name] |= self.ancestry[review.commit] & ~self.ancestry.get(review.since or "", 0)
        return tuple(sorted(name for name, mask in self.covered.items() if mask & ~self.signed[name]))

    def unreviewed(self, asked: int) -> Iterator[str]:
        # at_least[k] are the changes that more than k developers other than their signer have reviewed.
        at_least = [0] * max(asked, 1)
        for name, mask in self.covered.items():
            more = mask & ~self.signed[name]
            for k in range(len(at_least) - 1, 0, -1):
                at_least[k] |= at_least[k - 1] & more
            at_least[0] |= more
        if asked:
            reviews = "review" if asked == 1 else "reviews"
            yield from self._told(
                ~at_least[-1], f"fewer than the {asked} {reviews} by others that the charter asks for"
            )

    def _told(self, mask: int, lack: str) -> Iterator[str]:
        found = [identity for identity in self.changes if self.bit[identity] & mask]
        if found:
            some = ", ".join(identity[:12] for identity in found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
            yield f"{len(found)} of {len(self.changes)} commits have {lack}: {some}"


def compare(source: Source, account: Account) -> tuple[str, ...]:
    """What a source says of its authors and reviewers beyond what its lineage shows."""
    faults = []
    invented = sorted(set(source.reviewers or ()) - set[Any](account.reviewers))
    concealed = sorted(set(account.authors) - set[Any](source.authors or ()))
    if invented:
        faults.append(f"it names reviewers whose signed reviews its lineage does not show: {', '.join(invented)}")
    if concealed:
        faults.append(f"it does not name its authors {', '.join(concealed)}")
    return tuple(faults)
