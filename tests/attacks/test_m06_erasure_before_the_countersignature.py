"""M6 Erasure before the countersignature.

Cheat: the old site's operator has its node erase while something is still missing: the supervisor has not
    countersigned, or has refused since, or countersigned other arrivals; the quarantine is not over; the members have
    not closed the move, or not with their quorum, so that the last key epoch of the site would go on nobody's word.
Noticed by: the erasing node itself, which goes by its own verified view of the ledger and names the step that is
    missing; the key service, which destroys its current epoch on the members' amendment alone.
Seen: an error that says what has not been said yet, and by whom; every object and key is still there.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from glasshouse_verify.region import Mode, Origin
from glasshouse_verify.relocation import Step
from leaving import QUARANTINE, SECRET, TO, Leaving, fenced_rows
from sites import REGION, Ground, clear, running_site

from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.journal import Kind, Note
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.keys.interface import destroy_all
from glasshouse.regions.leaving import Premises, holding
from glasshouse.regions.shards import ShardTree
from glasshouse.relocation.erasing import Emptied, erase_store
from glasshouse.relocation.errors import NotYet
from glasshouse.relocation.leaving import erase_site
from glasshouse.relocation.stores.directory import DirectoryTree
from glasshouse.storage.db import Database

FILES = ("one", "two", "deep/three")
# The steps of `Leaving.steps` by what they say.
COUNTERSIGN, QUARANTINED, WAITED, CLOSED = -4, -3, -2, -1


@pytest.fixture
def emptied(tmp_path: Path) -> Emptied:
    for name in FILES:
        path = tmp_path / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name.encode())
    store = DirectoryTree(tmp_path / "store")
    rows = fenced_rows(store, tmp_path / "rows")
    return Emptied(store=store, checking=store, fenced=rows, secret=SECRET, place=tmp_path / "state")


def attempt(emptied: Emptied, world: Leaving) -> None:
    erase_store(emptied, world.permit, clock=lambda: world.now)


def left(emptied: Emptied) -> list[str]:
    return sorted(version.key.decode() for version in emptied.store.list())


@pytest.mark.parametrize("source", list(Origin))
def test_attack_every_order_but_the_right_one(emptied: Emptied, source: Origin) -> None:
    """After each step of an honest move but the last, and with each one left out that others do not need."""
    world = Leaving(source)
    for step in world.steps(emptied.fenced.sharded):
        with pytest.raises(NotYet):
            attempt(emptied, world)
        world.later(3_600)
        step()
    for missing, words in (
        ((COUNTERSIGN, QUARANTINED), "has not said countersign"),
        ((QUARANTINED,), "has not said quarantine"),
        ((WAITED,), "nothing is erased before"),
        ((CLOSED,), "have not closed it"),
    ):
        world = Leaving(source)
        world.come_to_erasure(emptied.fenced.sharded, but=missing)
        with pytest.raises(NotYet, match=words):
            attempt(emptied, world)
    assert left(emptied) == sorted(FILES)


def refused_since(world: Leaving) -> None:
    world.refuse()


def arrived_anew(world: Leaving) -> None:
    """One destination says once more what arrived; nobody has looked at that."""
    arrived = {"rows": world.course.rows, "sealed": world.course.rows, "size": 5, "at_ms": world.now * 1_000}
    world.say(Step.ARRIVAL, "acme", TO[0], site=TO[0], **arrived)


def fenced_anew(world: Leaving) -> None:
    told = {"site": "moscow", "epoch": 1, "rows": world.course.rows, "size": 5, "refused": 0}
    world.say(Step.FENCE, **told, at_ms=world.now * 1_000)


def countersigned_anew(world: Leaving) -> None:
    """The quarantine was of an earlier countersignature."""
    world.refuse()
    world.countersign()


@pytest.mark.parametrize("story", [refused_since, arrived_anew, fenced_anew, countersigned_anew])
def test_attack_what_was_countersigned_does_not_stand_any_more(
    emptied: Emptied, story: Callable[[Leaving], None]
) -> None:
    world = Leaving(Origin.STORE)
    world.come_to_erasure(emptied.fenced.sharded)
    story(world)
    with pytest.raises(NotYet):
        attempt(emptied, world)
    assert left(emptied) == sorted(FILES)


def test_attack_closed_by_the_vendor_alone(emptied: Emptied) -> None:
    world = Leaving(Origin.STORE)
    world.come_to_erasure(emptied.fenced.sharded, but=[CLOSED])
    world.amend(world.closing(), "acme")
    with pytest.raises(NotYet, match="have not closed it"):
        attempt(emptied, world)
    assert left(emptied) == sorted(FILES)


def test_attack_the_quarantine_is_shorter_than_the_charter_says(emptied: Emptied) -> None:
    world = Leaving(Origin.STORE)
    world.come_to_erasure(emptied.fenced.sharded, but=[QUARANTINED, WAITED])
    world.say(Step.QUARANTINE, site="moscow", until=world.now)
    world.later(QUARANTINE // 2)
    with pytest.raises(NotYet, match="the end of the quarantine"):
        attempt(emptied, world)
    assert left(emptied) == sorted(FILES)


def test_attack_a_site_and_its_last_key(database: Database, tmp_path: Path) -> None:
    """A fenced site whose move is still open keeps everything; so does its key service, whoever asks it."""
    clear(database)
    ground = Ground(tmp_path, custody=Mode.SITE, replicas=1, names=("moscow",))
    with running_site(ground, "moscow", database) as site:
        handle = site.upload(b"held at moscow").handle
        fenced = Note(kind=Kind.FENCED, body={"relocation": "au-2026", "time_ms": 1})
        site.intake.committer.append(fenced).result(60)
        place = site.place
        premises = Premises(region=REGION, site="moscow", database=database, vault=place.vault, keys=place.keys)
        world = Leaving()
        world.come_to_erasure(ShardTree().sharded, but=[CLOSED])
        with pytest.raises(NotYet, match="have not closed it"):
            erase_site(premises, world.permit, clock=lambda: world.now)
        with pytest.raises(InvalidInput, match="is still open"):
            destroy_all(place.keys, world.closed())
        with pytest.raises(InvalidInput, match="is the current one"):
            place.keys.destroy(place.keys.epoch)
        assert site.content(handle) == b"held at moscow"
        assert holding(premises).objects == 1
    assert FileKeyring(ground.keys("moscow")).epochs() == ("wrap-1",)


def test_control_once_everything_stands_it_is_erased(emptied: Emptied) -> None:
    world = Leaving(Origin.STORE)
    world.come_to_erasure(emptied.fenced.sharded)
    attempt(emptied, world)
    assert left(emptied) == []
