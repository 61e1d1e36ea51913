"""What the supervisor of a move asks a site for, to open the objects that it samples, and what the site answers.

    POST /relocation/v1/openings
    glasshouse-key: 65dce41f…                      the id of the supervisor's key
    glasshouse-signature: YQ2f…                    over "glasshouse relocation request v1\\n" ‖ body

    {"answer_key":"hSDw…","handles":["5a5a…"],"id":"9d1c…","region":"au","relocation":"au-2026","site":"zurich-1",
     "time":1800000000}

The body is canonical JSON, signed as it is sent; `id` is random and taken once, `time` close to the site's, `after` the
erasure where the sample is the one after it. The answer is sealed to `answer_key`, a key that the supervisor made for
this request, so that it does not matter who carries it, and signed by the site, so that nobody else can answer:

    glasshouse-key, glasshouse-signature           over "glasshouse relocation answer v1\\n" ‖ SHA-256(request) ‖ answer
    HPKE(answer_key, {"openings":[…],"schema":"glasshouse.relocation-openings/v1"})      for this request

Specification: docs/spec/relocation-http.md.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from glasshouse_verify.codec import Digest, Identifier, PublicKey, decode, encode
from glasshouse_verify.ed25519 import verify
from glasshouse_verify.encoding import decode_base64, encode_base64, format_json, parse_json
from glasshouse_verify.errors import FormatError

from glasshouse.parties.signer import Signer
from glasshouse.regions.seal import KEY_BYTES

PATH = "/relocation/v1/openings"
LISTS_PATH = "/relocation/v1/{relocation}/{name}"
KEY_HEADER, SIGNATURE_HEADER, TIME_HEADER = "glasshouse-key", "glasshouse-signature", "glasshouse-time"
ANSWER_SCHEMA = "glasshouse.relocation-openings/v1"
MAX_HANDLES = 500
MAX_REQUEST = 64 << 10
MAX_ANSWER = 2 << 20
_INFO = b"glasshouse relocation openings v1\n"
_REQUEST, _LIST = b"glasshouse relocation request v1\n", b"glasshouse relocation list v1\n"
_ANSWER = b"glasshouse relocation answer v1\n"
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True, kw_only=True)
class OpeningsRequest:
    """The whole request; `time` in Unix seconds."""

    region: Identifier
    relocation: Identifier
    site: Identifier
    handles: tuple[Digest, ...]
    answer_key: PublicKey
    time: int
    id: Digest
    after: Digest | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.handles) <= MAX_HANDLES or list(self.handles) != sorted(set(self.handles)):
            raise FormatError("request.handles", f"must be 1 to {MAX_HANDLES}, sorted, each once")


@dataclass(frozen=True, kw_only=True)
class ObjectFacts:
    """What a row of a site's object commits to, beside the SHA-256 and the size of the content."""

    category: Identifier
    customer: Identifier
    retention: int
    salt: Digest


@dataclass(frozen=True, kw_only=True)
class VersionFacts:
    """Which version of which object of a foreign store it is; `marker` where it is a delete marker, without content."""

    key: bytes
    ordinal: int
    marker: bool


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What opens one object: its data key, the digest of its ciphertext, and what else its row commits to.

    An object that was erased since the fence has nothing of it; a delete marker has no data key and no ciphertext.
    """

    handle: Digest
    data_key: bytes | None = None
    sealed: Digest | None = None
    object: ObjectFacts | None = None
    version: VersionFacts | None = None

    def __post_init__(self) -> None:
        content = self.object is not None or (self.version is not None and not self.version.marker)
        if self.data_key is not None and len(self.data_key) != KEY_BYTES:
            raise FormatError("opening.data_key", f"must have {KEY_BYTES} bytes")
        if (self.data_key is None) != (self.sealed is None) or (self.data_key is None) == content:
            raise FormatError(
                "opening", "has a data key and a ciphertext's digest where it has content, and only there"
            )
        if self.object is not None and self.version is not None:
            raise FormatError("opening", "is either of a site's object or of a store's version")

    @property
    def erased(self) -> bool:
        """Whether the site says that it has nothing of it any more."""
        return self.object is None and self.version is None


@dataclass(frozen=True, kw_only=True)
class Openings:
    """What a site answers, in the order of the request."""

    openings: tuple[Opening, ...]
    schema: str = ANSWER_SCHEMA


def format_request(request: OpeningsRequest) -> bytes:
    """The body of a request."""
    return format_json(encode(request))


def parse_request(body: bytes) -> OpeningsRequest:
    """Read a body; raises FormatError naming the member."""
    request: OpeningsRequest = decode(OpeningsRequest, parse_json(body, "request", MAX_REQUEST), "request")
    return request


def new_id() -> Digest:
    """A random id for one request."""
    return Digest(secrets.token_hex(32))


def sign_request(body: bytes, signer: Signer) -> dict[str, str]:
    """The headers that sign a request's body; raises KeyUnavailable."""
    return _signed(_REQUEST + body, signer)


def check_request(body: bytes, public: bytes, signature: str) -> None:
    """Raises FormatError or SignatureError unless `signature` is that of the key over the body."""
    verify(public, _REQUEST + body, decode_base64(signature, SIGNATURE_HEADER, 64), "the request")


def sign_list_request(site: str, relocation: str, name: str, time: int, signer: Signer) -> dict[str, str]:
    """The headers of a request for one of a site's lists, at Unix time `time`; raises KeyUnavailable."""
    return {TIME_HEADER: str(time), **_signed(_list_text(site, relocation, name, time), signer)}


def check_list_request(site: str, relocation: str, name: str, time: int, public: bytes, signature: str) -> None:
    """Raises FormatError or SignatureError unless the request for a list is signed with the key."""
    text = _list_text(site, relocation, name, time)
    verify(public, text, decode_base64(signature, SIGNATURE_HEADER, 64), "the request")


def seal_answer(openings: tuple[Opening, ...], request: OpeningsRequest, body: bytes) -> bytes:
    """The answer to a request whose body was `body`, for its supervisor's eyes. Raises FormatError for a bad key."""
    text = format_json(encode(Openings(openings=openings)))
    try:
        key = X25519PublicKey.from_public_bytes(request.answer_key)
        return _SUITE.encrypt(text, key, _INFO + sha256(body).digest())
    except ValueError as error:
        raise FormatError("request.answer_key", "is no X25519 public key") from error


def sign_answer(answer: bytes, body: bytes, signer: Signer) -> dict[str, str]:
    """The headers that sign an answer; raises KeyUnavailable."""
    return _signed(_answer_text(answer, body), signer)


def open_answer(
    answer: bytes, body: bytes, key: X25519PrivateKey, public: bytes, signature: str
) -> tuple[Opening, ...]:
    """What a site has answered to the request `body`, once its signature holds.

    Raises SignatureError for somebody else's answer; FormatError for one of the site's that is none.
    """
    verify(public, _answer_text(answer, body), decode_base64(signature, SIGNATURE_HEADER, 64), "the answer")
    try:
        text = _SUITE.decrypt(answer, key, _INFO + sha256(body).digest())
    except (InvalidTag, ValueError) as error:
        raise FormatError("answer", "does not open with the key of the request") from error
    found: Openings = decode(Openings, parse_json(text, "answer", MAX_ANSWER), "answer")
    return found.openings


def _signed(text: bytes, signer: Signer) -> dict[str, str]:
    return {KEY_HEADER: signer.keyid, SIGNATURE_HEADER: encode_base64(signer.sign(text))}


def _list_text(site: str, relocation: str, name: str, time: int) -> bytes:
    return _LIST + f"{site}\n{relocation}\n{name}\n{time}\n".encode()


def _answer_text(answer: bytes, body: bytes) -> bytes:
    return _ANSWER + sha256(body).digest() + answer
