"""R7 A signature stripped, added or swapped.

Cheat: somebody between vendor and customer takes the signature out of a Windows file, puts another one on, or moves a
    genuine one to another file; or the vendor itself ships a file under a certificate that nobody agreed to. The same
    with the signature file beside a program, a wheel or an archive.
Noticed by: the customer, since one digest is released; the rebuilders, who accept the charter's certificates alone; for
    a signature file, whoever checks it against the pinned charter.
Seen: exit 3; the verdict *differs* with a sentence; `glasshouse signature check` exits 1 and says why.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from forgery import index_of
from glasshouse_verify.charter import Authenticode, Charter
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.errors import FormatError, SignatureError
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use, Verdict, make_statement
from signatory import ACCEPT, UNSIGNED, Signatory, judge, release_signed, signatory, signing_world
from typer.testing import CliRunner
from world import FILE, SHIPPED, World, digest, texts

from glasshouse.cli.signature import app
from glasshouse.conveyor.detached import SUFFIX, check_detached, write_detached
from glasshouse.ledger.errors import NotThere
from glasshouse.supervision.pe import attach, extract


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signatory]:
    with signatory(tmp_path_factory.mktemp("keys") / "acme") as opened:
        yield opened


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signatory]:
    """Somebody with a certificate of the same names, from a root of his own."""
    with signatory(tmp_path_factory.mktemp("keys") / "stranger") as opened:
        yield opened


@pytest.fixture(scope="module")
def signed(vendor: Signatory) -> bytes:
    return vendor.sign()


def overseen(vendor: Signatory, signed: bytes, place: Path, accept: Sequence[str] = ACCEPT) -> World:
    """The honest run: released, rebuilt by both, in the status."""
    world = signing_world(vendor.pins, accept)
    release = release_signed(world, signed)
    for party in ("lab", "second"):
        world.post(make_statement(Use.REBUILD, judge(world, release, place / party, party=party).rebuild), party)
    world.status()
    return world


def differs(pins: Authenticode | None, shipped: bytes, place: Path) -> str:
    """The sentence of the verdict, which must be *differs*."""
    world = signing_world(pins)
    rebuild = judge(world, release_signed(world, shipped), place).rebuild
    assert rebuild.verdict == Verdict.DIFFERS
    return rebuild.explanation


# Embedded


def test_control_embedded_signature(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    world = overseen(vendor, signed, tmp_path)
    assert world.verify(shipped=signed).outcome == Outcome.VERIFIED


def test_control_the_charter_decides_whether_it_counts(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """Where the gate lists *identical* alone, the verdict modulo signature is shown and does not count."""
    world = overseen(vendor, signed, tmp_path, ["identical"])
    report = world.verify(shipped=signed)
    assert report.outcome == Outcome.UNDECIDED
    assert "identical-modulo-signature, which does not count here" in texts(report)["rebuild"]


def test_attack_file_in_hand_without_or_under_another_signature(
    vendor: Signatory, stranger: Signatory, signed: bytes, tmp_path: Path
) -> None:
    """Stripped, signed again by the vendor itself, or signed by a stranger: none is the file released."""
    world = overseen(vendor, signed, tmp_path)
    evidence = world.evidence(signed)
    for altered in (UNSIGNED, vendor.sign(), stranger.sign(), stranger.sign(signed)):
        assert world.verify(evidence, shipped=altered).outcome == Outcome.MISMATCH


def test_attack_released_under_a_stranger_s_certificate(
    vendor: Signatory, stranger: Signatory, signed: bytes, tmp_path: Path
) -> None:
    """A valid signature by a certificate that the charter does not pin, its names the same."""
    assert "does not pin" in differs(vendor.pins, stranger.sign(), tmp_path / "signer")
    assert "pins no certificate" in differs(None, signed, tmp_path / "none")
    assert "does not pin" in differs(replace(vendor.pins, signers=stranger.pins.signers), signed, tmp_path / "other")


def test_attack_released_without_the_signature_that_it_claims(vendor: Signatory, tmp_path: Path) -> None:
    """The release names an unsigned digest and ships something that has no signature."""
    assert "has no signature" in differs(vendor.pins, UNSIGNED.replace(b"anybody", b"nobody!"), tmp_path / "stripped")
    assert "no PE file" in differs(vendor.pins, b"#!/bin/sh\n", tmp_path / "script")


def test_attack_signature_moved_to_another_file(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """A genuine signature of one library on another one, which is what the source builds."""
    other = UNSIGNED.replace(b"anybody", b"nobody!")
    world = signing_world(vendor.pins)
    moved = attach(other, extract(signed))
    rebuild = judge(world, release_signed(world, moved, other), tmp_path, built=other).rebuild
    assert rebuild.verdict == Verdict.DIFFERS
    assert "over another file" in rebuild.explanation


def test_attack_back_door_under_a_genuine_signature(vendor: Signatory, tmp_path: Path) -> None:
    """The vendor signs a back-doored build and declares the honest one to be what it signed."""
    backdoored = vendor.sign(UNSIGNED.replace(b"\xc3\xc3", b"\x90\xc3", 1))
    assert "differs from the rebuilt one" in differs(vendor.pins, backdoored, tmp_path)


def test_attack_shipped_file_withheld_from_the_rebuilder(vendor: Signatory, signed: bytes, tmp_path: Path) -> None:
    """Without the signed file nobody can say that it is the rebuilt one: there is no verdict, then an undecided one."""
    world = signing_world(vendor.pins)
    release = release_signed(world, signed, time=world.now - 10)
    del world.blobs[digest(signed)]
    with pytest.raises(NotThere):
        judge(world, release, tmp_path / "at once")
    world.now += 3600
    rebuild = judge(world, release, tmp_path / "an hour later").rebuild
    assert rebuild.verdict == Verdict.PACK_NOT_RECEIVED
    assert "cannot be had" in rebuild.explanation


# Detached


def released(tmp_path: Path) -> tuple[World, Path, Envelope]:
    """A program, the envelope of its release, and the signature file beside it."""
    world = World()
    envelope = parse_envelope(world.entries[index_of(world, world.release())])
    file = tmp_path / FILE
    file.write_bytes(SHIPPED)
    write_detached(envelope, [file])
    return world, file, envelope


def charter(world: World) -> Charter:
    return world.history.chain.newest.charter


def check(world: World, file: Path, tmp_path: Path) -> tuple[int, str]:
    """The command's exit code and what it says."""
    (tmp_path / "charter.json").write_bytes(world.pin)
    run = CliRunner().invoke(app, ["check", str(file), "--charter", str(tmp_path / "charter.json")])
    return run.exit_code, run.output + str(run.exception or "")


def test_control_signature_file(tmp_path: Path) -> None:
    world, file, _ = released(tmp_path)
    assert check_detached(file.with_name(FILE + SUFFIX).read_bytes(), file, charter(world)).version == "1.0"
    code, said = check(world, file, tmp_path)
    assert code == 0
    assert "signed by acme as acme/engine 1.0" in said


def test_attack_program_changed_under_its_signature_file(tmp_path: Path) -> None:
    """Other bytes, or the right bytes under another name."""
    world, file, _ = released(tmp_path)
    signature = file.with_name(FILE + SUFFIX).read_bytes()
    file.write_bytes(SHIPPED + b"!")
    with pytest.raises(SignatureError, match="other files"):
        check_detached(signature, file, charter(world))
    assert check(world, file, tmp_path)[0] == 1
    renamed = tmp_path / "other.whl"
    renamed.write_bytes(SHIPPED)
    with pytest.raises(SignatureError, match="other files"):
        check_detached(signature, renamed, charter(world))


def test_attack_signature_file_swapped(tmp_path: Path) -> None:
    """A release by a stranger, one by a key that may not release, a statement of another kind, a broken signature."""
    world, file, envelope = released(tmp_path)
    for signer in ("mallory", "lab"):
        with pytest.raises(SignatureError, match="no key that the charter lets release"):
            check_detached(format_envelope(world.envelope(envelope.payload, signer)), file, charter(world))
    source = world.entries[index_of(world, world.statement(statement_id(envelope.payload)).source)]
    with pytest.raises(SignatureError, match="something else"):
        check_detached(source, file, charter(world))
    broken = replace(envelope.signatures[0], sig=bytes(64))
    with pytest.raises(SignatureError):
        check_detached(format_envelope(replace(envelope, signatures=(broken,))), file, charter(world))
    with pytest.raises(FormatError):
        check_detached(b"-----BEGIN PGP SIGNATURE-----\n", file, charter(world))


def test_attack_signature_by_a_key_that_was_stopped(tmp_path: Path) -> None:
    """A signature file has no place in the ledger, so nobody can say that the key signed before it was stopped."""
    world, file, envelope = released(tmp_path)
    key = envelope.signatures[0].keyid
    world.amend({"parties": {"acme": {"keys": {key: {"stops": len(world.entries)}}}}})
    with pytest.raises(SignatureError, match="no key"):
        check_detached(format_envelope(envelope), file, charter(world))


def test_attack_signature_file_removed(tmp_path: Path) -> None:
    """Its absence is seen, and the gate does not need it: what is logged and rebuilt is proven by the evidence."""
    world, file, _ = released(tmp_path)
    file.with_name(FILE + SUFFIX).unlink()
    assert check(world, file, tmp_path)[0] == 1
