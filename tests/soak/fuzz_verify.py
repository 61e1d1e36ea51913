"""Coverage-guided fuzzing of the parsers of the verifier and of auditors, with atheris (dependency group "soak").

    python tests/soak/fuzz_verify.py [TARGET SECONDS] [libFuzzer options] [CORPUS]

Whatever the bytes, a parser raises FormatError or would write exactly these bytes again; any other exception, and any
second spelling, is a crash. Without TARGET the first byte of the input chooses one, so that one corpus serves all.
A corpus without files is given honest examples to start from: nobody guesses a base64 line of the right length.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["glasshouse_verify", "glasshouse.regions.delta"]):
    from glasshouse_verify import (
        checkpoint,
        codec,
        dsse,
        encoding,
        evidence,
        gitobject,
        lineage,
        manifest,
        note,
        policy,
        policy_file,
        receipt_check,
        relocation_check,
        row,
        sshsig,
        tile,
        tlogproof,
    )
    from glasshouse_verify.errors import FormatError
    from glasshouse_verify.tree import inclusion_proof

    from glasshouse.regions import delta


def fuzz_note(data: bytes) -> None:
    same(note.format_note(note.parse_note(data)), data)


def fuzz_vkey(data: bytes) -> None:
    same(note.format_vkey(note.parse_vkey(text(data))).encode(), data)


def fuzz_checkpoint(data: bytes) -> None:
    same(checkpoint.format_checkpoint(checkpoint.parse_checkpoint(text(data))).encode(), data)


def fuzz_policy(data: bytes) -> None:
    """The one format with several spellings: what is written again must mean the same."""
    parsed = policy_file.parse_policy(data)
    if policy_file.parse_policy(policy_file.format_policy(parsed)) != parsed:
        raise AssertionError("a policy changed its meaning")


def fuzz_tlog_proof(data: bytes) -> None:
    same(tlogproof.format_tlog_proof(tlogproof.parse_tlog_proof(data)), data)


def fuzz_json(data: bytes) -> None:
    same(encoding.format_json(encoding.parse_json(data, "json", 1_000_000)), data)


def fuzz_envelope(data: bytes) -> None:
    same(dsse.format_envelope(dsse.parse_envelope(data)), data)


def fuzz_row_proof(data: bytes) -> None:
    value = codec.encode(codec.decode(row.RowProof, encoding.parse_json(data, "json", 1_000_000), "row proof"))
    same(encoding.format_json(value), data)


def fuzz_absence_proof(data: bytes) -> None:
    value = codec.encode(codec.decode(manifest.AbsenceProof, encoding.parse_json(data, "json", 1_000_000), "proof"))
    same(encoding.format_json(value), data)


def fuzz_rows(data: bytes) -> None:
    same(b"".join(manifest.format_rows(manifest.parse_rows(data))), data)


def fuzz_tile_path(data: bytes) -> None:
    path = tile.parse_tile_path(text(data))
    same(tile.tile_path(path.level, path.index, path.width).encode(), data)


def fuzz_bundle(data: bytes) -> None:
    same(tile.format_bundle(tile.parse_bundle(data)), data)


def fuzz_evidence(data: bytes) -> None:
    same(evidence.format_evidence(evidence.parse_evidence(data)), data)


def fuzz_relocation_evidence(data: bytes) -> None:
    parsed = relocation_check.parse_relocation_evidence(data)
    same(relocation_check.format_relocation_evidence(parsed), data)


def fuzz_receipt_evidence(data: bytes) -> None:
    same(receipt_check.format_receipt_evidence(receipt_check.parse_receipt_evidence(data)), data)


def fuzz_delta(data: bytes) -> None:
    same(delta.format_delta(delta.parse_delta(data)), data)


def fuzz_sshsig(data: bytes) -> None:
    """Lines may be broken elsewhere: what is written again must mean the same."""
    parsed = sshsig.parse_sshsig(data)
    if sshsig.parse_sshsig(sshsig.format_sshsig(parsed)) != parsed:
        raise AssertionError("a signature changed its meaning")


def fuzz_commit(data: bytes) -> None:
    gitobject.parse_commit(data, 40)


def fuzz_tag(data: bytes) -> None:
    gitobject.parse_tag(data, 40)


def fuzz_lineage(data: bytes) -> None:
    lineage.parse_lineage(data)


def text(data: bytes) -> str:
    """Formats over text are only ever given what was UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise FormatError("text", "not UTF-8") from None


def same(again: bytes, data: bytes) -> None:
    if again != data:
        raise AssertionError(f"read {data!r}, wrote {again!r}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    name.removeprefix("fuzz_"): target for name, target in list(globals().items()) if name.startswith("fuzz_")
}


def run(target: Callable[[bytes], None], data: bytes) -> None:
    try:
        target(data)
    except FormatError as error:
        if not error.field or not error.reason:
            raise AssertionError("a refusal that names nothing") from error


def run_any(data: bytes) -> None:
    """Let the first byte choose the target."""
    targets = list(TARGETS.values())
    if data:
        run(targets[data[0] % len(targets)], data[1:])


def honest_examples() -> dict[str, bytes]:
    """One example of every format, by target; built from the tests' own keys and initiative."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from lineages import example
    from lineages import signature as ssh_signature
    from notary import Notary, Tree, signed, witness
    from region_world import pages
    from relocation_world import pages as pages_of_a_move
    from world import World

    log, cosigner, tree = Notary("example.com/log"), witness("w.example"), Tree(9)
    signed_note = signed(tree.checkpoint(9), log, cosigner)
    proof = tlogproof.TlogProof(index=3, proof=tuple(inclusion_proof(3, 9, tree.read)), checkpoint=signed_note)
    rows = manifest.ManifestTree({"key": key, "n": place} for place, key in enumerate("bdfh"))
    signature = dsse.EnvelopeSignature(keyid="0" * 64, sig=bytes(64))
    initiative = World()
    initiative.honest()
    history, *_ = example()
    region, moves = pages(), pages_of_a_move()
    return {
        "note": note.format_note(signed_note),
        "vkey": note.format_vkey(log.key).encode(),
        "checkpoint": signed_note.text.encode(),
        "policy": policy_file.format_policy(policy.witness_policy(log.key, {"party": [cosigner.key]}, 0)),
        "tlog_proof": tlogproof.format_tlog_proof(proof),
        "json": '{"a":[1,true,null,"é"],"b":{"c":-5},"\\u0000":""}'.encode(),
        "envelope": dsse.format_envelope(dsse.Envelope(payload=b"{}", signatures=(signature,))),
        "row_proof": encoding.format_json(codec.encode(rows.prove("d"))),
        "absence_proof": encoding.format_json(codec.encode(rows.prove("e"))),
        "rows": b'{"key":"a","n":1}\n{"key":"b"}\n',
        "tile_path": b"tile/entries/x001/x234/067.p/8",
        "bundle": tile.format_bundle([b"one", b"", b"three"]),
        "evidence": evidence.format_evidence(initiative.evidence()),
        "receipt_evidence": encoding.format_json(region["receipt-evidence"]),
        "relocation_evidence": encoding.format_json(moves["relocation-evidence"]),
        "delta": region["inventory-delta"].encode(),
        "sshsig": ssh_signature("ann", b"message"),
        "commit": history.objects[1][1],
        "tag": history.objects[2][1],
        "lineage": history.lineage(),
    }


def seed(corpus: Path, chosen: str | None) -> None:
    """Give an empty corpus its honest examples."""
    if any(corpus.iterdir()):
        return
    examples = honest_examples()
    for place, name in enumerate(TARGETS):
        if chosen in (None, name):
            (corpus / f"honest-{name}").write_bytes((bytes([place]) if chosen is None else b"") + examples[name])


def main(arguments: list[str]) -> None:
    target, options, chosen = run_any, list(arguments), None
    if options and options[0] in TARGETS:
        chosen, seconds, *options = options
        target, options = (lambda data: run(TARGETS[chosen], data)), [f"-max_total_time={int(seconds)}", *options]
    with tempfile.TemporaryDirectory() as folder:
        if not options or options[-1].startswith("-"):
            options.append(folder)
        seed(Path(options[-1]), chosen)
        atheris.Setup([sys.argv[0], *options], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
