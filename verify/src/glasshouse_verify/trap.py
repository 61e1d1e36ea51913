"""Trap releases: wrong digests on purpose, known to the members only, which show who rebuilds and who copies.

    digest of a file = complement of SHA-256("glasshouse trap" ‖ 0x00 ‖ nonce ‖ FORM ‖ 0x00 ‖ "<platform>/<file>")
    commitment       = SHA-256("glasshouse trap" ‖ 0x00 ‖ release id ‖ nonce ‖ root of what the source builds to)

(ids, roots and nonce as 32 raw bytes; FORM is "shipped" or "unsigned"; the root is that of `blind.outputs_tree`). A
quorum of the members signs the commitment, which is logged below the release; a member opens it afterwards. So no
mismatch that merely happened can be called a trap later, and no honest release can. A trap cannot be installed: to have
bytes of a complemented hash takes an attack on SHA-256, for those who made it too. Importing this module makes
`parse_statement` know traps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from glasshouse_verify.blind import outputs_tree
from glasshouse_verify.codec import Digest, FileName, Identifier
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import RebuiltFile, Release, ReleasedFile, Subject, Use, register

_DOMAIN = b"glasshouse trap\0"
_SHIPPED, _UNSIGNED = b"shipped\0", b"unsigned\0"


@dataclass(frozen=True, kw_only=True)
class BuiltFile:
    """A file that the trap's source really builds to."""

    platform: Identifier
    name: FileName
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class TrapOpening:
    """What opens the commitment to a trap: the release, the nonce, and what a rebuild of its source gets."""

    release: Digest
    nonce: Digest
    built: tuple[BuiltFile, ...]

    def __post_init__(self) -> None:
        keys = [(file.platform, file.name) for file in self.built]
        if not keys or keys != sorted(set(keys)):
            raise FormatError("trap.opening.built", "must be sorted by platform and name, each once, at least one")

    @property
    def commitment(self) -> Digest:
        """The commitment that this opens."""
        tree = outputs_tree((file.platform, file.name, file.sha256) for file in self.built)
        parts = b"".join(map(bytes.fromhex, (self.release, self.nonce, tree.root)))
        return Digest(sha256(_DOMAIN + parts).hexdigest())


@dataclass(frozen=True, kw_only=True)
class Trap:
    """A commitment to a trap release, signed by a quorum of the members; or, with `opening`, one member's opening."""

    party: Identifier
    commitment: Digest
    time: int
    opening: TrapOpening | None = None

    def __post_init__(self) -> None:
        if self.opening is not None and self.opening.commitment != self.commitment:
            raise FormatError("trap.opening", "does not open the commitment")

    def subjects(self) -> list[Subject]:
        """The commitment, and once it is opened the statement of the release."""
        release = [] if self.opening is None else [("release", self.opening.release)]
        return [("commitment", self.commitment), *release]


register(Use.TRAP, Trap)


def wrong_digests(nonce: str, platform: str, name: str) -> tuple[Digest, Digest]:
    """What a trap names for a file, as shipped and before a signature is embedded: digests of bytes nobody can have."""
    key = f"{platform}/{name}".encode()
    shipped, unsigned = (sha256(_DOMAIN + bytes.fromhex(nonce) + form + key).digest() for form in (_SHIPPED, _UNSIGNED))
    return _complement(shipped), _complement(unsigned)


def _complement(value: bytes) -> Digest:
    return Digest(bytes(byte ^ 0xFF for byte in value).hex())


def is_trap(release: Release, opening: TrapOpening) -> bool:
    """Whether every digest that a release names is the wrong one that the opening's nonce gives, for the same files."""
    built = [(file.platform, file.name) for file in opening.built]
    return built == [(f.platform, f.name) for f in release.files] and all(
        _is_wrong(opening.nonce, file) for file in release.files
    )


def _is_wrong(nonce: str, file: ReleasedFile) -> bool:
    shipped, unsigned = wrong_digests(nonce, file.platform, file.name)
    return file.sha256 == shipped and file.unsigned in (None, unsigned)


def is_rebuilt(opening: TrapOpening, files: Iterable[RebuiltFile]) -> bool:
    """Whether somebody got what the trap's source builds to, file by file."""
    return [(f.platform, f.name, f.rebuilt) for f in files] == [(f.platform, f.name, f.sha256) for f in opening.built]
