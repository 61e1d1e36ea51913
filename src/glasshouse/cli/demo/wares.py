"""What the demo's vendor makes: a scanning engine, a rule database, a Windows library, a program for the cheats."""

import shutil
from pathlib import Path

import glasshouse
from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.stage import Stage
from glasshouse.cli.demo.story import Ware

ENGINE = "yara-python"
RULES = "signature-base"
RULES_ELSEWHERE = "guarddog-rules"
LIBRARY = "zlib-dll"
SMALL = "hello-c"
# The day of the snapshot of the rules; see its commit.
RULES_VERSION = "2026.04.09"


def recipes_directory() -> Path:
    """The recipes of this checkout. Raises DemoFailed where the package was installed without them."""
    for place in (Path(glasshouse.__file__).parents[2], Path.cwd()):
        if (place / "recipes" / ENGINE / "recipe.toml").exists():
            return place / "recipes"
    raise DemoFailed("the demo needs the recipes of a checkout: run it in one")


def wares() -> list[Ware]:
    """The products that are released honestly."""
    recipes = recipes_directory()
    engine, library = Ware(recipe=recipes / ENGINE, version="4.5.4"), Ware(recipe=recipes / LIBRARY, version="1.2.13")
    return [engine, rules_ware(), library]


def rules_ware() -> Ware:
    """The rule database: of the snapshot beside the checkout; where that is absent, from the package index."""
    recipes = recipes_directory()
    if (recipes.parent.parent / "shared" / "data" / "signature-base.bundle").exists():
        return Ware(recipe=recipes / RULES, version=RULES_VERSION)
    return Ware(recipe=recipes / RULES_ELSEWHERE, version="3.2.0")


def small_ware(version: str) -> Ware:
    """A small program."""
    return Ware(recipe=recipes_directory() / SMALL, version=version)


def edition(stage: Stage, version: str) -> Ware:
    """The small program with a source of its own for a version, as versions of a program have."""
    ware = small_ware(version)
    place = stage.root / "scratch" / "editions" / version / ware.recipe.name
    if not place.exists():
        shutil.copytree(ware.recipe, place)
        (source,) = (place / "source").glob("*.c")
        source.write_text(source.read_text().replace("hello from", f"hello {version} from"))
    return Ware(recipe=place, version=version)
