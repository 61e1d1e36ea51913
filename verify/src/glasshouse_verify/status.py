"""The rows of the status manifest: what stands of every released file, by vendor/product/version/platform/file.

{"conflicts":[],"holds":[],"index":14,"key":"acme/yara-python/4.5.4/linux-x86_64/yara_python-4.5.4-….whl",
 "release":"…","sha256":"…","verdicts":{"auditor-lab":{"blind":false,"statement":"…","verdict":"identical"},"second":{}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.statement import Action, Release, ReleasedFile, Verdict


@dataclass(frozen=True, kw_only=True)
class StandingVerdict:
    """A rebuilder's latest verdict on one file; no members where it has given none."""

    verdict: Verdict | None = None
    statement: Digest | None = None
    blind: bool | None = None


@dataclass(frozen=True, kw_only=True)
class StandingHold:
    """A hold, withdrawal or supersession that nobody has lifted."""

    party: Identifier
    action: Action
    statement: Digest
    reason: Text
    time: int


@dataclass(frozen=True, kw_only=True)
class StatusRow:
    """One released file as the status manifest shows it; `conflicts` are other releases of the same version.

    `key` is vendor/product/version/platform/file. `release` stands at `index`, its lowest valid entry. Of many holds
    and conflicts the first are named, of a long reason its beginning: a row stays short whatever is logged.
    """

    key: str
    release: Digest
    index: int
    sha256: Digest
    verdicts: Mapping[Identifier, StandingVerdict]
    holds: tuple[StandingHold, ...]
    conflicts: tuple[Digest, ...]


def status_key(release: Release, file: ReleasedFile) -> str:
    """The key of a file's row in the status manifest."""
    return f"{release.product}/{release.version}/{file.platform}/{file.name}"
