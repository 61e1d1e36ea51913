"""What a party raises against a release or a rule: holds and findings.

The release gate reads neither: the status shows the holds that stand, and findings are for people. Importing this
module makes `parse_statement` know both.
"""

from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import Action, Subject, Use, register


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Stops, withdraws or supersedes a release, or lifts the party's own earlier hold (`lifts`)."""

    party: Identifier
    action: Action
    release: Digest
    reason: Text
    time: int
    lifts: Digest | None = None
    successor: Digest | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise FormatError("hold.reason", "must say why")
        if (self.action == Action.LIFT) != (self.lifts is not None):
            raise FormatError("hold.lifts", "names the hold that a lift ends, and stands in nothing else")

    def subjects(self) -> list[Subject]:
        """The statement of the release."""
        return [("release", self.release)]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An auditor's alarm: a rule that the named statements break."""

    party: Identifier
    rule: Identifier
    about: tuple[Digest, ...]
    text: Text
    time: int

    def __post_init__(self) -> None:
        if not self.about:
            raise FormatError("finding.about", "must name at least one digest")

    def subjects(self) -> list[Subject]:
        """What the finding is about."""
        return [(self.rule, digest) for digest in self.about]


register(Use.HOLD, Hold)
register(Use.FINDING, Finding)
