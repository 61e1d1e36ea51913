"""Every error of this room.

RegionError
├── InvalidInput            a request or a document that breaks its format: .field, .reason, .fix
│   └── UploadRefused       an upload that is not what it was declared to be; nothing of it was kept
├── AlreadyStored           this customer has stored this content: .receipt
├── JournalConflict         two sites' journals, or a journal and its database, contradict each other
├── SiteRefused             a site's configuration contradicts the charter: .field, .reason, .fix
├── NotSignedIn             a request without a valid token of a customer
├── Forbidden               what the customer's own settings, or its allowance, rule out: .field, .reason, .fix
├── TooManyRequests         a customer asks faster than the site allows: .retry_after_seconds
├── WrongSite               data that belongs to another region: .region, .urls
├── Moved                   this site takes nothing more, its region has moved: .region, .sites
├── SiteAnswered            a site refuses a customer's request: .status, .field, .fix
├── SealSpent               a sealing stream used after its end, or a key given a second stream
├── Unverifiable            sealed or wrapped bytes that fail authentication; nothing of them was used
│   ├── SealBroken          an object altered, cut short, extended, out of order, or another object's or region's
│   └── WrappingBroken      a wrapped data key altered, or wrapped for another object or region, or by another key
├── KeyDestroyed            the key epoch was destroyed: what it wrapped never opens again
├── CustodyRefused          the supervisor's key service declines, and has recorded that: .reason, .field, .fix
└── Unavailable             something this room needs does not answer; trying again later may help
    ├── KeysUnavailable     a key service: its files, token or server
    ├── SiteUnavailable     a site of the customer's region
    ├── CustodyUnavailable  the supervisor's key service
    ├── PeerUnavailable     another site of the region
    ├── Arriving            this site takes nothing yet, its region is still moving to it: .retry_after_seconds
    └── Short               too few sites can store an object now: .retry_after_seconds
"""

from collections.abc import Mapping


class RegionError(Exception):
    """Base of every error of `glasshouse.regions`."""


class InvalidInput(RegionError):
    """Input that breaks its format: `field` names the part, `fix` says what to do about it."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field}: {reason}. {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class UploadRefused(InvalidInput):
    """An upload is not what it was declared to be. Nothing of it was kept."""


class AlreadyStored(RegionError):
    """The customer has stored this content already; `receipt` is the envelope given for it."""

    def __init__(self, receipt: bytes) -> None:
        super().__init__("this content is stored already")
        self.receipt = receipt


class JournalConflict(RegionError):
    """Records contradict each other: one of the sites was rolled back, or is another's. A person has to look."""


class SiteRefused(RegionError):
    """A site's configuration contradicts the charter: `field` names the member, `fix` says what to do about it."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"this site does not serve: {field}: {reason}. {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class NotSignedIn(RegionError):
    """The request carries no token, or one that is unknown or revoked."""


class Forbidden(RegionError):
    """The customer's own settings or its allowance rule this out."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field}: {reason}. {fix}")
        self.field, self.reason, self.fix = field, reason, fix


class TooManyRequests(RegionError):
    """The customer asks faster than the site allows."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many requests of this customer; again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class WrongSite(RegionError):
    """The data belongs to another region; `urls` are its sites."""

    def __init__(self, region: str, country: str, urls: tuple[str, ...]) -> None:
        super().__init__(f"data of {country} belongs to the region {region}, which this site does not serve")
        self.region, self.country, self.urls = region, country, urls


class Moved(RegionError):
    """This site takes nothing more, because its region has moved; `sites` are those that do, with their addresses."""

    def __init__(self, region: str, sites: Mapping[str, str]) -> None:
        super().__init__(f"moved: {', '.join(sites)} take the data of the region {region} now")
        self.region, self.sites = region, dict(sites)


class SiteAnswered(RegionError):
    """A site refuses a request, and says why."""

    def __init__(self, reason: str, status: int, field: str, fix: str) -> None:
        super().__init__(f"{reason}. {fix}" if fix else reason)
        self.status, self.field, self.fix = status, field, fix


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


class PeerUnavailable(Unavailable):
    """Another site of the region does not answer."""


class Arriving(Unavailable):
    """This site takes nothing yet: its region is moving to it, and has not been fenced where it was."""

    retry_after_seconds = 1

    def __init__(self, region: str, left: str) -> None:
        super().__init__(f"arriving: {left} takes the data of the region {region} until it has handed over everything")


class Short(Unavailable):
    """Fewer sites than the charter asks for can store an object now. None of it is acknowledged."""

    def __init__(self, text: str, *, retry_after_seconds: int = 5) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class SiteUnavailable(Unavailable):
    """A site of the customer's region does not answer, or cannot take data now."""
