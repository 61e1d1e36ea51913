"""Everything the conveyor raises.

ConveyorError
├── InvalidInput            bytes or a document that break their format: `field`, `reason`, `fix`
│   ├── InvalidRecipe
│   ├── InvalidLock
│   ├── InvalidSource       a source tree or archive that cannot become a source manifest
│   └── InvalidPack
├── LockMismatch            a lock that contradicts its recipe, its signed indexes or a public origin: `row`, `reason`
├── RulesMismatch           a compiled rule database that does not follow from its sources
├── Unavailable             the machine or the network lacks something: `reason`, `fix`
│   ├── OriginUnavailable   a mirror, package index or repository gave no usable answer
│   ├── ToolUnavailable     a program or keyring this step needs is not installed
│   └── SandboxUnavailable  bubblewrap cannot isolate a build here
├── SigningFailed           the program that embeds signatures gave none
└── BuildFailed             the build ran and gave no valid output: `reason`, `exit_code`, `log_tail`
"""

from __future__ import annotations


class ConveyorError(Exception):
    """The base of every error of this package."""


class InvalidInput(ConveyorError):
    """A document that breaks its format. `fix` says what to write instead, where that is known."""

    def __init__(self, field: str, reason: str, fix: str = "") -> None:
        super().__init__(f"{field}: {reason}" + (f" ({fix})" if fix else ""))
        self.field = field
        self.reason = reason
        self.fix = fix


class InvalidRecipe(InvalidInput):
    """recipe.toml does not follow docs/spec/recipe.md."""


class InvalidLock(InvalidInput):
    """The lock does not follow docs/spec/lock.md."""


class InvalidSource(InvalidInput):
    """A source tree or source archive breaks docs/spec/source-manifest.md."""


class InvalidPack(InvalidInput):
    """A source pack breaks docs/spec/source-pack.md, or is not encrypted to this recipient."""


class LockMismatch(ConveyorError):
    """A well-formed lock says something that its recipe, signed indexes or public origin do not say."""

    def __init__(self, row: str, reason: str) -> None:
        super().__init__(f"lock row {row!r}: {reason}")
        self.row = row
        self.reason = reason


class RulesMismatch(ConveyorError):
    """A compiled rule database that does not follow from the sources beside it."""


class Unavailable(ConveyorError):
    """The step cannot run here and now; nothing is known about the input."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}; {fix}" if fix else reason)
        self.reason = reason
        self.fix = fix


class OriginUnavailable(Unavailable):
    """A mirror, package index or repository gave no usable answer."""


class ToolUnavailable(Unavailable):
    """A program or keyring that this step needs is not installed."""


class SandboxUnavailable(Unavailable):
    """Bubblewrap cannot isolate a build on this machine. There is no unsandboxed fallback."""


class SigningFailed(ConveyorError):
    """The program that embeds signatures gave none; nothing was released."""


class BuildFailed(ConveyorError):
    """The build ran in the sandbox and gave no valid output."""

    def __init__(self, reason: str, exit_code: int | None = None, log_tail: str = "") -> None:
        super().__init__(reason + (f"\n{log_tail}" if log_tail else ""))
        self.reason = reason
        self.exit_code = exit_code
        self.log_tail = log_tail
