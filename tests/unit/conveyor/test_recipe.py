"""Recipes: what is accepted, and that every deviation is refused by the name of its field."""

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workshop import RECIPES

from glasshouse.conveyor.errors import InvalidRecipe
from glasshouse.conveyor.recipe import DebianSource, DirectorySource, GitSource, IndexSource, SignStep, parse_recipe

MINIMAL = """\
schema = "glasshouse.recipe/v1"
product = "hello-c"
platform = "linux-x86_64"

[environment]
suite = "bookworm"
architecture = "amd64"
packages = ["gcc"]

[build]
command = ["make"]
outputs = ["hello", "*.so"]
"""
WHEEL = (
    '[[environment.wheels]]\nname = "a"\nversion = "1"\nfilename = "a-1-py3-none-any.whl"\nsha256 = "'
    + "0" * 64
    + '"\n'
)


def test_a_minimal_recipe() -> None:
    recipe = parse_recipe(MINIMAL.encode())
    assert (recipe.product, recipe.platform, recipe.source) == ("hello-c", "linux-x86_64", None)
    assert recipe.environment.packages == ("gcc",)
    assert recipe.build.outputs == ("hello", "*.so")
    assert recipe.build.timeout_seconds == 1800
    assert recipe.sign == SignStep(authenticode=(), detached=())


def test_what_is_signed() -> None:
    recipe = parse_recipe(f'{MINIMAL}\n[sign]\nauthenticode = ["x.dll"]\ndetached = ["*"]\n'.encode())
    assert recipe.sign == SignStep(authenticode=("x.dll",), detached=("*",))


@pytest.mark.parametrize("place", sorted(RECIPES.glob("*/recipe.toml")), ids=lambda place: place.parent.name)
def test_the_recipes_of_this_repository_parse(place: object) -> None:
    recipe = parse_recipe(place.read_bytes())  # type: ignore[attr-defined]
    assert isinstance(recipe.source, IndexSource | DebianSource | GitSource | DirectorySource)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("glasshouse.recipe/v1", "glasshouse.recipe/v2", "schema"),
        ('schema = "glasshouse.recipe/v1"\n', "", "schema"),
        ('product = "hello-c"\n', "", "product"),
        ("hello-c", "Hello C", "product"),
        ("hello-c", "../hello", "product"),
        ('"linux-x86_64"', "7", "platform"),
        ("[environment]", 'parameters = "x"\n[environment]', "parameters"),
        ("[environment]", "[environment]\nmirror = 'x'", "environment.mirror"),
        ("[build]", "[build]\nnetwork = true", "build.network"),
        ('"bookworm"', '"Book Worm"', "environment.suite"),
        ('["gcc"]', '["gcc", "gcc"]', "environment.packages"),
        ('["gcc"]', '["gcc=12"]', "environment.packages[0]"),
        ('["gcc"]', '["--force"]', "environment.packages[0]"),
        ('["gcc"]', '"gcc"', "environment.packages"),
        ('["make"]', "[]", "build.command"),
        ('["make"]', "[1]", "build.command[0]"),
        ('["make"]', '["a\\u0000b"]', "build.command[0]"),
        ('"*.so"', '"../*.so"', "build.outputs[1]"),
        ('"*.so"', '"-rf"', "build.outputs[1]"),
        ("[build]", "[build]\ntimeout_seconds = 0", "build.timeout_seconds"),
        ("[build]", "[build]\ntimeout_seconds = true", "build.timeout_seconds"),
        ("[build]", "[build]\nmemory_mib = 1.5", "build.memory_mib"),
        ("[build]", "[build]\nenv = {PATH = '/x'}", "build.env.PATH"),
        ("[build]", "[build]\nenv = {SOURCE_DATE_EPOCH = '1'}", "build.env.SOURCE_DATE_EPOCH"),
        ("[build]", "[build]\nenv = {lower = '1'}", "build.env.lower"),
        ("[build]", "[build]\nenv = {A = 1}", "build.env.A"),
        ("[build]", '[environment.links]\n"usr/bin/cc" = "gcc"\n[build]', "environment.links['usr/bin/cc']"),
        ("[build]", '[environment.links]\n"/usr/bin/cc" = "/bin/gcc"\n[build]', "environment.links['/usr/bin/cc']"),
        ("[build]", '[environment.links]\n"/usr/../../cc" = "gcc"\n[build]', "environment.links['/usr/../../cc']"),
        ("[build]", WHEEL.replace(".whl", ".tar.gz") + "[build]", "environment.wheels[0].filename"),
        ("[build]", WHEEL.replace("0" * 64, "0" * 63) + "[build]", "environment.wheels[0].sha256"),
        ("[build]", WHEEL + WHEEL + "[build]", "environment.wheels"),
        ("[build]", WHEEL + "url = 'x'\n[build]", "environment.wheels[0].url"),
        ("[build]", '[source]\nkind = "ftp"\n[build]', "source.kind"),
        ("[build]", '[source]\nkind = "git"\nlocation = "x"\ncommit = "main"\n[build]', "source.commit"),
        ("[build]", '[source]\nkind = "directory"\npath = "x"\n[build]', "source.epoch"),
        ("[build]", '[source]\nkind = "directory"\npath = "x"\nepoch = 5\n[build]', "source.epoch"),
        ("[build]", '[source]\nkind = "index"\nname = "x"\n[build]', "source.version"),
        ("[build]", '[source]\nkind = "debian"\npath = "pool/main/z/../x.tar.xz"\n[build]', "source.path"),
        ("[build]", '[source]\nkind = "debian"\npath = "pool/main/z/zlib/x.tar.xz"\n[build]', "source.sha256"),
        ("[build]", '[sign]\nauthenticode = ["../x.dll"]\n[build]', "sign.authenticode[0]"),
        ("[build]", '[sign]\nkey = "mine"\n[build]', "sign.key"),
        ("schema", "= schema", "recipe"),
    ],
)
def test_a_deviation_is_refused_by_name(old: str, new: str, field: str) -> None:
    assert old in MINIMAL
    with pytest.raises(InvalidRecipe) as caught:
        parse_recipe(MINIMAL.replace(old, new).encode())
    assert caught.value.field == field


def test_an_oversize_recipe_is_refused() -> None:
    with pytest.raises(InvalidRecipe, match="larger"):
        parse_recipe(MINIMAL.encode() + b"#" * 70_000)


@given(st.binary(max_size=400) | st.text(alphabet=string.printable, max_size=400).map(str.encode))
def test_any_bytes_parse_or_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRecipe):
        parse_recipe(data)


@given(st.integers(0, len(MINIMAL) - 1), st.sampled_from(string.printable))
def test_a_changed_character_gives_a_recipe_or_a_named_refusal(place: int, character: str) -> None:
    with contextlib.suppress(InvalidRecipe):
        parse_recipe((MINIMAL[:place] + character + MINIMAL[place + 1 :]).encode())
