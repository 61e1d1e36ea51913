"""What each step of a move has to say and may say; commitments, seeds, draws and the rows of foreign stores."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import CharterError, FormatError
from glasshouse_verify.foreign import store_handle, store_row
from glasshouse_verify.region import Moving, Origin, Region, regions_of
from glasshouse_verify.relocation import (
    Fault,
    Relocation,
    Remaining,
    Step,
    commitment_of,
    draw,
    seed_of,
)
from glasshouse_verify.relocation_check import FOLLOWS
from glasshouse_verify.statement import Use, make_statement, parse_statement
from relocation_world import MOVE, NOW, OLD, TO, MoveWorld, rows
from world import digest

HERE = {"site": OLD}
READ = {"seed": digest(b"seed"), "read": dict.fromkeys(TO, 5), "full": True}
FAULTS = {"faults": (Fault(site="zurich-1", text="other bytes"), Fault(site=OLD, text="gone", handle=digest(b"h")))}
MUST: dict[Step, dict[str, Any]] = {
    Step.PROGRAMME: {"promised": {"au": NOW}},
    Step.SCOPE: {**HERE, "to": TO, "source": Origin.STORE, "document": digest(b"d")},
    Step.COMMITMENT: {"commitment": digest(b"c")},
    Step.OPEN: {**HERE, "epoch": 1, "charter": digest(b"c")},
    Step.SOURCE: {**HERE, "epoch": 1, "rows": rows("r", 5), "size": 9},
    Step.LISTING: {**HERE, "rows": rows("r", 5)},
    Step.FENCE: {**HERE, "epoch": 2, "rows": rows("r", 5), "size": 9, "refused": 0, "at_ms": 1},
    Step.ARRIVAL: {"site": "zurich-1", "rows": rows("r", 5), "size": 9, "sealed": rows("s", 5), "at_ms": 1},
    Step.REVEAL: {"secret": b"s" * 32},
    Step.COUNTERSIGN: READ,
    Step.REFUSAL: FAULTS,
    Step.QUARANTINE: {**HERE, "until": NOW},
    Step.ERASURE: {
        **HERE,
        "charter": digest(b"c"),
        "erased": {"objects": 5},
        "remains": (Remaining(name="locked", until=NOW), Remaining(name="journal")),
        "rows": rows("r", 0),
    },
    Step.RESAMPLE: READ,
    Step.WATCH: {**HERE, "tried": {"reads": 1}, "until": NOW},
    Step.ALARM: FAULTS,
}
MAY: dict[Step, dict[str, Any]] = {
    **{step: {"inventory": digest(b"i")} for step in (Step.SOURCE, Step.FENCE, Step.ARRIVAL)},
    **{step: {"document": digest(b"d")} for step in (Step.COUNTERSIGN, Step.RESAMPLE)},
}


def said(step: Step, **changes: Any) -> Relocation:
    previous = () if step in (Step.PROGRAMME, Step.SCOPE) else (digest(b"before"),)
    fields = {"party": "acme", "region": "au", "relocation": MOVE, "step": step, "time": NOW, "previous": previous}
    return Relocation(**(fields | MUST[step] | changes))


@pytest.mark.parametrize("step", Step)
def test_what_is_parsed_is_what_was_written(step: Step) -> None:
    for members in ({}, MAY.get(step, {})):
        statement = said(step, **members)
        payload = make_statement(Use.RELOCATION, statement)
        assert parse_statement(payload).predicate == statement
        assert make_statement(Use.RELOCATION, parse_statement(payload).predicate) == payload
        name, subject = parse_statement(payload).subject[0]
        assert name == f"{MOVE}/{step}"
        assert (subject == statement.rows.root) if statement.rows else (subject != digest(b""))


@pytest.mark.parametrize("step", Step)
def test_each_member_is_due_in_its_steps_alone(step: Step) -> None:
    every = {name: value for members in (*MUST.values(), *MAY.values()) for name, value in members.items()}
    for name in MUST[step]:
        with pytest.raises(FormatError, match=f"relocation.{name}: is missing in {step}"):
            said(step, **{name: None})
    for name in every.keys() - MUST[step].keys() - MAY.get(step, {}).keys():
        with pytest.raises(FormatError, match=f"relocation.{name}: has no place in {step}"):
            said(step, **{name: every[name]})


@pytest.mark.parametrize("step", Step)
def test_predecessors(step: Step) -> None:
    first = step in (Step.PROGRAMME, Step.SCOPE)
    for wrong in ((digest(b"before"),) if first else (), ("f" * 64, "e" * 64), ("f" * 64, "f" * 64)):
        with pytest.raises(FormatError, match=r"relocation\.previous"):
            said(step, previous=wrong)
    if not first:
        assert said(step, previous=("e" * 64, "f" * 64)).previous == ("e" * 64, "f" * 64)


def test_what_is_too_little() -> None:
    for step in (Step.REFUSAL, Step.ALARM):
        with pytest.raises(FormatError, match=r"relocation\.faults: must name at least one"):
            said(step, faults=())
    for secret in (b"", b"s" * 31, b"s" * 33):
        with pytest.raises(FormatError, match=r"relocation\.secret: must have 32 bytes"):
            said(Step.REVEAL, secret=secret)


def test_two_steps_that_say_the_same_are_two_subjects() -> None:
    assert said(Step.REVEAL).subjects() != said(Step.REVEAL, party="ngo").subjects()
    assert said(Step.SOURCE).subjects() != said(Step.FENCE).subjects()


def test_every_step_follows_on_something_or_may_stand_anywhere() -> None:
    free = {Step.PROGRAMME, Step.SCOPE, Step.REFUSAL, Step.ALARM}
    assert set(FOLLOWS) == set(Step) - free
    assert FOLLOWS[Step.QUARANTINE] == Step.COUNTERSIGN
    assert FOLLOWS[Step.WATCH] == FOLLOWS[Step.RESAMPLE] == Step.ERASURE
    assert all(before in FOLLOWS or before == Step.SCOPE for before in FOLLOWS.values())


# --- secrets, seeds, draws --------------------------------------------------------------------------------------------


def test_a_commitment_is_of_one_party_in_one_move() -> None:
    made = {
        commitment_of(move, party, secret)
        for move in (MOVE, "au-2027")
        for party in ("lab", "ngo")
        for secret in (b"s" * 32, b"t" * 32)
    }
    assert len(made) == 8


def test_the_seed_depends_on_everything_and_on_no_order() -> None:
    left, secrets = rows("r", 5), {"lab": b"s" * 32, "ngo": b"t" * 32}
    seed = seed_of(left, secrets)
    assert seed == seed_of(left, dict(reversed(secrets.items())))
    others = [
        seed_of(rows("other", 5), secrets),
        seed_of(left, {"lab": b"s" * 32}),
        seed_of(left, {"lab": b"t" * 32, "ngo": b"s" * 32}),
        seed_of(left, secrets, digest(b"erasure")),
    ]
    assert len({seed, *others}) == 5


def test_draws_are_the_same_for_everybody_and_even() -> None:
    seed = digest(b"seed")
    drawn = list(draw(seed, "zurich-1", 10, 5_000))
    assert drawn == list(draw(seed, "zurich-1", 10, 5_000))
    assert drawn[:100] == list(draw(seed, "zurich-1", 10, 100))
    assert drawn[:100] != list(draw(seed, "zurich-2", 10, 100))
    counts = Counter(drawn)
    assert set(counts) == set(range(10))
    assert all(400 < count < 600 for count in counts.values())
    assert list(draw(seed, "zurich-1", 0, 10)) == []
    assert list(draw(seed, "zurich-1", 1, 3)) == [0, 0, 0]


# --- rows of foreign stores -------------------------------------------------------------------------------------------


def test_rows_of_a_store() -> None:
    secret, content = b"k" * 32, digest(b"content")
    row = store_row(secret, b"a//b", 0, content, 7)
    assert row == store_row(secret, b"a//b", 0, content, 7)
    assert row["key"] == store_handle(secret, b"a//b", 0)
    others = [
        store_row(b"l" * 32, b"a//b", 0, content, 7),
        store_row(secret, b"a/b", 0, content, 7),
        store_row(secret, b"a//b", 1, content, 7),
        store_row(secret, b"\xff\x00", 0, content, 7),
    ]
    assert len({str(other["key"]) for other in (row, *others)}) == 5
    same = [row, store_row(secret, b"a//b", 0, digest(b"else"), 7), store_row(secret, b"a//b", 0, None, 7)]
    same.append(store_row(secret, b"a//b", 0, content, 8))
    assert len({str(other["commitment"]) for other in same}) == 4
    assert {str(other["key"]) for other in same} == {row["key"]}


# --- what the charter says of a move ----------------------------------------------------------------------------------


def region_with(kind: Origin, **changes: Any) -> Region:
    """What `regions_of` makes of a region that moves so."""
    world = MoveWorld(kind)
    world.open(**changes)
    return regions_of(world.history.chain.newest.charter)["au"]


@pytest.mark.parametrize("source", Origin)
def test_a_region_that_moves(source: Origin) -> None:
    region = region_with(source)
    moving = region.moving
    assert moving is not None
    assert decode(Moving, encode(moving), "moving") == moving
    assert set(region.places) == ({OLD, *TO} if source == Origin.SITE else set(TO))
    assert region.seen_from(OLD) == region
    seen = region.seen_from("zurich-1")
    assert set(seen.sites) == set(TO)
    assert seen.replicas == 2


@pytest.mark.parametrize(
    ("source", "changes", "field"),
    [
        (Origin.SITE, {"site": "bern"}, "moving.site"),
        (Origin.SITE, {"site": "nowhere"}, "moving.site"),
        (Origin.SITE, {"to": {}}, "moving.to"),
        (Origin.SITE, {"replicas": 3}, "moving.replicas"),
        (Origin.SITE, {"replicas": 0}, "moving.replicas"),
        (Origin.SITE, {"source": "store"}, "moving.site"),
        (Origin.STORE, {"source": "site"}, "moving.site"),
        (Origin.STORE, {"replicas": 3}, "moving.replicas"),
        (Origin.STORE, {"site": "nowhere"}, "moving.site"),
    ],
)
def test_terms_that_break_a_rule(source: Origin, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(FormatError) as error:
        region_with(source, **changes)
    assert error.value.field.endswith(field)


@pytest.mark.parametrize("supervisor", ["acme", "w9", "agent"])
def test_a_supervisor_stands_with_no_site(supervisor: str) -> None:
    agent = {"name": "Agent", "roles": [], "keys": {}, "acts_for": "acme"}
    world = MoveWorld(Origin.SITE, parties={"agent": agent})
    world.open(supervisor=supervisor)
    with pytest.raises(CharterError, match=f"{supervisor} is no party, or stands with a site"):
        regions_of(world.history.chain.newest.charter)


def test_a_move_is_bounded_in_size() -> None:
    """A watch of a year with a statement a day fits into an evidence file."""
    watched = said(Step.WATCH, tried={"deletes": 1 << 40, "reads": 1 << 40, "writes": 1 << 40})
    assert 400 * (len(format_json(encode(watched))) + 300) < 1_000_000


def test_altered_rows_are_another_statement() -> None:
    one = said(Step.SOURCE)
    assert one.rows is not None
    payload = make_statement(Use.RELOCATION, one)
    other = payload.replace(b'"size":5', b'"size":6')
    assert other != payload
    assert parse_statement(other).predicate == replace(one, rows=replace(one.rows, size=6))
