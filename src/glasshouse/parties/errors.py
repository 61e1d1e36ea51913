"""Every error of this room.

PartyError
├── SettingsError     node.toml or another file a person wrote is wrong: .field and .fix say where and what to do
├── KeyUnavailable    a key is missing, unreadable, or readable by others
│   └── PinRefused    a token refused its PIN: never repeat it, a few wrong ones lock the token
├── SigningRefused    the signing process declined: not a statement, or not one this key may sign
└── QueryRefused      a time-stamp query that the authority cannot read
"""


class PartyError(Exception):
    """Base of the errors of `glasshouse.parties`."""


class SettingsError(PartyError):
    """A file that a person wrote is wrong."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field}: {reason}. {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class KeyUnavailable(PartyError):
    """A private key cannot be used."""


class PinRefused(KeyUnavailable):
    """A token refused its PIN."""


class SigningRefused(PartyError):
    """The signer declined to sign."""


class QueryRefused(PartyError):
    """A time-stamp query is malformed."""
