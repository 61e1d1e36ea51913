"""Ledger proofs (c2sp.org/tlog-proof)."""

from dataclasses import replace

import pytest
from glasshouse_verify.errors import FormatError, ProofError, QuorumError, SignatureError, VerifyError
from glasshouse_verify.note import format_note
from glasshouse_verify.policy import witness_policy
from glasshouse_verify.tlogproof import (
    MAX_EXTRA,
    TlogProof,
    format_tlog_proof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from glasshouse_verify.tree import inclusion_proof
from notary import Notary, Tree, signed, witness

LOG, WITNESS = Notary("example.com/log"), witness("w.example")
TREE = Tree(13)
NOTE = signed(TREE.checkpoint(13), LOG, WITNESS)
POLICY = witness_policy(LOG.key, {"w": [WITNESS.key]}, 0)


def proof_of(index: int, size: int = 13, extra: bytes = b"") -> TlogProof:
    note = signed(TREE.checkpoint(size), LOG, WITNESS)
    return TlogProof(index=index, proof=tuple(inclusion_proof(index, size, TREE.read)), checkpoint=note, extra=extra)


@pytest.mark.parametrize("extra", [b"", b"\x00", b"age-v1.2.1", bytes(MAX_EXTRA)])
def test_round_trip(extra: bytes) -> None:
    for size in range(1, 14):
        for index in range(size):
            proof = proof_of(index, size, extra)
            assert parse_tlog_proof(format_tlog_proof(proof)) == proof
            cosigned = verify_tlog_proof(proof, TREE.leaves[index], POLICY)
            assert (cosigned.checkpoint.size, cosigned.log) == (size, LOG.key)


def test_layout() -> None:
    text = format_tlog_proof(proof_of(4, extra=b"extra")).decode()
    lines = text.split("\n")
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", "extra ZXh0cmE=", "index 4"]
    assert [len(line) for line in lines[3:7]] == [44] * 4
    assert lines[7] == ""
    assert "\n".join(lines[8:]) == format_note(NOTE).decode()


def test_what_does_not_verify() -> None:
    proof = proof_of(4)
    with pytest.raises(ProofError):
        verify_tlog_proof(proof, TREE.leaves[5], POLICY)
    for changed in (replace(proof, index=5), replace(proof, proof=proof.proof[1:]), replace(proof, index=13)):
        with pytest.raises(ProofError):
            verify_tlog_proof(changed, TREE.leaves[4], POLICY)
    with pytest.raises(ProofError):
        verify_tlog_proof(replace(proof, checkpoint=proof_of(4, 12).checkpoint), TREE.leaves[4], POLICY)
    with pytest.raises(QuorumError):
        verify_tlog_proof(replace(proof, checkpoint=signed(NOTE.text, LOG)), TREE.leaves[4], POLICY)
    with pytest.raises(SignatureError):
        verify_tlog_proof(replace(proof, checkpoint=signed(NOTE.text, WITNESS)), TREE.leaves[4], POLICY)


def broken() -> list[tuple[str, bytes]]:
    good = format_tlog_proof(proof_of(4, extra=b"extra"))
    hash_line = good.split(b"\n")[3]
    return [
        ("empty", b""),
        ("no version", good.partition(b"\n")[2]),
        ("other version", good.replace(b"@v1", b"@v2")),
        ("version with space", good.replace(b"@v1", b"@v1 ")),
        ("BOM", b"\xef\xbb\xbf" + good),
        ("CRLF", good.replace(b"\n", b"\r\n")),
        ("no index", good.replace(b"index 4\n", b"")),
        ("two indexes", good.replace(b"index 4\n", b"index 4\nindex 4\n")),
        ("index first", good.replace(b"extra ZXh0cmE=\nindex 4\n", b"index 4\nextra ZXh0cmE=\n")),
        ("leading zero", good.replace(b"index 4", b"index 04")),
        ("plus", good.replace(b"index 4", b"index +4")),
        ("two spaces", good.replace(b"index 4", b"index  4")),
        ("trailing space", good.replace(b"index 4", b"index 4 ")),
        ("underscore", good.replace(b"index 4", b"index 1_0")),
        ("other digits", good.replace(b"index 4", "index ٤".encode())),
        ("large index", good.replace(b"index 4", b"index 9223372036854775808")),
        ("empty extra", good.replace(b"extra ZXh0cmE=", b"extra ")),
        ("bare extra", good.replace(b"extra ZXh0cmE=", b"extra")),
        ("loose extra", good.replace(b"extra ZXh0cmE=", b"extra ZXh0cmF=")),
        ("two extras", good.replace(b"extra ZXh0cmE=", b"extra ZXh0cmE=\nextra ZXh0cmE=")),
        ("short hash", good.replace(hash_line, b"AAAA")),
        ("loose hash", good.replace(hash_line, hash_line[:-2] + b"9=")),
        ("hash with space", good.replace(hash_line, hash_line + b" ")),
        ("no empty line", good.replace(b"\n\nexample.com/log", b"\nexample.com/log")),
        ("two empty lines", good.replace(b"\n\nexample.com/log", b"\n\n\nexample.com/log")),
        ("no checkpoint", good.partition(b"\n\n")[0] + b"\n\n"),
        ("trailing line", good + b"\n"),
        ("too many hashes", good.replace(hash_line, b"\n".join([hash_line] * 64))),
        ("oversize", good.replace(b"ZXh0cmE=", b"AAAA" * 800_000)),
    ]


@pytest.mark.parametrize(("what", "data"), broken(), ids=[what for what, _ in broken()])
def test_broken_proofs_never_verify(what: str, data: bytes) -> None:
    # An empty line more belongs to the checkpoint's text, which then is none.
    with pytest.raises(SignatureError if what == "two empty lines" else FormatError):
        verify_tlog_proof(parse_tlog_proof(data), TREE.leaves[4], POLICY)


def test_no_truncation_or_bit_flip_verifies_but_of_the_extra_that_nothing_covers() -> None:
    proof = proof_of(4, extra=b"extra")
    data = format_tlog_proof(proof)
    # The last line is the witness's; its signature does not cover the extra line either.
    for place in range(len(data)):
        for changed in (
            data[:place],
            *(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :] for bit in range(8)),
        ):
            try:
                parsed = parse_tlog_proof(changed)
                verify_tlog_proof(parsed, TREE.leaves[4], POLICY)
            except VerifyError:
                continue
            assert replace(parsed, extra=b"extra") == proof


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": 2**63},
        {"proof": (b"short",)},
        {"proof": [bytes(32)]},
        {"proof": (bytes(32),) * 64},
        {"extra": bytes(MAX_EXTRA + 1)},
    ],
)
def test_proofs_that_would_not_be_read_back_are_not_written(change: dict[str, object]) -> None:
    with pytest.raises(FormatError):
        format_tlog_proof(replace(proof_of(4), **change))  # type: ignore[arg-type]
