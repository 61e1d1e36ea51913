"""Whether a signed Windows file is the rebuilt one with an embedded signature, and nothing else.

    check_modulo_signature(shipped, rebuilt, pins) -> EmbeddedSignature
    SignatureRefused: the signature carries a certificate that the charter does not pin

Taking the signature out of the shipped file and putting it on the rebuilt one must give the shipped file again, byte
for byte. What is left then is the signature itself, and there every octet is accounted for: a signed message of one
signer whose certificate the charter pins, over the digest of this very file, with nothing outside of it but one time
stamp of an authority that the charter pins. See docs/spec/authenticode.md.
"""

import datetime
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from glasshouse_verify.charter import Authenticode
from glasshouse_verify.codec import Digest

from glasshouse.parties.certificates import fingerprint
from glasshouse.supervision.der import (
    BOOLEAN,
    GENERALIZED_TIME,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    Fields,
    context,
    integer,
    parse,
)
from glasshouse.supervision.errors import SignatureRefused
from glasshouse.supervision.pe import attach, authenticode_digest, extract
from glasshouse.supervision.signed_data import (
    SHA256_ALGORITHM,
    SIGNING_TIME,
    SignedData,
    octets,
    parse_signed_data,
    read_time,
)

INDIRECT_DATA = bytes.fromhex("060a2b060104018237020104")
STATEMENT_TYPE = bytes.fromhex("060a2b06010401823702010b")
TIME_STAMP = bytes.fromhex("060a2b060104018237030301")
TIME_STAMP_INFO = bytes.fromhex("060b2a864886f70d0109100104")
_SIGNING_CERTIFICATE = bytes.fromhex("060b2a864886f70d010910020c")
_SIGNING_CERTIFICATE_V2 = bytes.fromhex("060b2a864886f70d010910022f")
# SEQUENCE of one purpose: individual or commercial code signing.
_STATEMENTS = tuple(bytes.fromhex(f"300c060a2b0601040182370201{last}") for last in ("15", "16"))
_OBSOLETE = "<<<Obsolete>>>".encode("utf-16-be").hex()
_PE_IMAGE_DATA = "060a2b06010401823702010f"
# SpcAttributeTypeAndOptionalValue of a PE image as signing programs write it; it says nothing about the file.
_PE_IMAGES = tuple(
    bytes.fromhex(text)
    for text in (
        f"3033{_PE_IMAGE_DATA}3025030100a020a21e801c{_OBSOLETE}",
        f"3034{_PE_IMAGE_DATA}302603020780a020a21e801c{_OBSOLETE}",
        f"3017{_PE_IMAGE_DATA}3009030100a004a2028000",
    )
)
MAX_NONCE_BYTES = 9


@dataclass(frozen=True, kw_only=True)
class EmbeddedSignature:
    """Who signed (fingerprint of the certificate), and who says since when the signature exists."""

    signer: Digest
    timestamper: Digest | None = None
    stamped: datetime.datetime | None = None

    def __str__(self) -> str:
        text = f"signed with certificate {self.signer[:16]}…"
        return text if self.stamped is None else f"{text}, time-stamped {self.stamped:%Y-%m-%d %H:%M:%S} UTC"


def check_modulo_signature(shipped: bytes, rebuilt: bytes, pins: Authenticode) -> EmbeddedSignature:
    """Say whose signature is all that `shipped` has beyond `rebuilt`; raises SignatureRefused for anything else."""
    signature = extract(shipped)
    expected = attach(rebuilt, signature)
    if expected != shipped:
        at = next((n for n, (a, b) in enumerate(zip(expected, shipped, strict=False)) if a != b), len(expected))
        raise SignatureRefused(f"apart from its signature the file differs from the rebuilt one, first at byte {at}")
    return check_signature(signature, authenticode_digest(rebuilt), pins)


def check_signature(signature: bytes, digest: bytes, pins: Authenticode) -> EmbeddedSignature:
    """Check a PKCS #7 message over the Authenticode digest of a file; raises SignatureRefused."""
    message = parse_signed_data(signature, 1, (SIGNING_TIME, STATEMENT_TYPE), "signature")
    _check_content(message, digest)
    statement = message.signed.get(STATEMENT_TYPE)
    if statement is not None and statement.encoded not in _STATEMENTS:
        raise SignatureRefused("the signature's statement of its purpose is none of the two there are")
    _ = message.signing_time
    certificate = message.check_signer(pins.signers, pins.chain)
    wanted = {TIME_STAMP} if pins.timestampers else set()
    if message.unsigned.keys() != wanted:
        raise SignatureRefused(
            "the signature has an attribute outside of what is signed that is no time stamp"
            if message.unsigned.keys() - wanted
            else "the signature has no time stamp, and the charter asks for one"
        )
    if not wanted:
        return EmbeddedSignature(signer=fingerprint(certificate))
    authority, stamped = _check_token(message.unsigned[TIME_STAMP].encoded, message.signature, pins)
    _check_valid(certificate, stamped, "signer")
    return EmbeddedSignature(signer=fingerprint(certificate), timestamper=fingerprint(authority), stamped=stamped)


def _check_content(message: SignedData, digest: bytes) -> None:
    """SpcIndirectDataContent: a constant that says "a PE image", and the digest of the file."""
    if message.content_type != INDIRECT_DATA:
        raise SignatureRefused("the signature is not one of a file")
    fields = Fields(message.content.content, "signature's content")
    if message.content.tag != SEQUENCE or fields.take(SEQUENCE).encoded not in _PE_IMAGES:
        raise SignatureRefused("the signature's content says more than that it is about a PE image")
    info = Fields(fields.take(SEQUENCE).content, "signature's content")
    fields.finish()
    if info.take(SEQUENCE).encoded != SHA256_ALGORITHM:
        raise SignatureRefused("the signature uses another digest than SHA-256")
    if info.take(OCTET_STRING).encoded != octets(digest):
        raise SignatureRefused("the signature is over another file")
    info.finish()


def _check_token(token: bytes, signature: bytes, pins: Authenticode) -> tuple[x509.Certificate, datetime.datetime]:
    """Check an RFC 3161 token over a signature value: the authority's certificate, and the time it says."""
    known = (SIGNING_TIME, _SIGNING_CERTIFICATE, _SIGNING_CERTIFICATE_V2)
    message = parse_signed_data(token, 3, known, "time stamp")
    if message.content_type != TIME_STAMP_INFO or message.content.tag != OCTET_STRING:
        raise SignatureRefused("the time stamp holds no time")
    if message.unsigned:
        raise SignatureRefused("the time stamp has attributes outside of what is signed")
    stamped = _read_info(message.content.content, sha256(signature).digest())
    authority = message.check_signer(pins.timestampers, pins.chain)
    _check_valid(authority, stamped, "time-stamp authority")
    return authority, stamped


def _read_info(data: bytes, imprint: bytes) -> datetime.datetime:
    """TSTInfo (RFC 3161, 2.4.2): the time, once it is certain that it is said of `imprint`."""
    where = "time stamp"
    fields = Fields(parse(data, SEQUENCE, where).content, where)
    if integer(fields.take(INTEGER), where) != 1:
        raise SignatureRefused("the time stamp is of another version than 1")
    fields.take(OBJECT_IDENTIFIER)
    hashed = Fields(fields.take(SEQUENCE).content, where)
    if hashed.take(SEQUENCE).encoded != SHA256_ALGORITHM or hashed.take(OCTET_STRING).content != imprint:
        raise SignatureRefused("the time stamp is over another signature")
    hashed.finish()
    fields.take(INTEGER)
    stamped = read_time(fields.take(GENERALIZED_TIME), where)
    fields.take_optional(SEQUENCE)
    fields.take_optional(BOOLEAN)
    # The nonce and extensions are the asker's to choose: 8 octets and a sign, and none.
    nonce = fields.take_optional(INTEGER)
    if nonce is not None and len(nonce.content) > MAX_NONCE_BYTES:
        raise SignatureRefused(f"the nonce of the time stamp is longer than {MAX_NONCE_BYTES} octets")
    fields.take_optional(context(0))
    fields.finish()
    return stamped


def _check_valid(certificate: x509.Certificate, when: datetime.datetime, whose: str) -> None:
    if not certificate.not_valid_before_utc <= when <= certificate.not_valid_after_utc:
        raise SignatureRefused(f"the certificate of the {whose} was not valid at the time of the stamp")
