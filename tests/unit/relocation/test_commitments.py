"""The secrets of a move's seed: durable before they are hashed in public, and kept until everything has arrived."""

import stat
from pathlib import Path

import pytest
from glasshouse_verify.relocation import Relocation, Step, commitment_of, seed_of
from leaving import MOVE, Leaving
from supervised import Supervised

from glasshouse.relocation.commitments import commit, reveal
from glasshouse.relocation.errors import InvalidInput, NotYet


def committed(world: Leaving, directory: Path, party: str = "lab") -> Relocation:
    world.later(60)
    return commit(world.course, directory, party=party, now=world.now)


def scoped(tmp_path: Path) -> Supervised:
    world = Supervised(tmp_path, count=3)
    for _, step in world.steps_to_sample()[:2]:
        step()
    return world


def go_on(world: Supervised, *steps: Step) -> None:
    for name, step in world.steps_to_sample():
        if name in steps:
            step()


def test_the_secret_is_on_disk_and_private_before_it_is_logged(tmp_path: Path) -> None:
    world, place = scoped(tmp_path), tmp_path / "lab"
    says = committed(world, place)
    kept = place / f"{MOVE}.secret"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert says.commitment == commitment_of(MOVE, "lab", bytes.fromhex(kept.read_text()))
    assert len(bytes.fromhex(kept.read_text())) == 32
    assert says.previous == (world.course.need(Step.SCOPE).id,)


def test_what_was_not_logged_yet_is_said_again_and_not_anew(tmp_path: Path) -> None:
    world, place = scoped(tmp_path), tmp_path / "lab"
    first = committed(world, place)
    assert committed(world, place) == first
    # Killed between the secret and the statement.
    (place / f"{MOVE}.commitment").unlink()
    assert committed(world, place).commitment == first.commitment


def test_a_party_commits_itself_once(tmp_path: Path) -> None:
    world, place = scoped(tmp_path), tmp_path / "lab"
    world.log(committed(world, place), "lab")
    with pytest.raises(InvalidInput, match="has committed itself"):
        committed(world, place)
    with pytest.raises(InvalidInput, match="has committed itself"):
        committed(world, tmp_path / "another node")
    with pytest.raises(InvalidInput, match="is a commitment of lab"):
        committed(world, place, "ngo")


def test_after_the_opening_it_is_too_late(tmp_path: Path) -> None:
    world = scoped(tmp_path)
    go_on(world, Step.COMMITMENT, Step.OPEN)
    with pytest.raises(InvalidInput, match="is open"):
        committed(world, tmp_path / "acme", "acme")


def test_nothing_is_revealed_before_every_arrival_stands(tmp_path: Path) -> None:
    world = scoped(tmp_path)
    places = {party: tmp_path / party for party in ("lab", "ngo")}
    for party, place in places.items():
        world.log(committed(world, place, party), party)
    for step in (Step.OPEN, Step.SOURCE, Step.LISTING, Step.FENCE):
        with pytest.raises(NotYet):
            reveal(world.course, places["lab"], party="lab", now=world.now)
        go_on(world, step)
    world.say_arrival("zurich-1")
    with pytest.raises(NotYet, match="zurich-2"):
        reveal(world.course, places["lab"], party="lab", now=world.now)
    world.say_arrival("zurich-2")
    secrets = {}
    for party, place in places.items():
        says = reveal(world.course, place, party=party, now=world.now)
        secrets[party] = says.secret or b""
        assert set(says.previous) == {record.id for record in world.course.arrivals.values()}
        world.log(says, party)
    assert world.course.seed() == seed_of(world.course.rows, secrets)
    with pytest.raises(InvalidInput, match="has revealed"):
        reveal(world.course, places["lab"], party="lab", now=world.now)


def test_only_what_was_committed_to_is_revealed(tmp_path: Path) -> None:
    world = scoped(tmp_path)
    world.log(committed(world, tmp_path / "lab"), "lab")
    world.commit("ngo")
    go_on(world, Step.OPEN, Step.SOURCE, Step.LISTING, Step.FENCE, Step.ARRIVAL)
    with pytest.raises(InvalidInput, match="not there"):
        reveal(world.course, tmp_path / "nowhere", party="lab", now=world.now)
    (tmp_path / "lab" / f"{MOVE}.secret").write_text("00" * 32)
    with pytest.raises(InvalidInput, match="not what lab committed to"):
        reveal(world.course, tmp_path / "lab", party="lab", now=world.now)
    with pytest.raises(NotYet, match="made no commitment"):
        reveal(world.course, tmp_path / "lab", party="acme", now=world.now)
