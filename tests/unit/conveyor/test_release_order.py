"""What a release is begun with: checked before anything is written, and kept to when it is taken up again."""

from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.errors import FormatError
from world import World

from glasshouse.conveyor.errors import ConveyorError
from glasshouse.conveyor.lock import make_lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.release import Order, Press, ReleaseRun
from glasshouse.conveyor.store import Store, http_client

RECIPE = """schema = "glasshouse.recipe/v1"
product = "engine"
platform = "linux-x86_64"

[environment]
suite = "bookworm"
architecture = "amd64"
packages = ["gcc"]

[build]
command = ["true"]
outputs = ["engine"]
"""


class Desk:
    """A vendor's place for releases of one recipe."""

    def __init__(self, place: Path) -> None:
        self.place, self.world = place, World()
        world = self.world
        self.charter = world.history.chain.newest.charter
        self.press = Press(
            vendor="acme",
            store=Store(place / "store"),
            origins=Origins(client=http_client(), mirrors={}, keyring=Path("/none")),
            roots=place / "roots",
            conveyor=world.keys["acme"],
            releaser=world.keys["acme"],
        )
        (place / "recipe").mkdir()
        self.write(RECIPE)

    def write(self, recipe: str) -> None:
        (self.place / "recipe/recipe.toml").write_text(recipe)

    @property
    def directory(self) -> Path:
        return self.place / "releases"

    def begin(self, version: str = "1.0", channel: str = "stable", lock: bytes | None = None) -> ReleaseRun:
        environment = parse_recipe((self.place / "recipe/recipe.toml").read_bytes()).environment
        data = make_lock(environment, [], [], []).data if lock is None else lock
        order = Order(recipe=self.place / "recipe", version=version, channel=channel, lock=data)
        return ReleaseRun(self.directory, self.charter, order, self.press)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("version", ["../../evil", "", "1/0", ".", "1.0\n"])
def test_a_version_that_is_none_is_refused_before_anything_is_written(desk: Desk, version: str) -> None:
    with pytest.raises(FormatError, match="version"):
        desk.begin(version)
    assert not desk.directory.exists()


def test_a_bad_lock_or_channel_leaves_nothing_behind(desk: Desk) -> None:
    with pytest.raises(ConveyorError):
        desk.begin(lock=b"garbage")
    with pytest.raises(ConveyorError, match="channel"):
        desk.begin(channel="beta")
    assert not desk.directory.exists()
    desk.begin()


def test_it_goes_on_as_it_was_begun(desk: Desk) -> None:
    desk.begin()
    desk.begin()
    desk.write(RECIPE.replace('"true"', '"false"'))
    with pytest.raises(ConveyorError, match="was begun with another recipe"):
        desk.begin()


def test_another_lock_is_another_release(desk: Desk) -> None:
    desk.begin()
    environment = parse_recipe(RECIPE.replace('"gcc"', '"g++"').encode()).environment
    with pytest.raises(ConveyorError, match="was begun with another"):
        desk.begin(lock=make_lock(environment, [], [], []).data)


@pytest.mark.parametrize(("key", "done"), [("conveyor", "built"), ("releaser", "signed")])
def test_a_conveyor_where_the_charter_does_not_have_it_begins_nothing(desk: Desk, key: str, done: str) -> None:
    """Every gate would refuse the release, and its version would be spent."""
    desk.press = replace(desk.press, **{key: desk.world.keys["acme-old"]})
    with pytest.raises(ConveyorError, match=f"lets acme/engine be {done} in CH only, not in RU"):
        desk.begin()
    assert not desk.directory.exists()
