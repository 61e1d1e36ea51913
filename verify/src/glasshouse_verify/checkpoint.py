"""Checkpoints: the note text by which a log commits to its first `size` entries (c2sp.org/tlog-checkpoint).

    example.com/behind-the-sofa
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

Origin, tree size in decimal, base64 of the 32-byte RFC 6962 root, then optional extension lines; every line non-empty
and ended by a newline. Nobody vouches for extension lines; they are carried so that signatures hold.
"""

from dataclasses import dataclass

from glasshouse_verify.encoding import decode_base64, encode_base64, parse_decimal
from glasshouse_verify.errors import FormatError


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A log's claim about its first `size` entries; true only as far as the signatures of its note reach."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note as a checkpoint; `FormatError` unless `format_checkpoint` would write this text."""
    *lines, rest = text.split("\n")
    if rest or len(lines) < 3:
        raise FormatError("checkpoint", "fewer than three lines that end in a newline")
    if not all(lines):
        raise FormatError("checkpoint", "empty line")
    origin, size, root, *extensions = lines
    return Checkpoint(
        origin=origin,
        size=parse_decimal(size, "checkpoint size"),
        root=decode_base64(root, "checkpoint root", 32),
        extensions=tuple(extensions),
    )


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Write the note text of a checkpoint; `FormatError` if `parse_checkpoint` would not read the same one back."""
    lines = (checkpoint.origin, str(checkpoint.size), encode_base64(checkpoint.root), *checkpoint.extensions)
    text = "".join(f"{line}\n" for line in lines)
    if parse_checkpoint(text) != checkpoint:
        raise FormatError("checkpoint", "a line holds a newline")
    return text
