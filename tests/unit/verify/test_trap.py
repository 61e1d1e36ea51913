"""Traps: their digests and commitments computed by hand, and what is no trap."""

from dataclasses import replace
from hashlib import sha256

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import Release, ReleasedFile
from glasshouse_verify.trap import BuiltFile, Trap, TrapOpening, is_trap, wrong_digests
from trapping import NONCE, VERSION, opening
from world import FILE, NOW, PLATFORM, SHIPPED, World, digest


def release(**changes: str | None) -> Release:
    world = World()
    file = ReleasedFile(
        **({"platform": PLATFORM, "name": FILE, "sha256": wrong_digests(NONCE, PLATFORM, FILE)[0]} | changes)
    )
    found: Release = world.statement(world.release(VERSION, files=(file,)))
    return found


def test_digests_are_complements() -> None:
    for form, found in zip((b"shipped", b"unsigned"), wrong_digests(NONCE, PLATFORM, FILE), strict=True):
        said = b"glasshouse trap\0" + bytes.fromhex(NONCE) + form + f"\0{PLATFORM}/{FILE}".encode()
        assert int(found, 16) == 2**256 - 1 - int(sha256(said).hexdigest(), 16)


def test_commitment() -> None:
    opened = opening(digest(b"release"))
    row = f'{{"key":"{PLATFORM}/{FILE}","sha256":"{digest(SHIPPED)}"}}'.encode()
    root = sha256(b"\0" + row).digest()
    said = b"glasshouse trap\0" + bytes.fromhex(opened.release) + bytes.fromhex(NONCE) + root
    assert opened.commitment == sha256(said).hexdigest()


def test_an_opening_opens_its_commitment() -> None:
    opened = opening(digest(b"release"))
    assert Trap(party="lab", commitment=opened.commitment, time=NOW, opening=opened).subjects()[1] == (
        "release",
        opened.release,
    )
    with pytest.raises(FormatError, match="does not open"):
        Trap(party="lab", commitment=digest(b"another"), time=NOW, opening=opened)


def test_files_are_sorted_and_there_is_one() -> None:
    two = [BuiltFile(platform=PLATFORM, name=name, sha256=digest(b"")) for name in ("b", "a")]
    for built in ((), tuple(two), (two[0], two[0])):
        with pytest.raises(FormatError, match="sorted"):
            TrapOpening(release=digest(b""), nonce=NONCE, built=built)


def test_what_is_a_trap() -> None:
    opened = opening(digest(b""))
    shipped, unsigned = wrong_digests(NONCE, PLATFORM, FILE)
    assert is_trap(release(), opened)
    assert is_trap(release(unsigned=unsigned), opened)
    assert not is_trap(release(unsigned=shipped), opened)
    assert not is_trap(release(unsigned=digest(SHIPPED)), opened)
    assert not is_trap(release(sha256=digest(SHIPPED)), opened)
    assert not is_trap(release(name="other.whl"), opened)
    assert not is_trap(release(), opening(digest(b""), nonce=digest(b"another")))


def test_every_file_is_wrong() -> None:
    """One good file among the wrong ones could be installed."""
    wrong = ReleasedFile(platform=PLATFORM, name=FILE, sha256=wrong_digests(NONCE, PLATFORM, FILE)[0])
    good = ReleasedFile(platform=PLATFORM, name="good.whl", sha256=digest(SHIPPED))
    built = tuple(BuiltFile(platform=PLATFORM, name=name, sha256=digest(SHIPPED)) for name in (FILE, "good.whl"))
    both = replace(release(), files=(wrong, good))
    assert not is_trap(both, TrapOpening(release=digest(b""), nonce=NONCE, built=built))
    assert not is_trap(both, TrapOpening(release=digest(b""), nonce=NONCE, built=built[:1]))
