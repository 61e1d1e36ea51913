"""What a release shows of its history: read from the repository, kept when it resumes, judged before it is logged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.charter import Charter
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.lineage import parse_lineage
from repository import Repository
from world import PRODUCT, World, digest, seeded

from glasshouse.conveyor.lock import make_lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.pack import new_identity
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.release import Followed, Order, Press, ReleaseRun
from glasshouse.conveyor.store import Store, http_client

RECIPE = """schema = "glasshouse.recipe/v1"
product = "engine"
platform = "linux-x86_64"

[source]
kind = "git"
location = "../repository"
{branch}

[environment]
suite = "bookworm"
architecture = "amd64"
packages = ["gcc"]

[build]
command = ["true"]
outputs = ["engine"]
"""
RECIPIENT = new_identity()[1]
DEVELOPERS = {name: encode_base64(seeded(name).public) for name in ("ann", "bob")}


class Desk:
    """A vendor's place for releases from one repository."""

    def __init__(self, place: Path, branch: str = 'branch = "main"') -> None:
        self.place = place
        self.repository = Repository(place / "repository")
        (place / "recipe").mkdir()
        (place / "recipe/recipe.toml").write_text(RECIPE.format(branch=branch))

    def begin(self, *follows: Followed, developers: Any = DEVELOPERS, version: str = "1.0") -> ReleaseRun:
        world = World(
            parties={"lab": {"recipient": RECIPIENT}}, products={PRODUCT: {"reviewers": 1, "developers": developers}}
        )
        charter: Charter = world.history.chain.newest.charter
        press = Press(
            vendor="acme",
            store=Store(self.place / "store"),
            origins=Origins(client=http_client(), mirrors={}, keyring=Path("/none")),
            roots=self.place / "roots",
            conveyor=world.keys["acme"],
            releaser=world.keys["acme"],
        )
        recipe = parse_recipe((self.place / "recipe/recipe.toml").read_bytes())
        lock = make_lock(recipe.environment, [], [], []).data
        order = Order(
            recipe=self.place / "recipe", version=version, channel="stable", lock=lock, follows=tuple(follows)
        )
        run = ReleaseRun(self.place / "releases" / version, charter, order, press)
        run.fetch()
        return run


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_what_a_source_says(desk: Desk) -> None:
    first = desk.repository.commit(text="1")
    second = desk.repository.commit(text="2")
    desk.repository.review(second, first)
    desk.repository.git("tag", "v1.0")
    run = desk.begin(Followed(source=digest(b"the source before"), commit=first))
    assert run.faults() == []
    publication = run.publish_source(1_800_000_000)
    said = json.loads(publication.envelope.payload)["predicate"]
    assert (said["authors"], said["reviewers"], said["commit"], said["epoch"]) == (["ann"], ["bob"], second, 1700000123)
    lineage = said["history"].pop("lineage")
    assert said["history"] == {"branch": "main", "follows": digest(b"the source before")}
    place = publication.blobs[lineage]
    assert isinstance(place, Path)
    assert set(parse_lineage(place.read_bytes()).commits) == {second}


def test_what_auditors_will_flag_is_known_before(desk: Desk) -> None:
    desk.repository.commit(text="1")
    desk.repository.git("tag", "v1.0")
    assert "fewer than the 1 review" in desk.begin().faults()[0]
    assert desk.begin(developers=None).faults() == []


def test_developers_ask_for_a_branch(tmp_path: Path) -> None:
    desk = Desk(tmp_path, branch="")
    desk.repository.commit(text="1")
    desk.repository.git("tag", "v1.0")
    (fault,) = desk.begin().faults()
    assert "source.branch" in fault
    run = desk.begin(developers=None)
    assert (run.faults(), run.account()) == ([], None)
    said = json.loads(run.publish_source(1_800_000_000).envelope.payload)["predicate"]
    assert {"history", "authors", "reviewers"} & set(said) == set()


def test_a_release_that_was_overtaken_follows_the_one_that_came_between(desk: Desk) -> None:
    """Until its source is signed; then what was said stands."""
    first, second = desk.repository.commit(text="1"), desk.repository.commit(text="2")
    desk.repository.commit(text="3")
    desk.repository.git("tag", "v1.0")
    one = Followed(source=digest(b"one"), commit=first)
    two = Followed(source=digest(b"two"), commit=second)
    assert desk.begin(one).before == first
    run = desk.begin(two)
    assert run.before == second
    run.seal()
    run.sign_source(1_800_000_000)
    later = replace(two, source=digest(b"three"))
    assert (
        json.loads(desk.begin(later).sign_source(1).envelope.payload)["predicate"]["history"]["follows"] == two.source
    )
