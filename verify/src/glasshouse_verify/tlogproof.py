"""Ledger proofs: one file that shows offline that an entry is in a witnessed log (c2sp.org/tlog-proof).

    c2sp.org/tlog-proof@v1
    index 73894
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
    B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=

    example.com/fancylog
    109482
    sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

    — example.com/fancylog hI2DJw…
    — witness1.example mJirIklj…

The version line; perhaps "extra " and base64 of bytes that nothing authenticates; "index " and the entry's index; the
inclusion proof, a base64 hash a line from the leaf's sibling upwards, at most 63; an empty line; the signed checkpoint.
"""

from dataclasses import dataclass

from glasshouse_verify.encoding import decode_base64, encode_base64, parse_decimal
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import MAX_NOTE, Note, format_note, parse_note
from glasshouse_verify.policy import Cosigned, Policy, check_checkpoint
from glasshouse_verify.tree import verify_inclusion

VERSION = "c2sp.org/tlog-proof@v1"
MAX_EXTRA = 65_535
MAX_HASHES = 63


@dataclass(frozen=True, kw_only=True)
class TlogProof:
    """A parsed ledger proof; nothing about it is verified. An `extra` that is empty is not written."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""


def parse_tlog_proof(data: bytes) -> TlogProof:
    """Read a ledger proof; `FormatError` unless `format_tlog_proof` would write these bytes."""
    if len(data) > MAX_NOTE + 2 * MAX_EXTRA:
        raise FormatError("tlog-proof", f"{len(data)} bytes")
    head, _, note = data.partition(b"\n\n")
    if not head.isascii():
        raise FormatError("tlog-proof", "not ASCII above the checkpoint")
    version, *lines = head.decode().split("\n")
    if version != VERSION:
        raise FormatError("tlog-proof version", f"not {VERSION}")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), "tlog-proof extra")
        if not 1 <= len(extra) <= MAX_EXTRA:
            raise FormatError("tlog-proof extra", f"{len(extra)} bytes")
    if not lines or not lines[0].startswith("index "):
        raise FormatError("tlog-proof index", "missing")
    index = parse_decimal(lines.pop(0).removeprefix("index "), "tlog-proof index")
    if len(lines) > MAX_HASHES:
        raise FormatError("tlog-proof hash", f"more than {MAX_HASHES}")
    hashes = tuple(decode_base64(line, "tlog-proof hash", 32) for line in lines)
    return TlogProof(index=index, proof=hashes, checkpoint=parse_note(note), extra=extra)


def format_tlog_proof(proof: TlogProof) -> bytes:
    """Write a ledger proof; `FormatError` if `parse_tlog_proof` would not read the same one back."""
    extra = [f"extra {encode_base64(proof.extra)}"] if proof.extra else []
    lines = [VERSION, *extra, f"index {proof.index}", *map(encode_base64, proof.proof)]
    data = "\n".join(lines).encode() + b"\n\n" + format_note(proof.checkpoint)
    if parse_tlog_proof(data) != proof:
        raise FormatError("tlog-proof", "cannot be read back")
    return data


def verify_tlog_proof(proof: TlogProof, leaf: bytes, policy: Policy) -> Cosigned:
    """Check that `leaf` (a leaf hash) is at the proof's index of a log that the policy accepts; return its checkpoint.

    Raises `SignatureError`, `QuorumError` or `FormatError` as `check_checkpoint` does, and `ProofError` if the
    inclusion proof does not lead to the checkpoint's root.
    """
    cosigned = check_checkpoint(policy, proof.checkpoint)
    verify_inclusion(leaf, proof.index, cosigned.checkpoint.size, proof.proof, cosigned.checkpoint.root)
    return cosigned
