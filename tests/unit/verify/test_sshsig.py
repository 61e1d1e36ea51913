"""SSH signatures: the form that ssh-keygen writes, and everything that is not it."""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from glasshouse_verify.encoding import decode_base64, encode_base64
from glasshouse_verify.errors import FormatError, SignatureError
from glasshouse_verify.sshsig import format_sshsig, parse_public_line, parse_sshsig, verify_sshsig
from lineages import private_key, signature, write_ssh_key
from world import seeded

MESSAGE = b"tree and commit"
ANN = seeded("ann")
EXAMPLE = signature("ann", MESSAGE)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def armour(blob: bytes) -> bytes:
    return f"-----BEGIN SSH SIGNATURE-----\n{encode_base64(blob)[:1200]}\n-----END SSH SIGNATURE-----\n".encode()


@pytest.mark.parametrize("hash", ["sha256", "sha512"])
def test_a_signature_holds_for_its_message_and_namespace_only(hash: str) -> None:
    made = signature("ann", MESSAGE, hash=hash)
    assert format_sshsig(parse_sshsig(made)) == made
    assert verify_sshsig(made, MESSAGE, "git") == ANN.public
    with pytest.raises(SignatureError):
        verify_sshsig(made, MESSAGE + b" ", "git")
    with pytest.raises(FormatError, match="namespace"):
        verify_sshsig(made, MESSAGE, "file")


def test_every_damaged_byte_is_noticed() -> None:
    made = signature("ann", MESSAGE)
    blob = decode_base64("".join(made.decode().splitlines()[1:-1]), "x", None)
    for place in range(len(blob)):
        damaged = bytearray(blob)
        damaged[place] ^= 1
        lines = encode_base64(bytes(damaged))
        text = "".join(f"{lines[start : start + 70]}\n" for start in range(0, len(lines), 70))
        with pytest.raises((FormatError, SignatureError)):
            verify_sshsig(made[:30] + text.encode() + made[-28:], MESSAGE, "git")


def fields(**changes: bytes) -> bytes:
    """The blob of a signature, with one of its strings exchanged."""
    made = parse_sshsig(signature("ann", MESSAGE))
    key, value = (string(b"ssh-ed25519") + string(part) for part in (made.public, made.signature))
    parts = {"head": b"SSHSIG\0\0\0\1", "key": key, "namespace": b"git", "reserved": b"", "hash": b"sha512"}
    parts |= {"value": value, "tail": b""} | changes
    middle = b"".join(string(parts[name]) for name in ("key", "namespace", "reserved", "hash", "value"))
    return parts["head"] + middle + parts["tail"]


def test_the_plain_one_is_good() -> None:
    assert verify_sshsig(signature("ann", MESSAGE), MESSAGE, "git") == ANN.public


@pytest.mark.parametrize(
    "changes",
    [
        {"head": b"SSHSIG\0\0\0\2"},
        {"head": b"SSHSIH\0\0\0\1"},
        {"key": string(b"ssh-rsa") + string(b"x" * 32)},
        {"key": string(b"ssh-ed25519") + string(b"x" * 31)},
        {"key": string(b"ssh-ed25519") + string(b"x" * 32) + string(b"")},
        {"key": string(b"ssh-ed25519")},
        {"key": b""},
        {"reserved": b"x"},
        {"hash": b"sha1"},
        {"hash": b"\xff"},
        {"namespace": b"\xff"},
        {"value": string(b"ssh-ed25519") + string(b"x" * 63)},
        {"value": string(b"ssh-ed448") + string(b"x" * 64)},
        {"tail": b"\0"},
        {"tail": string(b"")},
    ],
    ids=str,
)
def test_other_forms_are_refused(changes: dict[str, bytes]) -> None:
    lines = encode_base64(fields(**changes))
    text = "".join(f"{lines[start : start + 70]}\n" for start in range(0, len(lines), 70))
    with pytest.raises(FormatError):
        parse_sshsig(f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n".encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        EXAMPLE[1:],
        b"\n" + EXAMPLE,
        EXAMPLE + b"\n",
        EXAMPLE.replace(b"\n", b"\r\n"),
        EXAMPLE.replace(b"=\n", b"\n"),
        EXAMPLE.replace(b"=\n", b"==\n"),
        EXAMPLE.replace(b"U1N", b" U1N"),
        armour(b"SSHSIG\0\0\0\1" + b"\xff" * 9),
        armour(b"SSHSIG\0\0\0\1"),
        b"-----BEGIN PGP SIGNATURE-----\n" + EXAMPLE[30:],
    ],
)
def test_other_armour_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        parse_sshsig(text)


def test_a_weak_key_signs_nothing() -> None:
    weak = fields(key=string(b"ssh-ed25519") + string(b"\x01" + bytes(31)))
    lines = encode_base64(weak)
    text = "".join(f"{lines[start : start + 70]}\n" for start in range(0, len(lines), 70))
    with pytest.raises(FormatError, match="weak"):
        verify_sshsig(f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n".encode(), MESSAGE, "git")


# --- keys, and ssh-keygen ------------------------------------------------------------------------------------------


def public_line(name: str) -> str:
    return private_key(name).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def test_public_lines() -> None:
    line = public_line("ann")
    for text in (line, line + "\n", line + " ann@example.org\n"):
        assert parse_public_line(text) == ANN.public
    for bad in ("", "ssh-rsa AAAA", line.replace("AAAA", "AAAB", 1), line + "\nx", f" {line}", line[:-4]):
        with pytest.raises(FormatError):
            parse_public_line(bad)


def test_ssh_keygen_makes_and_takes_them(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    key = write_ssh_key(tmp_path, "ann")
    (tmp_path / "message").write_bytes(MESSAGE)
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", key, tmp_path / "message"]
    subprocess.run(sign, check=True, capture_output=True)
    made = (tmp_path / "message.sig").read_bytes()
    assert verify_sshsig(made, MESSAGE, "git") == ANN.public
    assert format_sshsig(parse_sshsig(made)) == made
    (tmp_path / "allowed").write_text(f"ann {public_line('ann')}\n")
    (tmp_path / "ours.sig").write_bytes(signature("ann", MESSAGE, hash="sha256"))
    check = ["ssh-keygen", "-Y", "verify", "-n", "git", "-I", "ann", "-f", tmp_path / "allowed"]
    subprocess.run([*check, "-s", tmp_path / "ours.sig"], input=MESSAGE, check=True, capture_output=True)
