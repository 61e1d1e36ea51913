"""Every error of this room.

RegionError
├── InvalidInput            a request or a document that breaks its format: .field, .reason, .fix
├── SealSpent               a sealing stream used after its end, or a key given a second stream
├── Unverifiable            sealed or wrapped bytes that fail authentication; nothing of them was used
│   ├── SealBroken          an object altered, cut short, extended, out of order, or another object's or region's
│   └── WrappingBroken      a wrapped data key altered, or wrapped for another object or region, or by another key
├── KeyDestroyed            the key epoch was destroyed: what it wrapped never opens again
├── CustodyRefused          the supervisor's key service declines, and has recorded that: .reason, .field, .fix
└── Unavailable             something this room needs does not answer; trying again later may help
    ├── KeysUnavailable     a key service: its files, token or server
    └── CustodyUnavailable  the supervisor's key service
"""


class RegionError(Exception):
    """Base of every error of `glasshouse.regions`."""


class InvalidInput(RegionError):
    """Input that breaks its format: `field` names the part, `fix` says what to do about it."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field}: {reason}. {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class SealSpent(RegionError):
    """A sealing stream was used after its end, or its key was to seal a second stream."""


class Unverifiable(RegionError):
    """Bytes that fail authentication."""


class SealBroken(Unverifiable):
    """A sealed object is not what was sealed under this handle and region."""


class WrappingBroken(Unverifiable):
    """A wrapped data key is not what was wrapped for this handle and region."""


class KeyDestroyed(RegionError):
    """The key epoch was destroyed: what it wrapped never opens again."""


class CustodyRefused(RegionError):
    """The supervisor's key service declines and has recorded that; `reason` is one of `custody.Refusal`'s values."""

    def __init__(self, reason: str, text: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(text)
        self.reason, self.field, self.fix = reason, field, fix


class Unavailable(RegionError):
    """Something this room needs does not answer; trying again later may help."""


class KeysUnavailable(Unavailable):
    """The files, the token or the server that hold the site's wrapping keys cannot be used."""


class CustodyUnavailable(Unavailable):
    """The supervisor's key service does not answer."""
