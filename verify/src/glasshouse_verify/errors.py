"""Every error the verifier raises on purpose.

    VerifyError
    ├── FormatError      bytes do not follow their format; .field says where, .reason says why
    ├── SignatureError   a known key's signature fails, or no known key signed
    ├── ProofError       a Merkle proof does not prove what it is shown for
    ├── QuorumError      a witness policy or a quorum is not satisfied
    └── CharterError     a charter breaks its own rules, its chain is broken, or a key is not entitled

Callers outside the package catch `VerifyError`; nothing else is meant to escape, whatever the bytes.
"""


class VerifyError(Exception):
    """Base of all errors of this package: nothing was verified."""


class FormatError(VerifyError):
    """Bytes or values that do not follow their wire format.

    `field` names the place in the terms of the format's specification page, `reason` says what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class SignatureError(VerifyError):
    """A signature of a known key does not verify, or no known key signed."""


class ProofError(VerifyError):
    """A Merkle proof does not lead to the root it is shown for."""


class QuorumError(VerifyError):
    """Too few, or the wrong, parties signed."""


class CharterError(VerifyError):
    """A charter breaks its own rules, its chain is broken, or a key is not entitled to what it signed."""
