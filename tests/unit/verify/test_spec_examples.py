"""Every example in docs/spec of a format of this half of the verifier is what the code writes, and what it reads.

A fenced block names its format; one marked `refused` must not parse. The others of a page are those of `examples`.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from glasshouse_verify.checkpoint import format_checkpoint, parse_checkpoint
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import (
    Envelope,
    EnvelopeSignature,
    format_envelope,
    pae,
    parse_envelope,
    statement_id,
    verify_envelope,
)
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.encoding import JSON, encode_base64, format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.manifest import AbsenceProof, ManifestTree, format_rows, parse_rows, verify_absence
from glasshouse_verify.note import format_note, format_vkey, parse_note, parse_vkey, verify_note
from glasshouse_verify.policy import check_checkpoint, witness_policy
from glasshouse_verify.policy_file import format_policy, parse_policy
from glasshouse_verify.row import ManifestRoot, RowProof, verify_row
from glasshouse_verify.tile import entries_path, format_bundle, parse_bundle, parse_tile_path, tile_path
from glasshouse_verify.tlog import verify_multiproof
from glasshouse_verify.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof, verify_tlog_proof
from glasshouse_verify.tree import inclusion_proof, multiproof
from notary import Notary, Tree, signed, witness

SPEC = Path(__file__).resolve().parents[3] / "docs" / "spec"
BLOCK = re.compile(r"^```([a-z0-9-]+)( refused)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)

LOG = Notary("ledger.example/2026")
ACME, LAB, LAB_2 = witness("witness.acme.example"), witness("w1.lab.example"), witness("w2.lab.example")
VENDOR = Notary("vendor")
POLICY = witness_policy(LOG.key, {"acme": [ACME.key], "lab": [LAB.key, LAB_2.key]}, 0)
TREE = Tree(7)  # its entries are the ASCII digits 0 to 6
NOTE = signed(TREE.checkpoint(7, LOG.key.name), LOG, ACME, LAB, timestamp=1_767_225_600)
PROOF = TlogProof(index=5, proof=tuple(inclusion_proof(5, 7, TREE.read)), checkpoint=NOTE)
ROWS: list[dict[str, JSON]] = [
    {"content": sha256(key.encode()).hexdigest(), "key": key, "mode": "100644"}
    for key in ("LICENSE", "src/main.c", "src/scan.c")
]
MANIFEST = ManifestTree(ROWS)
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
ENVELOPE = Envelope(
    payload=PAYLOAD,
    signatures=(EnvelopeSignature(keyid=keyid(VENDOR.key.public), sig=VENDOR.sign_raw(pae(PAYLOAD))),),
)
LEAVES, CUTS = (2, 5), (3,)
HASHES = multiproof(LEAVES, CUTS, 7, TREE.read)


def json_text(value: object) -> str:
    return format_json(value).decode() + "\n"


def examples() -> dict[str, list[tuple[str, str]]]:
    """Page → its honest blocks, format and text, in their order."""
    tile = b"".join(TREE.leaves)
    return {
        "signed-note": [
            ("signed-note", format_note(NOTE).decode()),
            ("vkey", "".join(f"{format_vkey(notary.key)}\n" for notary in (LOG, ACME, LAB))),
        ],
        "checkpoint": [("checkpoint", NOTE.text)],
        "tiles": [
            (
                "tile-path",
                "".join(
                    f"{path}\n" for path in (tile_path(0, 1_234_067), tile_path(1, 0, 17), entries_path(3273, 112))
                ),
            ),
            ("tile-hex", "".join(f"{tile[start : start + 32].hex()}\n" for start in range(0, len(tile), 32))),
            ("bundle-hex", format_bundle(b"%d" % n for n in range(7)).hex(" ", 3) + "\n"),
        ],
        "tlog-proof": [("tlog-proof", format_tlog_proof(PROOF).decode())],
        "policy": [("tlog-policy", format_policy(POLICY).decode())],
        "manifest": [
            ("manifest", b"".join(format_rows(ROWS)).decode()),
            ("manifest-root", f"size {MANIFEST.size}\nroot {MANIFEST.root.hex()}\n"),
            ("row-proof", json_text(encode(MANIFEST.prove("src/main.c")))),
            ("absence-proof", json_text(encode(MANIFEST.prove("src/evil.c")))),
        ],
        "envelope": [
            ("envelope", format_envelope(ENVELOPE).decode() + "\n"),
            ("pae", pae(PAYLOAD).decode() + "\n"),
            ("statement-id", statement_id(PAYLOAD) + "\n"),
        ],
        "canonical-json": [
            (
                "canonical-json",
                json_text({"size": 7, "key": "src/é.c", "ok": True, "parent": None, "tags": ["a", "\n"]}),
            ),
            ("canonical-json", json_text({"\uff21": 2, "\U0001f600": 1})),
        ],
        "multiproof": [("multiproof", "".join(f"{encode_base64(node)}\n" for node in HASHES))],
    }


def lines(read: Callable[[str], str], text: str) -> str:
    return "".join(read(line) + "\n" for line in text.splitlines())


def path_again(text: str) -> str:
    path = parse_tile_path(text)
    return tile_path(path.level, path.index, path.width)


def json_again(text: str) -> JSON:
    return parse_json(text.removesuffix("\n").encode(), "example", 100_000)


AGAIN: dict[str, Callable[[str], str]] = {
    "signed-note": lambda text: format_note(parse_note(text.encode())).decode(),
    "vkey": lambda text: lines(lambda line: format_vkey(parse_vkey(line)), text),
    "checkpoint": lambda text: format_checkpoint(parse_checkpoint(text)),
    "tile-path": lambda text: lines(path_again, text),
    "bundle-hex": lambda text: format_bundle(parse_bundle(bytes.fromhex(text))).hex(" ", 3) + "\n",
    "tlog-proof": lambda text: format_tlog_proof(parse_tlog_proof(text.encode())).decode(),
    "tlog-policy": lambda text: format_policy(parse_policy(text.encode())).decode(),
    "manifest": lambda text: b"".join(format_rows(parse_rows(text.encode()))).decode(),
    "row-proof": lambda text: json_text(encode(decode(RowProof, json_again(text), "row proof"))),
    "absence-proof": lambda text: json_text(encode(decode(AbsenceProof, json_again(text), "absence proof"))),
    "envelope": lambda text: format_envelope(parse_envelope(text.removesuffix("\n").encode())).decode() + "\n",
    "canonical-json": lambda text: json_text(json_again(text)),
}


@pytest.mark.parametrize("page", examples())
def test_the_examples_of_a_page_are_those_of_the_code(page: str) -> None:
    found = [(kind, text) for kind, refused, text in BLOCK.findall((SPEC / f"{page}.md").read_text()) if not refused]
    assert found == examples()[page]


@pytest.mark.parametrize("page", examples())
def test_the_examples_of_a_page_parse_or_are_refused(page: str) -> None:
    for kind, refused, text in BLOCK.findall((SPEC / f"{page}.md").read_text()):
        if refused:
            for line in text.splitlines(keepends=True) if kind in {"vkey", "tile-path", "canonical-json"} else [text]:
                with pytest.raises(FormatError):
                    AGAIN[kind](line)
        elif kind in AGAIN:
            assert AGAIN[kind](text) == text


def test_the_examples_verify() -> None:
    assert len(verify_note(NOTE, [LOG.key, ACME.key, LAB.key])) == 3
    assert check_checkpoint(POLICY, NOTE).witnesses.keys() == {"acme/1", "lab/1"}
    assert verify_tlog_proof(PROOF, TREE.leaves[5], POLICY).checkpoint.size == 7
    assert verify_envelope(ENVELOPE, {keyid(VENDOR.key.public): VENDOR.key.public})
    root = ManifestRoot(root=MANIFEST.root, size=MANIFEST.size)
    present, absent = MANIFEST.prove("src/main.c"), MANIFEST.prove("src/evil.c")
    assert isinstance(present, RowProof)
    assert isinstance(absent, AbsenceProof)
    assert verify_row(root, present) == ROWS[1]
    verify_absence(root, absent)
    leaves = {index: TREE.leaves[index] for index in LEAVES}
    assert verify_multiproof(leaves, CUTS, 7, TREE.roots[7], HASHES) == {3: TREE.roots[3]}
