"""The answer of the gate: claims, each verified, mismatch or undecided, and the exit code that follows from them."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from glasshouse_verify.errors import VerifyError


class Outcome(IntEnum):
    """Exit codes of `glasshouse verify`."""

    VERIFIED = 0
    UNPARSEABLE = 1
    USAGE = 2
    MISMATCH = 3
    NOT_AUTHORISED = 4
    UNDECIDED = 5


PRECEDENCE = (Outcome.NOT_AUTHORISED, Outcome.MISMATCH, Outcome.UNDECIDED, Outcome.VERIFIED)


# What is known of a claim.
State = StrEnum("State", "VERIFIED MISMATCH UNDECIDED")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One line of the answer: who checked what, when (Unix seconds), how to check it again, and what it cannot show."""

    claim: str = ""
    outcome: Outcome = Outcome.VERIFIED
    text: str
    by: tuple[str, ...] = ()
    when: int | None = None
    recheck: str = ""
    limit: str = ""

    @property
    def state(self) -> State:
        """One of the three states; a signer who is not entitled is a mismatch with the charter."""
        if self.outcome == Outcome.VERIFIED:
            return State.VERIFIED
        return State.UNDECIDED if self.outcome == Outcome.UNDECIDED else State.MISMATCH


@dataclass(frozen=True, kw_only=True)
class Report:
    """The claims in order and the outcome that follows from them."""

    claims: tuple[Claim, ...]

    @property
    def outcome(self) -> Outcome:
        """The first of PRECEDENCE that any claim has."""
        return next(o for o in PRECEDENCE if any(c.outcome == o for c in self.claims))


class Refused(VerifyError):
    """A claim that does not hold although everybody was entitled to what they said; all other errors deny that."""

    outcome: Outcome


class Mismatch(Refused):
    """The file or the content contradicts valid evidence."""

    outcome = Outcome.MISMATCH


class Undecided(Refused):
    """There is not enough evidence yet, or it is too old."""

    outcome = Outcome.UNDECIDED


def utc(seconds: int) -> str:
    """Unix seconds as ISO 8601 in UTC, by the civil-from-days algorithm; no clock or locale is consulted."""
    days, rest = divmod(seconds, 86_400)
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (month <= 2)
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    return f"{year:04}-{month:02}-{day:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"
