"""The cheats of the demo, each played with what the cheating party really controls: its keys, its node, its files.

Who catches one never asks the cheater; what they see is an exit code, a statement or a refusal, and it is checked here.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from glasshouse_verify.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from glasshouse_verify.note import ED25519, Note, NoteSignature, VerifierKey, format_note, parse_note, signed_bytes
from glasshouse_verify.report import utc
from glasshouse_verify.tile import TILE_WIDTH, entries_path, tile_width

from glasshouse.cli.demo.forger import Forger
from glasshouse.cli.demo.record import Played, Seen
from glasshouse.cli.demo.stage import COUNCIL, ORIGIN, REBUILDER, SUPERVISOR, VENDOR, WITNESSES, load
from glasshouse.cli.demo.story import Story
from glasshouse.cli.demo.wares import small_ware
from glasshouse.ledger.client import LedgerClient
from glasshouse.parties.node import open_node

SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Cheat:
    """A cheat: its row in the attack matrix, a title, and how it is played."""

    row: str
    title: str
    play: Callable[[Story], Seen]


def play_cheats(story: Story) -> None:
    """Play every cheat on the running stage, or the one that is wanted.

    Of all of them, what the rebuilders have to judge is released first: they are at it while others are played.
    """
    if story.cheat is None:
        for bad in (_backdoored, _stolen, _targeted):
            bad(story)
    for name in CHEATS if story.cheat is None else (story.cheat,):
        cheat = CHEATS[name]
        story.say(f"cheat {name}: {cheat.title}")
        seen = cheat.play(story)
        story.played.append(Played(name=name, row=cheat.row, title=cheat.title, **asdict(seen)))


def _judged(answer: dict[str, Any], *exits: int, by: str, claims: tuple[str, ...] = ()) -> Seen:
    """What the customer's command said, in its own words: of all claims that do not hold, or of some."""
    texts = [
        c["text"] for c in answer.get("claims", []) if c["state"] != "verified" and (not claims or c["claim"] in claims)
    ]
    return Seen(caught=answer["exit"] in exits, by=by, seen="; ".join(texts), exit=answer["exit"])


@cache
def _backdoored(story: Story) -> tuple[Forger, Path]:
    """A back-doored release, made once a run."""
    forger = Forger(story)
    return forger, forger.release_altered(b"\x00backdoor")


@cache
def _stolen(story: Story) -> tuple[Forger, Path]:
    """What a thief of the vendor's keys releases, once a run."""
    forger = Forger(story)
    return forger, forger.release_without_source(b"malware signed with the stolen key")


@cache
def _targeted(story: Story) -> tuple[Forger, Path]:
    """A release, and after it another under the same version, once a run."""
    forger = Forger(story)
    (honest,) = forger.release_honest()
    return forger, forger.release_again(honest, b"for one customer only")


def _some_download(story: Story) -> Path:
    return sorted(story.stage.downloads.iterdir())[0]


def backdoor(story: Story) -> Seen:
    """The conveyor ships other bytes than the shown source builds to."""
    forger, file = _backdoored(story)
    story.await_status(forger.product, forger.version)
    answer = story.verify(file, story.fetch_evidence(file))
    return _judged(answer, 3, by=f"{SUPERVISOR}, {REBUILDER}, customer", claims=("rebuild",))


def hidden_verdict(story: Story) -> Seen:
    """Evidence for the back-doored file with the negative verdicts left out of it."""
    forger, file = _backdoored(story)
    story.await_status(forger.product, forger.version)
    answer = story.verify(file, forger.evidence_without_rebuilds(file))
    return _judged(answer, 3, by="customer", claims=("status",))


def unlogged(story: Story) -> Seen:
    """A file that was never released, with the evidence of the one that was."""
    honest = _some_download(story)
    altered = story.stage.root / "scratch" / honest.name
    altered.write_bytes(honest.read_bytes() + b"\x00")
    answer = story.verify(altered, story.stage.evidence / f"{honest.name}.evidence")
    return _judged(answer, 3, by="customer", claims=("file",))


def unrebuilt(story: Story) -> Seen:
    """A logged release offered before anybody has rebuilt it."""
    for party in (SUPERVISOR, REBUILDER):
        story.stage.stop(party, "work")
    forger = Forger(story)
    (file,) = forger.release_honest()
    answer = story.verify(file, story.fetch_evidence(file))
    for party in (SUPERVISOR, REBUILDER):
        story.stage.start(party, "work")
    return _judged(answer, 5, by="customer", claims=("rebuild", "status"))


def stolen_key(story: Story) -> Seen:
    """A thief with the vendor's release key alone signs malware."""
    forger, file = _stolen(story)
    story.await_status(forger.product, forger.version)
    answer = story.verify(file, story.fetch_evidence(file))
    return _judged(answer, 4, 5, by=f"customer, {SUPERVISOR}, {REBUILDER}")


def second_artifact(story: Story) -> Seen:
    """A second artifact for one customer under a version that is out already."""
    forger, targeted = _targeted(story)
    story.await_status(forger.product, forger.version)
    answer = story.verify(targeted, story.fetch_evidence(targeted))
    return _judged(answer, 3, 5, by=f"customer, {SUPERVISOR}")


def stale(story: Story) -> Seen:
    """Old evidence shown as if it were fresh, to freeze a customer at an old state."""
    honest = _some_download(story)
    when = json.loads(story.stage.pin.read_bytes())["predicate"]["time"] + 3 * 86_400
    answer = story.verify(honest, None, "--at", utc(when))
    return _judged(answer, 5, by="customer", claims=("status",))


def altered_entry(story: Story) -> Seen:
    """One byte of a logged entry changed on the ledger's disk."""
    stage = story.stage
    copy = stage.root / "scratch" / "tiles"
    shutil.rmtree(copy, ignore_errors=True)
    # The log goes on growing while it is copied: the copy is of the checkpoint that was there before.
    published = (stage.node(VENDOR) / "data" / "objects" / "checkpoint").read_bytes()
    shutil.copytree(stage.node(VENDOR) / "data" / "objects", copy, ignore=shutil.ignore_patterns("*.tmp"))
    (copy / "checkpoint").write_bytes(published)
    size = parse_checkpoint(parse_note(published).text).size
    bundle = copy / entries_path((size - 1) // TILE_WIDTH, tile_width(0, (size - 1) // TILE_WIDTH, size))
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    done = stage.attempt("ledger", "fsck", copy, "--policy", stage.pin)
    seen = done.stdout.strip().splitlines()[-1]
    return Seen(caught=done.returncode == 1, by="anyone who runs fsck", seen=seen, exit=done.returncode)


def split_view(story: Story) -> Seen:
    """The log signs a second tree of a size that the witnesses have seen."""
    status, size = 409, 0
    while status == 409:  # The log has grown in between: the witness has seen more than this size by now.
        status, size = _submit_second_tree(story)
    seen = f"{WITNESSES[0]} answers {status} to a second tree of {size} entries and keeps both as evidence"
    return Seen(caught=status == 422, by=WITNESSES[0], seen=seen)


def _submit_second_tree(story: Story) -> tuple[int, int]:
    """Have a witness asked to cosign another tree of the newest size; its HTTP status and the size."""
    with LedgerClient(story.stage.ledger_url) as client:
        size = parse_checkpoint(parse_note(client.pending()).text).size
    forged = format_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=bytes(32)))
    signer = open_node(story.stage.node(VENDOR)).signer("log")
    key = VerifierKey(name=ORIGIN, algorithm=ED25519, public=signer.public)
    signature = NoteSignature(name=ORIGIN, key_id=key.key_id, value=signer.sign(signed_bytes(ED25519, forged, 0)))
    note = format_note(Note(text=forged, signatures=(signature,)))
    return Forger(story).submit(WITNESSES[0], size, note), size


def no_quorum(story: Story) -> Seen:
    """The vendor alone amends the charter so that one rebuild by itself is enough."""
    stage = story.stage
    patch = stage.root / "scratch" / "patch.json"
    patch.write_text(json.dumps({"products": {small_ware("1.0").product: {"gate": {"quorum": 1}}}}))
    before = story.charters()
    stage.run("charter", "amend", patch, "--node", stage.node(VENDOR))
    stage.wait("the proposal", lambda: len(story.charters()["open"]) > len(before["open"]), 30.0)
    after = story.charters()
    caught = after["charters"] == before["charters"]
    seen = f"charter {len(after['charters'])} stays in force; the proposal has 1 of the 2 votes it needs"
    return Seen(caught=caught, by=f"{SUPERVISOR}, {COUNCIL}, customer", seen=seen)


def outsider(story: Story) -> Seen:
    """Somebody who is no party of the charter adds to the ledger."""
    refusal = Forger(story).add_as_outsider()
    return Seen(caught=refusal.startswith("403"), by="ledger", seen=refusal)


def lazy_rebuilder(story: Story) -> Seen:
    """A rebuilder that builds nothing and copies what was released; the release is a trap of the members."""
    stage, forger = story.stage, Forger(story)
    trap = stage.root / "scratch" / f"{forger.version}.trap.json"
    made = ("--version", forger.version, "--lock", story.lock(forger.ware), "--out", trap)
    stage.run("trap", "make", forger.ware.recipe, *made, "--node", stage.node(VENDOR))
    stage.run("trap", "sign", trap, "--node", stage.node(COUNCIL))
    stage.run("trap", "commit", trap, "--node", stage.node(COUNCIL))
    stage.stop(REBUILDER, "work")
    released = load(stage.run("trap", "release", trap, "--node", stage.node(VENDOR), "--json"))["release"]
    stage.wait("the trap's release", lambda: released in story.onlooker().records, SECONDS)
    forger.copy_release(released, REBUILDER)
    stage.start(REBUILDER, "work")
    story.await_verdicts(forger.product, forger.version)
    stage.run("trap", "open", trap, "--node", stage.node(COUNCIL))
    found: list[str] = []

    def is_found() -> bool:
        found[:] = [text for text in story.findings("traps", SUPERVISOR) if forger.version in text]
        return bool(found)

    stage.wait("the supervisor's finding", is_found, SECONDS)
    return Seen(caught=REBUILDER in found[-1], by=f"{SUPERVISOR}, {COUNCIL}", seen=found[-1])


CHEATS: dict[str, Cheat] = {
    "backdoor": Cheat(row="R1", title="back-doored build on the conveyor", play=backdoor),
    "hidden-verdict": Cheat(row="R20", title="evidence without the negative verdicts", play=hidden_verdict),
    "unlogged": Cheat(row="R3", title="unlogged file offered", play=unlogged),
    "stolen-key": Cheat(row="R15", title="stolen vendor key alone publishes", play=stolen_key),
    "second-artifact": Cheat(row="R10", title="second artifact under one version", play=second_artifact),
    "unrebuilt": Cheat(row="R4", title="logged, but rebuilt by nobody", play=unrebuilt),
    "stale": Cheat(row="L9", title="old evidence shown as fresh", play=stale),
    "altered-entry": Cheat(row="L3", title="entry altered on the ledger's disk", play=altered_entry),
    "lazy-rebuilder": Cheat(row="S5", title="rebuilder copies instead of building", play=lazy_rebuilder),
    "split-view": Cheat(row="L1", title="two trees of one size", play=split_view),
    "no-quorum": Cheat(row="S3", title="charter amended without its quorum", play=no_quorum),
    "outsider": Cheat(row="L12", title="outsider adds to the ledger", play=outsider),
}
