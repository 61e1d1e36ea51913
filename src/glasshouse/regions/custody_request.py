"""What a site asks of a region's custodian, and what that answers.

    POST /custody/v1/unwrap
    glasshouse-key: 65dce41f…                        the id of the site's key
    glasshouse-signature: YQ2f…                      over "glasshouse custody request v1\\n" ‖ body

    {"custodian":"council","id":"9d1c…","items":[{"blob":"hHfx…","handle":"5a5a…"}],
     "reason":{"job":"analysis"},"region":"au","site":"zurich-1","time":1800000000}

The body is canonical JSON, signed as it is sent. It names the custodian, so that no other one takes it; `id` is random
and taken once; `time` is close to the custodian's. The answer lists what each blob held, still wrapped by the site:

    {"opened":["r2Vu…"],"schema":"glasshouse.custody/v1"}

Specification: docs/spec/custody-http.md.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from glasshouse_verify.codec import Digest, Identifier, decode, encode
from glasshouse_verify.ed25519 import verify
from glasshouse_verify.encoding import decode_base64, encode_base64, format_json, parse_json
from glasshouse_verify.errors import FormatError

from glasshouse.parties.signer import Signer

PATH = "/custody/v1/unwrap"
KEY_HEADER, SIGNATURE_HEADER = "glasshouse-key", "glasshouse-signature"
ANSWER_SCHEMA = "glasshouse.custody/v1"
MAX_ITEMS = 1_000
MAX_BLOB = 1_024
MAX_REQUEST = 2 << 20
NONCE_BYTES = 32
_DOMAIN = b"glasshouse custody request v1\n"


@dataclass(frozen=True, kw_only=True)
class Item:
    """An object by its handle, and the blob of its wrapping."""

    handle: Digest
    blob: bytes


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why: a machine's job by its name, or a grant by its statement id, with what opens the grant's commitment."""

    job: Identifier | None = None
    grant: Digest | None = None
    nonce: bytes | None = None

    def __post_init__(self) -> None:
        if (self.job is None) == (self.grant is None):
            raise FormatError("request.reason", "must name either a job or a grant")
        if (self.nonce is None) != (self.grant is None) or len(self.nonce or bytes(NONCE_BYTES)) != NONCE_BYTES:
            raise FormatError("request.reason.nonce", f"must be {NONCE_BYTES} bytes beside a grant, and absent else")


class Opens(Protocol):
    """Opens the custodian's layer of wrappings: `custody_client.CustodyClient`."""

    def unwrap(self, items: Sequence[Item], reason: Reason) -> tuple[bytes, ...]:
        """What the blobs held, in their order. Raises CustodyRefused, CustodyUnavailable."""


@dataclass(frozen=True, kw_only=True)
class UnwrapRequest:
    """The whole request; `time` in Unix seconds."""

    custodian: Identifier
    region: Identifier
    site: Identifier
    reason: Reason
    items: tuple[Item, ...]
    time: int
    id: Digest

    def __post_init__(self) -> None:
        if not 1 <= len(self.items) <= MAX_ITEMS:
            raise FormatError("request.items", f"{len(self.items)}, expected 1 to {MAX_ITEMS}")
        if len({item.handle for item in self.items}) < len(self.items):
            raise FormatError("request.items", "an object is asked for twice")
        if any(len(item.blob) > MAX_BLOB for item in self.items):
            raise FormatError("request.items", f"a blob has more than {MAX_BLOB} bytes")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the blobs held, in their order."""

    opened: tuple[bytes, ...]
    schema: str = ANSWER_SCHEMA


def format_request(request: UnwrapRequest) -> bytes:
    """The body of a request."""
    return format_json(encode(request))


def parse_request(body: bytes) -> UnwrapRequest:
    """Read a body; raises FormatError naming the member."""
    request: UnwrapRequest = decode(UnwrapRequest, parse_json(body, "request", MAX_REQUEST), "request")
    return request


def format_answer(answer: Answer) -> bytes:
    """The body of an answer."""
    return format_json(encode(answer))


def parse_answer(body: bytes, count: int) -> tuple[bytes, ...]:
    """What `count` blobs held; raises FormatError."""
    answer: Answer = decode(Answer, parse_json(body, "answer", MAX_REQUEST), "answer")
    if len(answer.opened) != count:
        raise FormatError("answer.opened", f"{len(answer.opened)}, expected {count}")
    return answer.opened


def new_id() -> Digest:
    """A random id for one request."""
    return Digest(secrets.token_hex(32))


def sign_request(body: bytes, signer: Signer) -> dict[str, str]:
    """The headers that sign a body; raises KeyUnavailable."""
    return {KEY_HEADER: signer.keyid, SIGNATURE_HEADER: encode_base64(signer.sign(_DOMAIN + body))}


def check_signature(body: bytes, public: bytes, signature: str) -> None:
    """Raises FormatError or SignatureError unless `signature` is that of the key over the body."""
    verify(public, _DOMAIN + body, decode_base64(signature, SIGNATURE_HEADER, 64), "the request")


def access_commitment(handle: str, nonce: bytes) -> Digest:
    """How a statement about access names an object: SHA-256(handle ‖ nonce), the nonce fresh for each statement."""
    return Digest(sha256(bytes.fromhex(handle) + nonce).hexdigest())
