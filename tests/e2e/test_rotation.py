"""Every kind of key is replaced while the processes run: what the old one said before stays, later words are void.

One initiative serves all tests of this file; each replaces keys that the others leave alone.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest
from glasshouse_verify.charter import vouchers
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.encoding import decode_base64
from glasshouse_verify.note import ED25519, Note, NoteSignature, VerifierKey, parse_note, parse_vkey
from glasshouse_verify.policy import check_checkpoint
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use, make_statement
from glasshouse_verify.tree import consistency_proof
from howto import blocks_of, follow
from initiative import Initiative, running, until
from tokens import MODULE, make_token, needs_softhsm, pin_file, token_store
from world import ORIGIN, texts

from glasshouse.ledger.cosign import format_request
from glasshouse.ledger.errors import NotThere, Refused
from glasshouse.parties.drafting import draft_amendment

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Initiative]:
    with running(tmp_path_factory.mktemp("rotation")) as initiative:
        initiative.countersign(initiative.ship("0.1"))
        initiative.verified("0.1")
        yield initiative


def refused_at_the_door(live: Initiative, payload: bytes, signer: str) -> None:
    with pytest.raises(Refused) as caught:
        live.post(payload, signer)
    assert (caught.value.status, caught.value.field) == (403, "envelope.signatures")


def carried_in_by_another(live: Initiative, payload: bytes, old: str) -> None:
    """A statement signed by the old key too, admitted for the signature of another: it is logged and does not count."""
    identity = live.post(payload, old, "council/member")
    assert identity not in live.history.records


def test_a_vendor_replaces_its_release_key(live: Initiative) -> None:
    live.countersign(live.ship("1.0"))
    live.verified("1.0")
    made = live.rotate("acme", "release", stop="release")
    assert made["name"] == "release-2"
    late = make_statement(Use.SOURCE, live.source("1.1"))
    refused_at_the_door(live, late, "acme/release")
    carried_in_by_another(live, late, "acme/release")
    assert live.judged("1.0").outcome == Outcome.VERIFIED
    live.countersign(live.ship("1.2"))
    live.verified("1.2")
    live.verified("1.0")


def test_a_stolen_release_key_is_stopped_where_the_theft_began(live: Initiative) -> None:
    """In hindsight: what the key signed from a past entry on falls, what it signed below stays."""
    live.rotate("acme", "release")
    stolen = live.newest("acme", "release")
    live.countersign(live.ship("2.0"))
    live.verified("2.0")
    theft = len(live.entries)
    live.countersign(live.ship("2.1"))
    live.verified("2.1")
    patch = live.stage.root / "theft.json"
    live.run("acme", "charter", "stop", live.keys[stolen].keyid, "--at", str(theft), "--patch", patch)
    live.rotate("acme", "release")
    live.amend_by(patch)
    assert live.judged("2.0").outcome == Outcome.VERIFIED
    with pytest.raises(NotThere, match="no release"):
        live.judged("2.1")


def test_a_conveyor_replaces_its_key(live: Initiative) -> None:
    live.countersign(live.ship("3.0"))
    live.verified("3.0")
    live.rotate("acme", "conveyor", stop="conveyor")
    live.countersign(live.ship("3.1", built_by="acme/conveyor"))
    live.countersign(live.ship("3.2"))
    live.verified("3.2")
    live.verified("3.0")
    report = live.judged("3.1")
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "no key of acme" in texts(report)["provenance"]


def test_a_rebuilder_replaces_its_key(live: Initiative) -> None:
    before = live.ship("4.0")
    live.countersign(before)
    live.verified("4.0")
    live.rotate("lab", "rebuild", stop="rebuild")
    after = live.ship("4.1")
    late = make_statement(Use.REBUILD, live.rebuild_of(after, "lab"))
    refused_at_the_door(live, late, "lab/rebuild")
    carried_in_by_another(live, late, "lab/rebuild")
    live.countersign(after)
    live.verified("4.1")
    live.verified("4.0")


def test_an_auditor_at_work_goes_over_to_its_new_key(live: Initiative) -> None:
    """The worker is not restarted; the next status bears the new key and not the old."""
    made = live.rotate("second", "audit", stop="audit")
    release = live.ship("5.0")
    live.countersign(release)
    live.verified("5.0")
    *_, status = live.sync().standing(Use.STATUS)
    assert made["keyid"] in status.keyids
    assert live.keys["second/audit"].keyid not in status.keyids
    refused_at_the_door(live, live.status_payload(party="second"), "second/audit")


def test_a_member_replaces_its_key(live: Initiative) -> None:
    """The old key's last vote brings the new one in; then it votes no more, and the command votes with the new one."""
    live.rotate("council", "member", stop="member")
    version = live.charter.version
    payload = draft_amendment(live.history.chain.newest, {"status": {"maximum_age": 80_000}}, "acme", live.now)
    live.post(payload, "acme/member", "council/member")
    assert (live.charter.version, statement_id(payload) in live.history.proposals) == (version, True)
    live.run("council", "charter", "vote", statement_id(payload))
    until(lambda: live.sync().chain.newest.charter.version == version + 1)
    vote = live.history.records[statement_id(payload)]
    assert live.keys["council/member-2"].keyid in vote.keyids
    live.verified("0.1")


def test_a_log_replaces_its_key(live: Initiative) -> None:
    old = parse_vkey(live.charter.ledger.key)
    made = live.rotate("acme", "log")
    new = parse_vkey(made["vkey"])
    assert (live.charter.ledger.key, old.name) == (made["vkey"], new.name)
    until(lambda: signed_by(live.note(), new))
    assert not signed_by(live.note(), old)
    version = live.charter.version
    first = parse_note(live.client.handover(version))
    check_checkpoint(live.history.chain.links[-2].charter.policy, first)
    check_checkpoint(live.charter.policy, live.note())
    assert signed_by(first, old)
    live.verified("0.1")
    assert len(live.evidence(b"0.1").handovers) == handovers(live)
    live.stage.stop("acme", "serve")
    live.stage.start("acme", "serve")
    live.ship("6.0")
    assert signed_by(live.note(), new)


def signed_by(note: Note, key: VerifierKey) -> bool:
    return any((s.name, s.key_id) == (key.name, key.key_id) for s in note.signatures)


def handovers(live: Initiative) -> int:
    links = live.sync().chain.links
    return sum(vouchers(a.charter) != vouchers(b.charter) for a, b in pairwise(links))


def test_witnesses_refuse_the_log_key_that_was_replaced(live: Initiative) -> None:
    """Whoever stole the old key signs a checkpoint with it that would extend the tree: nobody cosigns."""
    live.rotate("acme", "log")
    until(lambda: signed_by(live.note(), parse_vkey(live.charter.ledger.key)))
    # The auditors go on logging: an answer about a size that the witness has left behind says nothing.
    answers = [(409, "")]
    while any(status == 409 for status, _ in answers):
        answers = submissions(live)
    assert [status for status, _ in answers] == [403, 200] * len(live.charter.ledger.witnesses)
    assert all("counts no more" in text for status, text in answers if status == 403)


def submissions(live: Initiative) -> list[tuple[int, str]]:
    """Each witness's answers to the newest checkpoint, signed with the replaced key and as it was published."""
    note = live.note()
    size = int(note.text.split("\n")[1])
    signer = live.keys["acme/log"]
    old = VerifierKey(name=ORIGIN, algorithm=ED25519, public=signer.public)
    stolen = NoteSignature(name=ORIGIN, key_id=old.key_id, value=signer.sign(note.text.encode()))
    proof = consistency_proof(size, size, live.client.reader(size))
    answers = []
    for witness in live.charter.ledger.witnesses.values():
        for signature in (stolen, note.signatures[0]):
            body = format_request(size, proof, replace(note, signatures=(signature,)))
            answer = httpx.post(f"{witness.url}/add-checkpoint", content=body)
            answers.append((answer.status_code, answer.text))
    return answers


def test_a_witness_replaces_its_key(live: Initiative) -> None:
    before = live.charter.ledger.witnesses["w1"]
    made = live.rotate("w1", "witness")
    after = live.charter.ledger.witnesses["w1"]
    assert (after.key, after.url) == (made["vkey"], before.url)
    until(lambda: signed_by(live.note(), parse_vkey(after.key)))
    check_checkpoint(live.charter.policy, live.note())
    first = parse_note(live.client.handover(live.charter.version))
    check_checkpoint(live.history.chain.links[-2].charter.policy, first)
    assert signed_by(first, parse_vkey(before.key))
    live.verified("0.1")
    assert len(live.evidence(b"0.1").handovers) == handovers(live)
    live.stage.stop("w1", "serve")
    live.stage.start("w1", "serve")
    live.ship("7.0")
    check_checkpoint(live.charter.policy, live.note())


def test_whoever_comes_with_the_pin_follows_all_handovers(live: Initiative) -> None:
    ledger = ("--ledger", live.charter.ledger.url, "--charter", live.stage.pin)
    shown = json.loads(live.stage.run("charter", "history", *ledger, "--json"))
    assert [link["id"] for link in shown["charters"]] == [link.id for link in live.sync().chain.links]
    checked = json.loads(
        live.stage.run("ledger", "fsck", live.charter.ledger.url, "--policy", live.stage.pin, "--json")
    )
    assert checked["sound"]


def test_the_page_on_replacing_keys_works_word_for_word(live: Initiative) -> None:
    """docs/howto/key-ceremony.md, in the directory with the nodes."""
    release, log = live.newest("acme", "release"), live.charter.ledger.key
    blocks = [*blocks_of("key-ceremony.md", "Replace a key"), *blocks_of("key-ceremony.md", "Replace the log's key")]
    run = follow(blocks, live.stage.root / "nodes", LEDGER=live.charter.ledger.url)
    assert run.returncode == 0, run.stdout + run.stderr
    stops = live.sync().chain.newest.charter.parties["acme"].keys[live.keys[release].keyid].stops
    assert f"; counts below entry {stops}\n" in run.stdout
    assert (live.newest("acme", "release") != release, live.charter.ledger.key != log) == (True, True)
    until(lambda: signed_by(live.note(), parse_vkey(live.charter.ledger.key)))


def test_which_keys_count_is_listed(live: Initiative) -> None:
    keys = {key["name"]: key for key in live.run("lab", "key", "list", "--standing")["keys"]}
    for key in keys.values():
        assert key["keyid"] == keyid(decode_base64(key["public"], "public", 32))
    charter = live.sync().chain.newest.charter
    for name, key in keys.items():
        stops = charter.parties["lab"].keys[key["keyid"]].stops
        assert key["standing"] == ("counts" if stops is None else f"counts below entry {stops}"), name


@needs_softhsm
def test_a_vendor_goes_from_files_to_a_token(live: Initiative) -> None:
    """The release key is made in a token; the conveyor's command would open it in the signing process alone."""
    with token_store(live.stage.root):
        make_token("acme")
        pin_file(live.stage.node("acme") / "keys")
        token = ("--module", MODULE, "--token", "acme", "--pin-file", "keys/pin")
        old = live.newest("acme", "release").partition("/")[2]
        made = live.run_apart("acme", "key", "new", "release", *token)
        live.rotate("acme", "release", made=made, stop=old)
        live.countersign(live.ship("8.0"))
        live.verified("8.0")
        keys = {key["name"]: key for key in live.run_apart("acme", "key", "list", "--standing")["keys"]}
        assert (keys[made["name"]]["never_extractable"], keys[made["name"]]["standing"]) == (True, "counts")
        hold = live.run_apart("acme", "hold", "withdraw", "acme/engine@8.0", "--reason", "signed by the token")
        until(lambda: hold["id"] in live.sync().records)
        assert live.sync().records[hold["id"]].keyids == (made["keyid"],)
