"""Signers: who holds a private key, behind one interface.

`FileSigner` holds it in this process, `hardware.HardwareSigner` in a PKCS#11 token. `AgentSigner` keeps either in a
process of its own, which signs nothing but statements of the kinds its key is meant for; what builds software talks to
that process and never sees key or PIN.
"""

import contextlib
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.codec import Digest
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, pae
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.statement import Use

from glasshouse.parties.errors import KeyUnavailable, PartyError, PinRefused, SigningRefused
from glasshouse.parties.hardware import HardwareSigner, TokenKey, format_place
from glasshouse.parties.keys import load_key, raw_public

MAX_MESSAGE = 100_000
OK, REFUSED, NO_KEY, BAD_PIN = 0, 1, 2, 3


class Signer(Protocol):
    """Signs messages with one Ed25519 key. A signature returned is valid; no order or durability is promised."""

    @property
    def public(self) -> bytes:
        """The raw 32-byte public key."""

    @property
    def keyid(self) -> str:
        """Hex SHA-256 of the public key."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of `message`; raises SigningRefused or KeyUnavailable."""


class FileSigner:
    """A key held in this process."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = raw_public(key)
        self.keyid = keyid(self.public)

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a key file; raises KeyUnavailable."""
        return cls(load_key(path))

    def sign(self, message: bytes) -> bytes:
        """Sign in this process."""
        return self._key.sign(message)


def open_key(place: Path | TokenKey) -> Signer:
    """The key in a file or a token, held by this process; raises KeyUnavailable."""
    return FileSigner.load(place) if isinstance(place, Path) else HardwareSigner(place)


class AgentSigner:
    """A key held by a child process (`glasshouse.parties.agent`), entitled to `uses` only.

    Requests are a 4-byte big-endian length and the message; answers a status byte, a 2-byte length, and the signature
    or a reason.
    """

    def __init__(self, place: Path | TokenKey, uses: Collection[Use]) -> None:
        named = str(place.absolute()) if isinstance(place, Path) else format_place(place)
        command = [sys.executable, "-m", "glasshouse.parties.agent", named, *sorted(uses)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.public = self._answer()
        except PartyError:
            self.close()
            raise
        self.keyid = keyid(self.public)

    def sign(self, message: bytes) -> bytes:
        """Have the child sign; raises SigningRefused with its reason."""
        if len(message) > MAX_MESSAGE:
            raise SigningRefused(f"a message has at most {MAX_MESSAGE} bytes")
        if self._process.stdin is None:
            raise KeyUnavailable("the signing process has no input")
        try:
            self._process.stdin.write(len(message).to_bytes(4, "big") + message)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise KeyUnavailable("the signing process has ended") from None
        return self._answer()

    def _answer(self) -> bytes:
        if self._process.stdout is None:
            raise KeyUnavailable("the signing process has no output")
        head = self._process.stdout.read(3)
        if len(head) < 3:
            raise KeyUnavailable("the signing process has ended")
        body = self._process.stdout.read(int.from_bytes(head[1:], "big"))
        if head[0] == BAD_PIN:
            raise PinRefused(body.decode())
        if head[0] == NO_KEY:
            raise KeyUnavailable(body.decode())
        if head[0] != OK:
            raise SigningRefused(body.decode())
        return body

    def close(self) -> None:
        """End the child."""
        for pipe in (self._process.stdin, self._process.stdout):
            # What a dead child did not read any more cannot be flushed.
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def sign_statement(payload: bytes, *signers: Signer) -> Envelope:
    """The envelope of a payload signed by each signer."""
    message = pae(payload)
    signatures = (EnvelopeSignature(keyid=Digest(s.keyid), sig=s.sign(message)) for s in signers)
    return Envelope(payload=payload, signatures=tuple(signatures))


def add_signature(envelope: Envelope, signer: Signer) -> Envelope:
    """The envelope with one more signature; unchanged where the key has signed it already."""
    if any(s.keyid == signer.keyid for s in envelope.signatures):
        return envelope
    added = sign_statement(envelope.payload, signer)
    return Envelope(payload=envelope.payload, signatures=envelope.signatures + added.signatures)
