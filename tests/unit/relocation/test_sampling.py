"""The supervisor's sample, over HTTP, from real vaults, in a ledger in memory."""

import json
from pathlib import Path

import pytest
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step
from ledgers import served
from starlette.applications import Starlette
from supervised import MOVE, TO, Supervised
from world import digest

from glasshouse.relocation.errors import InvalidInput, NotGiven, NotYet, Unavailable
from glasshouse.relocation.sampling import check_cut, finds, resample, sample


@pytest.mark.parametrize("source", [Origin.SITE, Origin.STORE])
def test_a_sample_is_read_at_every_destination_and_countersigned(tmp_path: Path, source: Origin) -> None:
    world = Supervised(tmp_path, source=source)
    world.arrive()
    with world.serving() as supervisor:
        found = supervisor.sample()
        assert found.statement.step == Step.COUNTERSIGN
        assert found.statement.read == dict.fromkeys(TO, 400)
        assert found.statement.seed == world.course.seed()
        assert found.statement.document == digest(found.document)
        told = json.loads(found.document)
        assert told["sites"]["zurich-1"]["objects"] == len(world.drawn("zurich-1"))
        assert {one["handle"] for one in told["objects"] if one["at"] == "zurich-2"} == set(world.drawn("zurich-2"))
        assert "400 draws" in told["finds"]
        assert sorted(world.held["zurich-1"].asked) == world.drawn("zurich-1")
        supervisor.log(found)
        assert world.course.need(Step.COUNTERSIGN).predicate == found.statement
        # Once it is countersigned, nothing is given any more.
        with pytest.raises(NotGiven, match="no sample is open"):
            supervisor.sample()


@pytest.mark.parametrize("source", [Origin.SITE, Origin.STORE])
def test_a_full_rescan_reads_everything(tmp_path: Path, source: Origin) -> None:
    world = Supervised(tmp_path, count=25, source=source)
    world.draws = None
    world.arrive()
    with world.serving() as supervisor:
        found = supervisor.sample()
    assert found.statement.full
    assert found.statement.read == dict.fromkeys(TO, len(world.rows))
    assert json.loads(found.document)["objects"] == []
    assert {(site, one.handle) for site, one in supervisor.seen} == {(site, h) for site in TO for h in world.rows}


def test_nothing_is_sampled_before_its_time(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=5)
    world.arrive(until=Step.ARRIVAL)
    with world.serving() as supervisor:
        with pytest.raises(NotYet, match="revealed"):
            supervisor.sample()
        # Neither does a site give anything before the seed stands.
        with pytest.raises(NotGiven, match="no sample is open"):
            supervisor.asks("zurich-1").open([next(iter(world.rows))])
    assert not world.held["zurich-1"].asked


def test_a_seed_that_was_known_before_the_arrivals_needs_a_full_rescan(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=5)
    world.arrive()
    world.later(60)
    world.say_arrival("zurich-2")
    with world.serving() as supervisor, pytest.raises(NotYet, match="only a full rescan"):
        supervisor.sample()
    world.draws = None
    with world.serving() as supervisor:
        assert supervisor.sample().statement.step == Step.COUNTERSIGN


def test_what_was_refused_is_only_countersigned_by_a_full_rescan(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=5)
    world.arrive()
    world.refuse()
    with world.serving() as supervisor, pytest.raises(NotYet, match="was refused"):
        supervisor.sample()


def test_an_object_erased_since_the_fence_is_right_where_an_inventory_buries_it(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=5)
    world.arrive()
    gone = world.drawn("zurich-1")[0]
    held = world.held["zurich-1"]
    held.openings[gone] = type(held.openings[gone])(handle=gone)
    held.path(gone).unlink()
    with world.serving() as supervisor:
        refused = supervisor.sample()
        assert [(fault.site, fault.handle) for fault in refused.faults] == [("zurich-1", gone)]
        assert "no inventory shows it" in refused.faults[0].text
        found = supervisor.sample(buried=lambda handle: handle == gone)
    assert found.statement.step == Step.COUNTERSIGN
    assert json.loads(found.document)["sites"]["zurich-1"]["erased"] == 1


def test_the_sample_after_the_erasure_has_a_seed_of_its_own(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=60)
    world.draws = 20
    world.arrive()
    with world.serving() as supervisor, served(Starlette()) as old:
        with pytest.raises(NotYet):
            supervisor.resample()
        supervisor.log(supervisor.sample())
        erasure = world.erase()
        with pytest.raises(NotYet, match="can still be reached"):
            supervisor.resample(old)
        found = supervisor.resample("http://127.0.0.1:1")
        assert found.statement.step == Step.RESAMPLE
        assert found.statement.seed == world.course.seed(erasure) != world.course.seed()
        assert set(world.held["zurich-1"].asked) == {*world.drawn("zurich-1"), *world.drawn("zurich-1", erasure)}
        supervisor.log(found)
        assert world.course.need(Step.RESAMPLE).id
        assert supervisor.givers["zurich-1"].given() == {
            (MOVE, ""): len(world.drawn("zurich-1")),
            (MOVE, erasure): len(world.drawn("zurich-1", erasure)),
        }


def test_every_destination_has_to_be_sampled(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=3)
    world.arrive()
    with world.serving() as supervisor:
        supervisor.log(supervisor.sample())
        world.erase()
        one = supervisor.destinations()[:1]
        with pytest.raises(InvalidInput, match="destinations"):
            resample(world.course, one, [], party="lab", now=world.now, how=supervisor.how())


def test_a_store_that_does_not_answer_is_no_verdict(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=3)
    world.arrive()
    with world.serving() as supervisor:
        destinations = supervisor.destinations()
        (tmp_path / "zurich-1" / "vault").rename(tmp_path / "zurich-1" / "unmounted")
        with pytest.raises(Unavailable):
            sample(world.course, destinations, party="lab", now=world.now, how=supervisor.how())


def test_in_words(tmp_path: Path) -> None:
    assert "4603 draws from 20500 objects" in finds(4_603, 20_500)
    assert "0.1 %" in finds(4_603, 20_500)
    assert "99 %" in finds(4_603, 20_500)
    assert "only a full rescan" in finds(4_603, 20_500)
    assert "all 7 objects" in finds(None, 7)


def test_what_is_cut_off(tmp_path: Path) -> None:
    check_cut([(tmp_path / "gone").as_uri(), "https://127.0.0.1:1", "s3://bucket?endpoint=http://127.0.0.1:1"])
    with pytest.raises(NotYet, match="still be reached"):
        check_cut([tmp_path.as_uri()])
    with served(Starlette()) as url, pytest.raises(NotYet, match="still be reached"):
        check_cut([f"s3://bucket?endpoint={url}"])
    with pytest.raises(InvalidInput, match="no address"):
        check_cut(["moscow"])
