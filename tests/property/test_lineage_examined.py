"""Whatever the history: a lineage shows what sets of ancestors show, and no damage to it passes."""

from dataclasses import dataclass

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.gitobject import parse_commit, parse_tag
from glasshouse_verify.lineage import examine, parse_lineage
from glasshouse_verify.sshsig import parse_sshsig
from hypothesis import given, settings
from hypothesis import strategies as st
from lineages import BRANCH, Story, example
from world import PRODUCT, seeded

NAMES = ("ann", "bob", "eve")
DEVELOPERS = {name: seeded(name).public for name in NAMES}
LIMITS = settings(max_examples=60, deadline=None)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A history to be made: parents of each commit by number, its signer; reviews by commit, since, reviewer."""

    parents: tuple[tuple[int, ...], ...]
    signers: tuple[str | None, ...]
    reviews: tuple[tuple[int, int | None, str], ...]
    before: int | None
    asked: int

    def ancestry(self, number: int) -> frozenset[int]:
        """A commit and all its ancestors."""
        return frozenset({number}).union(*(self.ancestry(parent) for parent in self.parents[number]))


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    size = draw(st.integers(1, 9))
    numbers = st.integers(0, size - 1)
    return Plan(
        parents=tuple(
            tuple(sorted(draw(st.sets(st.integers(0, number - 1), max_size=3)))) if number else ()
            for number in range(size)
        ),
        signers=tuple(draw(st.lists(st.sampled_from((*NAMES, "mallory", None)), min_size=size, max_size=size))),
        reviews=tuple(draw(st.lists(st.tuples(numbers, st.none() | numbers, st.sampled_from(NAMES)), max_size=6))),
        before=draw(st.none() | numbers),
        asked=draw(st.integers(0, 2)),
    )


@LIMITS
@given(plans())
def test_the_account_is_that_of_sets(plan: Plan) -> None:
    """Every object is in hand here, so all that matters is which commits are reached from which."""
    story, ids = Story(), list[str]()
    for number, (parents, signer) in enumerate(zip(plan.parents, plan.signers, strict=True)):
        ids.append(story.commit(str(number), *(ids[parent] for parent in parents), by=signer))
    for number, (commit, since, reviewer) in enumerate(plan.reviews):
        story.review(ids[commit], None if since is None else ids[since], by=reviewer, name=f"review/{number}/")
    tip = len(ids) - 1
    before = None if plan.before is None else ids[plan.before]
    found = examine(parse_lineage(story.lineage()), ids[tip], before, (PRODUCT, BRANCH), DEVELOPERS, plan.asked)

    first = plan.before is None or plan.before == tip
    old = frozenset(plan.parents[tip]) if first else plan.ancestry(plan.before or 0)
    changes = {tip} if first else plan.ancestry(tip) - old
    assert set(found.changes) == {ids[number] for number in changes}
    covered = {name: set[int]() for name in NAMES}
    for commit, since, reviewer in plan.reviews:
        if commit in changes and (since is None or since in old | changes):
            covered[reviewer] |= (
                plan.ancestry(commit) - (plan.ancestry(since) if since in changes else set())
            ) & changes
    others = {n: {name for name in NAMES if n in covered[name] and plan.signers[n] != name} for n in changes}
    unsigned = [n for n in changes if plan.signers[n] not in NAMES]
    lacking = [n for n in changes if len(others[n]) < plan.asked]
    rewritten = not first and plan.before not in plan.ancestry(tip)
    assert found.authors == tuple(sorted({plan.signers[n] for n in changes if plan.signers[n] in NAMES}))  # type: ignore[type-var]
    assert found.reviewers == tuple(sorted(set().union(*others.values())))
    expected = [rewritten, bool(unsigned), bool(lacking)]
    assert len(found.faults) == sum(expected)
    for number in lacking[:1]:
        assert f"{len(lacking)} of {len(changes)} commits have fewer than" in found.faults[-1], number


def test_every_bit_counts() -> None:
    """A lineage with one bit changed is no lineage, or one of other objects."""
    story, before, _ = example()
    data = story.lineage(before)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(FormatError):
            parse_lineage(bytes(damaged))


@LIMITS
@given(st.binary(max_size=300), st.sampled_from([40, 64]))
def test_nothing_but_format_errors(data: bytes, digits: int) -> None:
    story, *_ = example()
    for parse in (parse_lineage, parse_sshsig):
        try:
            parse(data)
        except FormatError:
            continue
    for content in (data, *(content[: len(data)] + data for _, content in story.objects)):
        for read in (parse_commit, parse_tag):
            try:
                read(content, digits)
            except FormatError:
                continue
