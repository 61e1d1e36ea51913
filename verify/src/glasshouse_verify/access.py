"""Who looked at what a region's sites store: each step of an access is a statement of its own.

Importing this module makes `parse_statement` know them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from glasshouse_verify.codec import Digest, Identifier, Text, encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import Subject, Use, register

# What an access statement says: asked for, agreed to, made use of, refused, ended, counted.
Step = StrEnum("Step", "REQUEST GRANT USE REFUSAL CLOSE TALLY HOLD RELEASE")


@dataclass(frozen=True, kw_only=True)
class Access:
    """One step of somebody's access to what is stored. `about` commits to the object, afresh for each request.

    A request says the purpose; grant, use and close name it by `request`; a refusal says what was tried; `uses` is how
    often it may be, or was, read; `until` when it ends. A tally counts unwrapped data keys by job or grant since the
    one before. Hold and release begin and end a legal hold.
    """

    party: Identifier
    region: Identifier
    step: Step
    time: int
    site: Identifier | None = None
    about: Digest | None = None
    purpose: Text | None = None
    request: Digest | None = None
    uses: int | None = None
    until: int | None = None
    counts: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        named = {Step.GRANT: "request", Step.USE: "request", Step.CLOSE: "request", Step.TALLY: "counts"}
        if getattr(self, member := named.get(self.step, "about")) is None:
            raise FormatError(f"access.{member}", f"is missing in the step {self.step}")
        if self.step in (Step.REQUEST, Step.HOLD) and not (self.purpose or "").strip():
            raise FormatError("access.purpose", "must say why")

    def subjects(self) -> list[Subject]:
        """The commitment or the request; of a tally, itself."""
        itself = sha256(format_json(encode(self))).hexdigest()
        return [(self.step.value, self.request or self.about or itself)]


register(Use.ACCESS, Access)
