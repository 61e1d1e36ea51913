"""The signing step of a release: when it may run, what it leaves, and that it is done once."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import format_envelope, parse_envelope
from glasshouse_verify.statement import Release, Use, make_statement, parse_statement
from signatory import ACCEPT, UNSIGNED, Signatory, signatory
from workshop import RECIPES
from world import NOW, World, digest

from glasshouse.conveyor.detached import SUFFIX, check_detached
from glasshouse.conveyor.errors import InvalidInput, InvalidRecipe, SigningFailed
from glasshouse.conveyor.lock import make_lock
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.recipe import parse_recipe
from glasshouse.conveyor.release import Order, Press, ReleaseRun
from glasshouse.conveyor.signing import CodeSigner, check_pinned, embed_signature
from glasshouse.conveyor.store import Store, http_client
from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.signer import sign_statement
from glasshouse.supervision.authenticode import check_modulo_signature

LIBRARY, ARCHIVE = "zlib1.dll", "readme.tar"
PRODUCT = "acme/zlib-dll"


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signatory]:
    with signatory(tmp_path_factory.mktemp("keys") / "acme") as opened:
        yield opened


# --- the program ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_signed(vendor: Signatory, tmp_path: Path) -> None:
    script, out = tmp_path / "script", tmp_path / "out"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(SigningFailed, match="could not sign script"):
        embed_signature(script, out, vendor.signer, NOW)
    assert not out.exists()


def test_no_time_stamp_no_signature(vendor: Signatory, tmp_path: Path) -> None:
    """A signature without the stamp that the charter asks for would be worth nothing: better none at all."""
    unsigned, out = tmp_path / "library", tmp_path / "out"
    unsigned.write_bytes(UNSIGNED)
    with pytest.raises(SigningFailed):
        embed_signature(unsigned, out, replace(vendor.signer, timestamps="http://127.0.0.1:1/timestamp"), NOW)
    assert not out.exists()


def test_a_certificate_has_to_be_pinned_before_anything_is_built(vendor: Signatory, tmp_path: Path) -> None:
    check_pinned(vendor.signer, vendor.pins)
    check_pinned(replace(vendor.signer, timestamps=None), replace(vendor.pins, timestampers=()))
    for pins in (None, replace(vendor.pins, signers=vendor.pins.timestampers)):
        with pytest.raises(InvalidInput, match="does not pin"):
            check_pinned(vendor.signer, pins)
    with pytest.raises(InvalidInput, match="asks for time stamps"):
        check_pinned(replace(vendor.signer, timestamps=None), vendor.pins)
    with pytest.raises(InvalidInput, match="allows no time stamps"):
        check_pinned(vendor.signer, replace(vendor.pins, timestampers=()))
    with pytest.raises(KeyUnavailable):
        check_pinned(CodeSigner(key=tmp_path / "none.key", certificates=tmp_path / "none.pem"), vendor.pins)


# --- the release ---------------------------------------------------------------------------------------------------


def charter(world: World) -> Charter:
    return world.history.chain.newest.charter


def world_of(vendor: Signatory) -> World:
    gate = {
        "rebuilders": ["lab", "second"],
        "quorum": 2,
        "accept": ACCEPT,
        "blind": False,
        "build_in": ["CH"],
        "sign_in": ["CH"],
        "authenticode": encode(vendor.pins),
    }
    rule = {"platforms": ["windows-x86_64"], "channels": ["stable"], "reviewers": 0, "gate": gate}
    return World(products={PRODUCT: rule})


def release_run(world: World, place: Path, signer: CodeSigner | None, sign: str = "") -> ReleaseRun:
    """A release whose build is done: one library, one archive."""
    text = (RECIPES / "zlib-dll/recipe.toml").read_text().partition("[sign]")[0]
    text = text.replace('["zlib1.dll"]', f'["{LIBRARY}", "{ARCHIVE}"]')
    (place / "recipe").mkdir(parents=True, exist_ok=True)
    (place / "recipe/recipe.toml").write_text(f"{text}[sign]\n{sign}\n")
    lock = make_lock(parse_recipe((place / "recipe/recipe.toml").read_bytes()).environment, [], [], [])
    press = Press(
        vendor="acme",
        store=Store(place / "store"),
        origins=Origins(client=http_client(), mirrors={}, keyring=Path("/none")),
        roots=place / "roots",
        conveyor=world.keys["acme"],
        releaser=world.keys["acme"],
        code_signer=signer,
    )
    order = Order(recipe=place / "recipe", version="1.0", channel="stable", lock=lock.data)
    run = ReleaseRun(place / "release", charter(world), order, press)
    outputs = {LIBRARY: UNSIGNED, ARCHIVE: b"an archive"}
    (run.directory / "out").mkdir(exist_ok=True)
    for name, content in outputs.items():
        (run.directory / "out" / name).write_bytes(content)
    (run.directory / "out/build.log").write_text("")
    (run.directory / "build.json").write_text(
        json.dumps(
            {
                "outputs": [{"name": n, "sha256": digest(c), "size": len(c)} for n, c in outputs.items()],
                "started": NOW,
                "finished": NOW,
                "variations": {},
            }
        )
    )
    source = world.source("1.0", product=PRODUCT)
    envelope = sign_statement(make_statement(Use.SOURCE, source), world.keys["acme"])
    (run.directory / "source.dsse").write_bytes(format_envelope(envelope))
    return run


SIGN = f'authenticode = ["*.dll"]\ndetached = ["{LIBRARY}", "*.tar"]'


def test_a_release_with_both_kinds_of_signature(vendor: Signatory, tmp_path: Path) -> None:
    world = world_of(vendor)
    run = release_run(world, tmp_path, vendor.signer, SIGN)
    publication = run.sign_release(NOW)
    release: Release = parse_statement(publication.envelope.payload).predicate
    shipped = {path.name: path for path in run.shipped}
    files = {file.name: file for file in release.files}
    library = shipped[LIBRARY].read_bytes()
    assert (files[LIBRARY].unsigned, files[LIBRARY].sha256) == (digest(UNSIGNED), digest(library))
    assert (files[ARCHIVE].unsigned, files[ARCHIVE].sha256) == (None, digest(b"an archive"))
    check_modulo_signature(library, UNSIGNED, vendor.pins)
    assert publication.blobs[digest(library)] == shipped[LIBRARY]
    assert digest(UNSIGNED) not in publication.blobs
    provenance = parse_statement(parse_envelope((run.directory / "provenance.dsse").read_bytes()).payload)
    assert (LIBRARY, digest(UNSIGNED)) in provenance.subject
    signatures = run.detach()
    assert [path.name for path in signatures] == [LIBRARY + SUFFIX, ARCHIVE + SUFFIX]
    for path in signatures:
        file = path.with_name(path.name.removesuffix(SUFFIX))
        assert check_detached(path.read_bytes(), file, charter(world)) == release


def test_a_release_that_resumes_ships_the_file_that_it_signed_first(vendor: Signatory, tmp_path: Path) -> None:
    """A second signature of one file is another file, and a release has one digest for it."""
    world = world_of(vendor)
    run = release_run(world, tmp_path, vendor.signer, SIGN)
    run.embed(NOW)
    first = run.shipped[0].read_bytes()
    again = release_run(world, tmp_path, vendor.signer, SIGN)
    again.sign_release(NOW + 3600)
    assert again.shipped[0].read_bytes() == first


def test_a_crash_before_the_record_signs_again(vendor: Signatory, tmp_path: Path) -> None:
    """What is not in signed.json was never spoken of: it is made anew."""
    world = world_of(vendor)
    run = release_run(world, tmp_path, vendor.signer, SIGN)
    (run.directory / "signed").mkdir()
    (run.directory / "signed" / LIBRARY).write_bytes(b"half a fi")
    run.embed(NOW)
    check_modulo_signature(run.shipped[0].read_bytes(), UNSIGNED, vendor.pins)


def test_a_release_that_asks_for_no_signature(vendor: Signatory, tmp_path: Path) -> None:
    run = release_run(world_of(vendor), tmp_path, None)
    run.sign_release(NOW)
    assert run.shipped == run.outputs
    assert run.detach() == []


def test_what_stops_a_release_that_has_to_be_signed(vendor: Signatory, tmp_path: Path) -> None:
    world = world_of(vendor)
    with pytest.raises(InvalidInput, match="no code-signing key"):
        release_run(world, tmp_path / "a", None, SIGN)
    with pytest.raises(InvalidRecipe, match=r"sign\.authenticode"):
        release_run(world, tmp_path / "b", vendor.signer, 'authenticode = ["*.exe"]').embed(NOW)
    run = release_run(world, tmp_path / "c", vendor.signer, 'detached = ["*.whl"]')
    with pytest.raises(InvalidRecipe, match=r"sign\.detached"):
        run.sign_release(NOW)
    assert not (run.directory / "release.dsse").exists()


def test_only_a_windows_file_can_have_a_signature_inside(vendor: Signatory, tmp_path: Path) -> None:
    run = release_run(world_of(vendor), tmp_path, vendor.signer, f'authenticode = ["{ARCHIVE}"]')
    with pytest.raises(SigningFailed):
        run.sign_release(NOW)
    assert not (run.directory / "release.dsse").exists()
