"""Certificates: what a chain looks like, who can read its key, and what is said when one is missing."""

import stat
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from glasshouse.parties.certificates import Purpose, create_chain, create_peer, fingerprint, load_certificates
from glasshouse.parties.errors import KeyUnavailable
from glasshouse.storage.errors import ObjectConflict

NOW = 1_800_000_000
USAGE = {
    Purpose.CODE_SIGNING: ExtendedKeyUsageOID.CODE_SIGNING,
    Purpose.TIME_STAMPING: ExtendedKeyUsageOID.TIME_STAMPING,
}


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://127.0.0.1:8472", "127.0.0.1"), ("https://zurich-1.acme.example:1", "zurich-1.acme.example")],
)
def test_what_a_site_shows_to_its_peers(url: str, host: str, tmp_path: Path) -> None:
    made = create_peer(tmp_path, "Acme Security", url, NOW)
    (certificate,) = load_certificates(tmp_path / "peer.pem")
    assert made == certificate.public_bytes(Encoding.DER)
    certificate.verify_directly_issued_by(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == [host]
    assert stat.S_IMODE((tmp_path / "peer.key").stat().st_mode) == 0o600
    with pytest.raises(ObjectConflict):
        create_peer(tmp_path, "Acme Security", url, NOW)


@pytest.mark.parametrize("purpose", Purpose)
def test_a_chain(purpose: Purpose, tmp_path: Path) -> None:
    made = create_chain(tmp_path, purpose, "Acme Security " * 10, NOW)
    (leaf,) = load_certificates(tmp_path / f"{purpose}.pem")
    (root,) = load_certificates(tmp_path / f"{purpose}-root.pem")
    assert made == fingerprint(leaf) == sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    leaf.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert (usage.critical, list(usage.value)) == (True, [USAGE[purpose]])
    assert leaf.not_valid_before_utc.timestamp() <= NOW < leaf.not_valid_after_utc.timestamp()
    assert leaf.not_valid_after_utc < root.not_valid_after_utc
    assert stat.S_IMODE((tmp_path / f"{purpose}.key").stat().st_mode) == 0o600


def test_nothing_is_overwritten_and_no_root_key_is_kept(tmp_path: Path) -> None:
    create_chain(tmp_path, Purpose.CODE_SIGNING, "Acme", NOW)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["codesign-root.pem", "codesign.key", "codesign.pem"]
    with pytest.raises(ObjectConflict):
        create_chain(tmp_path, Purpose.CODE_SIGNING, "Acme", NOW)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_certificates_that_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="glasshouse certificate create"):
        load_certificates(tmp_path / "codesign.pem")
    (tmp_path / "codesign.pem").write_text("no certificate")
    with pytest.raises(KeyUnavailable, match="holds no certificate"):
        load_certificates(tmp_path / "codesign.pem")
