"""Signed messages of PKCS #7 (RFC 2315) and CMS (RFC 5652), in the one shape that an Authenticode signature has.

    ContentInfo { signedData, SignedData { version, {sha256}, content, certificates, {signer} } }

Exactly one signer, SHA-256, RSA with PKCS #1 v1.5. Every octet has an owner: a field that is checked, a certificate
that is pinned by its digest, an attribute whose type the caller knows, or the signature over them. Revocation lists,
further signers, further digests and unknown attributes are refused, for anything could hide in them.
"""

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from glasshouse.supervision.der import (
    GENERALIZED_TIME,
    INTEGER,
    OBJECT_IDENTIFIER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    UTC_TIME,
    Element,
    Fields,
    context,
    integer,
    parse,
)
from glasshouse.supervision.errors import SignatureRefused

SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
SIGNING_TIME = bytes.fromhex("06092a864886f70d010905")
# AlgorithmIdentifiers outside of what is signed: of two spellings that mean the same, the one that everybody writes.
SHA256_ALGORITHM = bytes.fromhex("300d06096086480165030402010500")
_RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


@dataclass(frozen=True, kw_only=True)
class SignedData:
    """A parsed message; nothing is verified yet. Object identifiers are DER.

    `signer` is issuer and serial number, one after the other in DER; `signed_encoded` what the signature is over.
    """

    content_type: bytes
    content: Element
    certificates: tuple[bytes, ...]
    signer: bytes
    signed: Mapping[bytes, Element]
    signed_encoded: bytes
    signature: bytes
    unsigned: Mapping[bytes, Element]
    where: str

    def check_signer(self, signers: Collection[str], chain: Collection[str]) -> x509.Certificate:
        """The signer's certificate, once its signature over content and attributes holds.

        `signers` and `chain` are fingerprints: SHA-256 of the DER, lowercase hex. The message has to carry one
        certificate of `signers`, besides it at most those of `chain`, each once. Raises SignatureRefused.
        """
        carried = {sha256(data).hexdigest(): data for data in self.certificates}
        found = [data for print_, data in carried.items() if print_ in signers]
        if not carried.keys() <= {*signers, *chain}:
            raise SignatureRefused(f"the {self.where} carries a certificate that the charter does not pin")
        if len(found) != 1 or len(carried) != len(self.certificates):
            raise SignatureRefused(f"the {self.where} does not carry one signer's certificate, and each only once")
        if _issuer_and_serial(found[0], self.where) != self.signer:
            raise SignatureRefused(f"the {self.where} names another signer than the certificate that the charter pins")
        certificate = _load_certificate(found[0], self.where)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise SignatureRefused(f"the certificate of the {self.where} has no RSA key")
        if self.signed[MESSAGE_DIGEST].encoded != octets(sha256(self.content.content).digest()):
            raise SignatureRefused(f"the {self.where} is over other content than it carries")
        try:
            key.verify(self.signature, self.signed_encoded, PKCS1v15(), SHA256())
        except InvalidSignature:
            raise SignatureRefused(f"the {self.where} does not verify under the pinned certificate") from None
        return certificate

    @cached_property
    def signing_time(self) -> datetime.datetime | None:
        """When the signer says it signed; None where it does not say."""
        attribute = self.signed.get(SIGNING_TIME)
        return None if attribute is None else read_time(attribute, self.where)


def parse_signed_data(data: bytes, version: int, known: Collection[bytes], where: str) -> SignedData:
    """Parse a whole message strictly; raises SignatureRefused, which names the message by `where`.

    `version` is that of SignedData; `known` are the types of signed attributes that may stand beside content type and
    message digest. Which unsigned attributes may stand there is for the caller to say.
    """
    info = Fields(parse(data, SEQUENCE, where).content, where)
    if info.take(OBJECT_IDENTIFIER).encoded != SIGNED_DATA:
        raise SignatureRefused(f"the {where} is no signed message")
    outer = info.take(context(0))
    info.finish()
    fields = Fields(parse(outer.content, SEQUENCE, where).content, where)
    if integer(fields.take(INTEGER), where) != version:
        raise SignatureRefused(f"the {where} has another version than {version}")
    _expect_sha256(parse(fields.take(SET).content, SEQUENCE, f"{where}'s one digest algorithm"), where)
    content_type, content = _content(fields.take(SEQUENCE), where)
    certificates = fields.take_optional(context(0))
    signer = Fields(parse(fields.take(SET).content, SEQUENCE, f"{where}'s one signer").content, where)
    fields.finish()
    return _signer(signer, content_type, content, certificates, known, where)


def _content(element: Element, where: str) -> tuple[bytes, Element]:
    fields = Fields(element.content, where)
    kind = fields.take(OBJECT_IDENTIFIER).encoded
    # PKCS #7 has the value itself here, CMS an OCTET STRING; what is hashed is the content octets in both.
    wrapper = fields.take(context(0))
    fields.finish()
    inner = Fields(wrapper.content, where)
    content = inner.take(SEQUENCE, OCTET_STRING)
    inner.finish()
    return kind, content


def _signer(
    fields: Fields,
    content_type: bytes,
    content: Element,
    certificates: Element | None,
    known: Collection[bytes],
    where: str,
) -> SignedData:
    if integer(fields.take(INTEGER), where) != 1:
        raise SignatureRefused(f"the signer of the {where} is not named by issuer and serial number")
    signer = fields.take(SEQUENCE).content
    _expect_sha256(fields.take(SEQUENCE), where)
    attributes = fields.take(context(0))
    if fields.take(SEQUENCE).encoded != _RSA_ALGORITHM:
        raise SignatureRefused(f"the {where} is of another kind than RSA with PKCS #1 v1.5")
    signature = fields.take(OCTET_STRING).content
    unsigned = fields.take_optional(context(1))
    fields.finish()
    signed = _attributes(attributes.content, where)
    if not {CONTENT_TYPE, MESSAGE_DIGEST} <= signed.keys() <= {CONTENT_TYPE, MESSAGE_DIGEST, *known}:
        raise SignatureRefused(f"the {where} lacks a signed attribute, or has one that is not allowed")
    if signed[CONTENT_TYPE].encoded != content_type:
        raise SignatureRefused(f"the {where} is over another type of content than it carries")
    carried = () if certificates is None else Fields(certificates.content, where).take_all(SEQUENCE)
    return SignedData(
        content_type=content_type,
        content=content,
        certificates=tuple(certificate.encoded for certificate in carried),
        signer=signer,
        signed=signed,
        # The signature is over the attributes as a SET, not under the tag that they have in the message.
        signed_encoded=bytes([SET]) + attributes.encoded[1:],
        signature=signature,
        unsigned={} if unsigned is None else _attributes(unsigned.content, where),
        where=where,
    )


def _issuer_and_serial(certificate: bytes, where: str) -> bytes:
    """As a signed message names a certificate (RFC 5280, 4.1)."""
    fields = Fields(Fields(parse(certificate, SEQUENCE, where).content, where).take(SEQUENCE).content, where)
    fields.take_optional(context(0))
    serial = fields.take(INTEGER).encoded
    fields.take(SEQUENCE)
    return fields.take(SEQUENCE).encoded + serial


def _load_certificate(data: bytes, where: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise SignatureRefused(f"the certificate of the {where} cannot be read") from error


def _attributes(data: bytes, where: str) -> dict[bytes, Element]:
    """Type → its one value."""
    found: dict[bytes, Element] = {}
    for attribute in Fields(data, where).take_all(SEQUENCE):
        fields = Fields(attribute.content, where)
        kind, values = fields.take(OBJECT_IDENTIFIER).encoded, Fields(fields.take(SET).content, where)
        fields.finish()
        value = values.take(SEQUENCE, OBJECT_IDENTIFIER, OCTET_STRING, UTC_TIME, GENERALIZED_TIME)
        values.finish()
        if kind in found:
            raise SignatureRefused(f"the {where} has an attribute twice")
        found[kind] = value
    if not found:
        raise SignatureRefused(f"the {where} has an empty set of attributes")
    return found


def _expect_sha256(element: Element, where: str) -> None:
    if element.encoded != SHA256_ALGORITHM:
        raise SignatureRefused(f"the {where} uses another digest than SHA-256")


def octets(data: bytes) -> bytes:
    """A short OCTET STRING."""
    return bytes([OCTET_STRING, len(data)]) + data


def read_time(element: Element, where: str) -> datetime.datetime:
    """A UTCTime or GeneralizedTime in whole seconds, or GeneralizedTime with a fraction; always in UTC."""
    form = "%y%m%d%H%M%SZ" if element.tag == UTC_TIME else "%Y%m%d%H%M%SZ"
    text = element.content.decode("ascii", errors="replace")
    whole, dot, fraction = text.partition(".")
    if dot and element.tag == GENERALIZED_TIME:
        digits = fraction.removesuffix("Z")
        # DER writes no zeros at the end of a fraction (X.690, 11.7).
        if not (fraction.endswith("Z") and digits.isdecimal() and digits.isascii() and digits[-1] != "0"):
            raise SignatureRefused(f"a time in the {where} is not in DER")
        text = f"{whole}Z"
    if not (len(text) == (13 if element.tag == UTC_TIME else 15) and text[:-1].isdecimal() and text.isascii()):
        raise SignatureRefused(f"a time in the {where} is not in DER")
    try:
        return datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
    except ValueError as error:
        raise SignatureRefused(f"a time in the {where} does not exist") from error
