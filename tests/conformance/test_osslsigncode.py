"""osslsigncode accepts what the conveyor ships, and puts our signature on an independent rebuild: the same bytes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from signatory import UNSIGNED, Signatory, signatory
from workshop import RECIPES, environment, origins, store

from glasshouse.conveyor.build import build
from glasshouse.conveyor.errors import OriginUnavailable
from glasshouse.conveyor.source import fetch_source
from glasshouse.supervision.authenticode import check_modulo_signature
from glasshouse.supervision.pe import attach, extract


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signatory]:
    with signatory(tmp_path_factory.mktemp("keys") / "acme") as opened:
        yield opened


def verify(vendor: Signatory, shipped: Path) -> str:
    """What `osslsigncode verify` says, given the two roots; its exit code has to be 0."""
    command = ["osslsigncode", "verify", "-CAfile", str(vendor.keys / "codesign-root.pem")]
    command += ["-TSA-CAfile", str(vendor.keys / "timestamp-root.pem"), "-in", str(shipped)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attached(vendor: Signatory, unsigned: Path, signature: Path, out: Path) -> bytes:
    command = ["osslsigncode", "attach-signature", "-sigin", str(signature), "-in", str(unsigned), "-out", str(out)]
    command += ["-CAfile", str(vendor.keys / "codesign-root.pem")]
    command += ["-TSA-CAfile", str(vendor.keys / "timestamp-root.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.exists(), done.stdout + done.stderr
    return out.read_bytes()


def test_a_signed_file_verifies(vendor: Signatory, tmp_path: Path) -> None:
    place = tmp_path / "engine.dll"
    place.write_bytes(vendor.sign())
    said = verify(vendor, place)
    assert "Signature verification: ok" in said
    assert "Number of verified signatures: 1" in said


def test_zlib_shipped_and_rebuilt(vendor: Signatory, tmp_path: Path) -> None:
    """The library built twice; the signature of the one, extracted, on the other is the file that was shipped."""
    found = environment("zlib-dll")
    try:
        source = fetch_source(found.recipe, RECIPES / "zlib-dll", found.lock, tmp_path / "tree", store(), origins())
    except OriginUnavailable as error:
        pytest.skip(f"the source cannot be had here: {error}")
    built = build(source.tree, found.recipe, found.root, source.epoch, tmp_path / "vendor").outputs[0].path
    rebuilt = build(source.tree, found.recipe, found.root, source.epoch, tmp_path / "rebuilder").outputs[0].path
    shipped = tmp_path / "zlib1.dll"
    shipped.write_bytes(vendor.sign(built.read_bytes()))
    verify(vendor, shipped)
    check_modulo_signature(shipped.read_bytes(), rebuilt.read_bytes(), vendor.pins)
    signature = tmp_path / "zlib1.dll.der"
    command = ["osslsigncode", "extract-signature", "-in", str(shipped), "-out", str(signature)]
    subprocess.run(command, capture_output=True, check=True)
    assert attached(vendor, rebuilt, signature, tmp_path / "attached.dll") == shipped.read_bytes()
    assert attach(rebuilt.read_bytes(), extract(shipped.read_bytes())) == shipped.read_bytes()


def test_the_signature_taken_out(vendor: Signatory, tmp_path: Path) -> None:
    """What osslsigncode extracts is what we extract: the message alone, or in its table entry (before version 2.6)."""
    place, out = tmp_path / "engine.dll", tmp_path / "signature"
    shipped = vendor.sign()
    place.write_bytes(shipped)
    command = ["osslsigncode", "extract-signature", "-in", str(place), "-out", str(out)]
    subprocess.run(command, capture_output=True, check=True)
    signature = extract(shipped)
    assert out.read_bytes() in (signature, shipped[len(UNSIGNED) :])
