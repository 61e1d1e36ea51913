"""X.509 certificates for what Windows and RFC 3161 ask for, and for the connections between the sites of a region.

    keys/codesign.key           the private key (RSA, PKCS #8 PEM, mode 0600)
    keys/codesign.pem           its certificate, then intermediate ones if there are any: what goes into a signature
    keys/codesign-root.pem      the root, for those who check the chain with a tool of their own
    keys/peer.key, peer.pem     what a site of a region shows to the others (ECDSA P-256, signed by itself); the charter
                                names the certificate

A vendor whose certificate comes from a public authority puts these files in place. `create_chain` makes them for
everybody else: a root that signs one certificate and whose key is never written down. A charter pins certificates by
the SHA-256 of their DER (`fingerprint`), so who issued them does not matter to its gate.
"""

import datetime
import ipaddress
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from glasshouse_verify.codec import Digest

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.keys import KEY_SUFFIX
from glasshouse.storage import files

CERTIFICATE_SUFFIX = ".pem"
ROOT_SUFFIX = "-root.pem"
RSA_BITS = 3072
LEAF_DAYS = 3 * 365
ROOT_DAYS = 10 * 365
PEER = "peer"


class Purpose(StrEnum):
    """What a certificate is for; its value is the name of the files in keys/."""

    CODE_SIGNING = "codesign"
    TIME_STAMPING = "timestamp"


_USAGE = {
    Purpose.CODE_SIGNING: ExtendedKeyUsageOID.CODE_SIGNING,
    Purpose.TIME_STAMPING: ExtendedKeyUsageOID.TIME_STAMPING,
}


def create_chain(directory: Path, purpose: Purpose, organisation: str, now: int) -> Digest:
    """Make a root and one certificate for `purpose` in a keys directory; returns the certificate's fingerprint.

    `now` is Unix seconds. Raises ObjectConflict where the files are there already: a key is never overwritten.
    """
    root_key, key = _new_key(), _new_key()
    start = datetime.datetime.fromtimestamp(now, tz=datetime.UTC).replace(microsecond=0)
    root_name = _name(organisation, f"{organisation} {purpose} root")
    root = (
        _builder(root_name, root_name, root_key.public_key(), start, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(root_key, SHA256())
    )
    leaf = (
        _builder(_name(organisation, organisation), root_name, key.public_key(), start, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        # RFC 3161, 2.3 asks for this extension alone and critical.
        .add_extension(x509.ExtendedKeyUsage([_USAGE[purpose]]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.create(directory / f"{purpose}{KEY_SUFFIX}", pem, mode=0o600)
    files.create(directory / f"{purpose}{CERTIFICATE_SUFFIX}", leaf.public_bytes(Encoding.PEM), mode=0o600)
    files.create(directory / f"{purpose}{ROOT_SUFFIX}", root.public_bytes(Encoding.PEM), mode=0o600)
    return fingerprint(leaf)


def create_peer(directory: Path, organisation: str, url: str, now: int) -> bytes:
    """Make the key and the certificate that a site shows to its peers at `url`; returns the certificate's DER.

    `now` is Unix seconds. Raises ObjectConflict where the files are there already.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    start = datetime.datetime.fromtimestamp(now, tz=datetime.UTC).replace(microsecond=0)
    name, host = _name(organisation, f"{organisation} peer"), urlsplit(url).hostname or "localhost"
    try:
        reached: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        reached = x509.DNSName(host)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(name, name, key.public_key(), start, ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.SubjectAlternativeName([reached]), critical=False)
        .sign(key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.create(directory / f"{PEER}{KEY_SUFFIX}", pem, mode=0o600)
    files.create(directory / f"{PEER}{CERTIFICATE_SUFFIX}", certificate.public_bytes(Encoding.PEM), mode=0o600)
    return certificate.public_bytes(Encoding.DER)


def load_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file in order, the signer's own first; raises KeyUnavailable."""
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except OSError as error:
        raise KeyUnavailable(f"{path}: {error.strerror}; make one with: glasshouse certificate create") from error
    except ValueError as error:
        raise KeyUnavailable(f"{path} holds no certificate in PEM") from error


def fingerprint(certificate: x509.Certificate) -> Digest:
    """SHA-256 of the DER, by which a charter pins a certificate."""
    return Digest(sha256(certificate.public_bytes(Encoding.DER)).hexdigest())


def _new_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _name(organisation: str, common: str) -> x509.Name:
    # A common name has at most 64 characters (X.520).
    pairs = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(oid, text[:64]) for oid, text in pairs])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: RSAPublicKey | ec.EllipticCurvePublicKey,
    start: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(hours=1))
        .not_valid_after(start + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
