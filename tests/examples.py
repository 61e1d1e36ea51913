"""Examples of the formats above the ledger, made by the code that writes them, from keys and times that never change.

The pages under docs/spec/ show them in blocks that begin with ```json NAME (indented for people) or ```toml NAME. To
write them anew:

    python tests/examples.py
"""

import contextlib
import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from glasshouse_verify.alarm import Finding, Hold
from glasshouse_verify.charter import Role
from glasshouse_verify.cli import main as verify
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.evidence import format_evidence
from glasshouse_verify.gitobject import object_id
from glasshouse_verify.lineage import History
from glasshouse_verify.manifest import ManifestTree
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, format_vkey
from glasshouse_verify.row import RowProof
from glasshouse_verify.statement import (
    Action,
    OpaqueFile,
    Predicate,
    RebuiltFile,
    Use,
    Verdict,
    make_statement,
    parse_statement,
)
from glasshouse_verify.trap import BuiltFile, Trap, TrapOpening
from opening_examples import openings_pages
from region_examples import records, statements
from region_world import pages
from relocation_world import pages as pages_of_a_move
from world import FILE, NOW, ORIGIN, PLATFORM, PRODUCT, SHIPPED, World, digest, seeded

from glasshouse.parties.card import SCHEMA as CARD_SCHEMA
from glasshouse.parties.card import (
    Card,
    CardCustody,
    CardIntake,
    CardKey,
    CardLedger,
    CardSite,
    CardWitness,
    format_settings,
)
from glasshouse.parties.node import NodeSettings

PAGES = Path(__file__).resolve().parent.parent / "docs" / "spec"
BLOCK = re.compile(r"^```(json|toml) ([a-z0-9-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


DEVELOPERS = {name: encode_base64(seeded(name).public) for name in ("ann", "bob")}


def payloads() -> dict[Use, bytes]:
    """A statement of every kind, each with all its optional members."""
    gate = {"blind": True, "blind_window": 3_600}
    product = {"gate": gate, "reviewers": 1, "developers": DEVELOPERS}
    world = World(
        parties={"lab": {"recipient": "age1example"}, "w1": {"acts_for": "acme"}}, products={PRODUCT: product}
    )
    history = History(branch="main", lineage=digest(b"lineage"), follows=digest(b"the source before"))
    names = {"authors": ("ann",), "reviewers": ("ann", "bob")}
    source = world.source(commit=object_id("commit", b"", 40), history=encode(history), **names)
    release = world.release(source=source, unsigned=digest(b"before the signature was embedded"), committed=("lab",))
    provenance = parse_envelope(world.blobs[world.statement(release).provenance]).payload
    keys = {world.keys["acme-old"].keyid: {"stops": len(world.entries)}}
    world.amend({"parties": {"acme": {"keys": keys}}, "regions": records()["region"]})
    world.status()
    logged = {parse_statement(entry.payload).use: entry.payload for entry in map(parse_envelope, world.entries)}
    made: dict[Use, Predicate] = {
        Use.REBUILD: _rebuild(world, release),
        Use.HOLD: Hold(
            party="acme",
            action=Action.LIFT,
            release=release,
            reason="false alarm",
            time=NOW,
            lifts=digest(b"the hold"),
            successor=digest(b"the next release"),
        ),
        Use.FINDING: Finding(party="lab", rule="verdicts", about=(release,), text="lab: differs", time=NOW),
        Use.TRAP: _trap(release),
    }
    made |= statements()
    return logged | {use: make_statement(use, says) for use, says in made.items()} | {Use.PROVENANCE: provenance}


def _trap(release: str) -> Predicate:
    built = BuiltFile(platform=PLATFORM, name=FILE, sha256=digest(b"what the source builds to"))
    opening = TrapOpening(release=release, nonce=digest(b"nonce"), built=(built,))
    return Trap(party="lab", commitment=opening.commitment, time=NOW, opening=opening)


def _rebuild(world: World, release: str) -> Predicate:
    file = RebuiltFile(
        platform=PLATFORM, name=FILE, shipped=digest(SHIPPED), verdict=Verdict.DIFFERS, rebuilt=digest(b"other")
    )
    return world.rebuild_of(
        release,
        "lab",
        Verdict.DIFFERS,
        files=(file,),
        explanation="engine.so, section .comment: GCC 12.2.0 against GCC 12.3.0",
        opaque=(OpaqueFile(path="tests/data/sample.bin", sha256=digest(b"sample")),),
        provenance=digest(b"provenance"),
        report=digest(b"report"),
        log=digest(b"build log"),
        executor="bubblewrap 0.8.0",
        replaces=digest(b"the earlier verdict"),
    )


def examples() -> dict[str, Any]:
    """Name → the JSON value that a page shows."""
    world = World()
    world.amend({"status": {"maximum_age": 3_600}})
    release = world.release()
    world.oversee(release)
    hold = Hold(party="lab", action=Action.HOLD, release=release, reason="key reported stolen", time=NOW)
    (row,) = world.history.status_rows()
    found: dict[str, Any] = {use.value: json.loads(payload) for use, payload in payloads().items()}
    found["charter"] = found["charter"]["predicate"]
    found["evidence"] = json.loads(format_evidence(world.evidence()))
    found["status-row"] = row
    world.post(make_statement(Use.HOLD, hold), "lab")
    (found["status-row-held"],) = world.history.status_rows()
    proof = ManifestTree([row]).prove(row["key"])
    if isinstance(proof, RowProof):
        found["status-row-proof"] = encode(proof)
    found["answer"] = json.loads(answer(["--json"]))
    found["card"] = encode(card())
    found["node"] = format_settings(node_settings())
    found |= records() | pages() | pages_of_a_move() | openings_pages()
    return found


def card() -> Card:
    """The card of a ledger-running vendor, with every member; its keys are those of the world."""
    world = World()
    return Card(
        schema=CARD_SCHEMA,
        party="acme",
        name="Acme Security",
        roles=(Role.LEDGER, Role.WITNESS, Role.VENDOR, Role.MEMBER),
        site=CardSite(id="zurich-1", name="Zurich", jurisdiction="CH"),
        keys=(CardKey(public=world.keys["acme"].public, uses=(Use.SOURCE, Use.RELEASE, Use.HOLD)),),
        recipient="age1example",
        acts_for="beta",
        ledger=CardLedger(
            origin=ORIGIN, key=format_vkey(world.vkey(ORIGIN, "log", ED25519)), url="https://ledger.acme.example"
        ),
        witness=CardWitness(
            name="acme",
            key=format_vkey(world.vkey("w.acme.example", "w1-note", COSIGNATURE_V1)),
            url="https://ledger.acme.example",
        ),
        intake=CardIntake(
            region="au",
            url="https://zurich-1.acme.example",
            peer="https://zurich-1.acme.example:8444",
            certificate=b"DER of the certificate",
        ),
        custody=CardCustody(
            key=bytes.fromhex(digest(b"an X25519 key")),  # type: ignore[arg-type]
            url="https://custody.council.example",
        ),
    )


def answer(options: list[str]) -> str:
    """What `glasshouse verify` prints of the honest run."""
    world, printed = World(), io.StringIO()
    world.honest()
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(printed):
        shipped, evidence, pin = (Path(name) / part for part in (FILE, "evidence", "charter.json"))
        shipped.write_bytes(SHIPPED)
        evidence.write_bytes(format_evidence(world.evidence()))
        pin.write_bytes(world.pin)
        verify([str(shipped), "--evidence", str(evidence), "--charter", str(pin), *options], NOW)
    return printed.getvalue().replace(f"{name}/", "")


def node_settings() -> NodeSettings:
    """Every table and every member of node.toml."""
    token = {"module": "/usr/lib/softhsm/libsofthsm2.so", "token": "acme", "label": "release", "pin_file": "keys/pin"}
    return NodeSettings.model_validate(
        {
            "party": "acme",
            "name": "Acme Security",
            "site": {"id": "zurich-1", "name": "Zurich", "jurisdiction": "CH"},
            "pin": "first-charter.json",
            "acts_for": "beta",
            "member": True,
            "cache": "~/.cache/glasshouse",
            "serve": {"listen": "127.0.0.1:8471", "url": "https://ledger.acme.example"},
            "ledger": {
                "origin": "ledger.acme.example",
                "open": True,
                "publish_seconds": 2.5,
                "max_blob_bytes": 1_000_000_000,
            },
            "witness": {
                "name": "acme.witness",
                "logs": [format_vkey(World().vkey("example.com/log", "log", ED25519))],
                "poll_seconds": 10.0,
            },
            "conveyor": {"timestamps": "https://time.example/timestamp"},
            "rebuilder": {"poll_seconds": 30.0, "executor": "podman"},
            "auditor": {"poll_seconds": 30.0, "proposes": True},
            "intake": {
                "region": "au",
                "peer_listen": "127.0.0.1:8472",
                "peer": "https://zurich-1.acme.example:8444",
                "custody": "site",
                "indicators": "/srv/signature-base.hash-iocs.txt",
                "requests_per_second": 50.0,
                "max_file_bytes": 5_368_709_120,
                "scrub_hours": 168.0,
                "rekey_days": 30.0,
            },
            "custody": {"jobs": ["analysis"], "poll_seconds": 30.0, "tally_seconds": 1_800},
            "wrapping": {
                "transit": {
                    "url": "https://bao.acme.example:8200",
                    "key": "zurich-1",
                    "mount": "transit-au",
                    "token_file": "keys/bao-token",
                }
            },
            "timestamp": {},
            "database": {"dsn": "postgresql://acme@db.example/glasshouse"},
            "objects": {"url": "s3://acme-ledger"},
            "mirrors": {"debian": "http://mirror.example/debian"},
            "keys": {"release": token},
        }
    )


def shown(value: Any) -> str:
    """A value as a page shows it."""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    """Write every example into the pages that show it."""
    made = examples()
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text()
        new = BLOCK.sub(lambda block: f"```{block[1]} {block[2]}\n{shown(made[block[2]])}```", text)
        if new != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
