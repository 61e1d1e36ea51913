"""New keys for the log and its witnesses: who signs what at which size, and what happens when somebody is not ready."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, VerifierKey, format_note, format_vkey, parse_note
from glasshouse_verify.policy import check_checkpoint
from ledgers import MemoryTree, served, size_of, until
from notary import Notary
from world import World, seeded

from glasshouse.ledger.admission import CharterAdmission
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError, SignatureRefused, Stale, UnknownLog
from glasshouse.ledger.following import follow
from glasshouse.ledger.history import History
from glasshouse.ledger.log import Log, create_log, open_log
from glasshouse.ledger.running import CharterWitnessing, RunningLog
from glasshouse.ledger.server import create_app
from glasshouse.ledger.succession import Succession
from glasshouse.ledger.view import View
from glasshouse.ledger.witness import Witness, create_witness_app, parse_request
from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.ring import KeyRing
from glasshouse.parties.signer import Signer
from glasshouse.storage.db import Database
from glasshouse.storage.objects import DirectoryStore

NAMES = ("w1", "w2")


@dataclass
class Scene:
    """The world's charter with a real log and real witnesses, in this process, over HTTP."""

    world: World
    directory: Path
    database: Database
    keys: list[Signer]
    witnesses: dict[str, Witness]
    urls: dict[str, str]
    log: Log | None = None
    running: RunningLog = field(init=False)
    client: LedgerClient = field(init=False)

    @contextlib.contextmanager
    def started(self) -> Iterator["Scene"]:
        admission = CharterAdmission(self.world.pin)
        store = DirectoryStore(self.directory / "objects")
        key = self.world.vkey(self.origin, "log", ED25519)
        log = open_log(self.database, self.origin) if self.log else create_log(self.database, store, key)
        self.log = log
        spool = self.directory / "spool"
        spool.mkdir(exist_ok=True)
        self.running = RunningLog(
            database=self.database,
            store=store,
            log=log,
            keys=KeyRing(*self.keys, find=lambda: list(self.keys)),
            admission=admission,
            witnessing=CharterWitnessing(admission),
            interval_seconds=0.02,
            witness_timeout_seconds=2.0,
        )
        with (
            self.running,
            served(create_app(self.running, spool=spool)) as url,
            LedgerClient(url, patience_seconds=2.0) as client,
        ):
            self.client = client
            yield self

    @property
    def origin(self) -> str:
        return self.world.history.chain.newest.charter.ledger.origin

    def post(self, payload: bytes, *signers: str) -> int:
        self.world.post(payload, *signers)
        return self.client.add(self.world.entries[-1])

    def amend(self, patch: dict[str, Any]) -> int:
        self.world.amend(patch)
        return self.client.add(self.world.entries[-1])

    def names(self) -> set[tuple[str, bytes]]:
        """Who signed the published checkpoint."""
        return {(s.name, s.key_id) for s in parse_note(self.client.checkpoint()).signatures}

    def succeed(self) -> None:
        """Every witness looks for the charter's amendments now."""
        for witness in self.witnesses.values():
            Succession(self.world.pin, witness).follow(self.client)

    def satisfied(self) -> bool:
        """Whether the published checkpoint has all entries and what the newest charter asks for."""
        with contextlib.suppress(LedgerError, VerifyError):
            note = parse_note(self.client.checkpoint())
            check_checkpoint(self.world.history.chain.newest.charter.policy, note)
            return size_of(format_note(note)) == len(self.world.entries)
        return False

    def new_log_key(self, name: str) -> dict[str, Any]:
        self.world.keys[name] = seeded(name)
        return {"ledger": {"key": format_vkey(self.world.vkey(self.origin, name, ED25519))}}

    def new_witness_key(self, party: str, name: str) -> dict[str, Any]:
        self.world.keys[name] = seeded(name)
        key = format_vkey(self.world.vkey(f"{party}.example", name, COSIGNATURE_V1))
        return {"ledger": {"witnesses": {party: {"key": key}}}}


def vid(key: VerifierKey) -> tuple[str, bytes]:
    return key.name, key.key_id


@pytest.fixture
def scene(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """An origin of its own for each test: one database serves them all."""
    origin = f"{request.node.name.replace('_', '-')[:40]}.example"
    log = VerifierKey(name=origin, algorithm=ED25519, public=seeded("log").public)
    with contextlib.ExitStack() as stack:
        witnesses = {
            name: Witness(
                tmp_path / f"{name}.sqlite3", name=f"{name}.example", keys=KeyRing(seeded(f"{name}-note")), logs=[log]
            )
            for name in NAMES
        }
        for witness in witnesses.values():
            stack.callback(witness.close)
        urls = {name: stack.enter_context(served(create_witness_app(witnesses[name]))) for name in NAMES}
        patch = {"origin": origin, "key": format_vkey(log), "witnesses": {name: {"url": urls[name]} for name in NAMES}}
        world = World(ledger=patch)
        opened = Scene(world, tmp_path, database, [seeded("log")], witnesses, urls)
        stack.enter_context(opened.started())
        assert opened.client.add(world.entries[0]) == 0
        until(opened.satisfied)
        yield opened


def test_the_old_key_signs_over_the_amendment_then_the_new_one(scene: Scene) -> None:
    scene.keys.append(seeded("log-2"))
    old = vid(scene.world.vkey(scene.origin, "log", ED25519))
    index = scene.amend(scene.new_log_key("log-2"))
    new = vid(scene.world.vkey(scene.origin, "log-2", ED25519))
    until(lambda: size_of(scene.client.checkpoint()) == index + 1)
    assert old in scene.names()
    assert new not in scene.names()
    scene.succeed()
    until(scene.satisfied)
    assert new in scene.names()
    assert old not in scene.names()
    first = parse_note(scene.client.handover(2))
    assert old in {(s.name, s.key_id) for s in first.signatures}
    check_checkpoint(scene.world.history.chain.links[0].charter.policy, first)


def test_a_log_without_the_new_key_waits_and_says_no_alarm(scene: Scene) -> None:
    scene.amend(scene.new_log_key("log-2"))
    until(lambda: size_of(scene.client.checkpoint()) == 2)
    scene.post(scene.world.amendment({"status": {"maximum_age": 1}}), "lab")
    assert scene.running.alarm is None
    assert size_of(scene.client.checkpoint()) == 2
    scene.keys.append(seeded("log-2"))
    scene.succeed()
    until(scene.satisfied)


def test_one_checkpoint_over_two_amendments_bears_both_keys_before(scene: Scene) -> None:
    """The log stands still while two amendments are logged; the policy before each of them has to be satisfied."""
    scene.keys += [seeded("log-2"), seeded("log-3")]
    world = scene.world
    world.amend(scene.new_log_key("log-2"))
    world.amend(scene.new_log_key("log-3"))
    scene.client.add_batch(world.entries[-2:])
    for witness in scene.witnesses.values():
        witness.succeed(world.vkey(scene.origin, "log-2", ED25519))
    until(lambda: size_of(scene.client.checkpoint()) == 3)
    scene.succeed()
    until(scene.satisfied)
    first, second = parse_note(scene.client.handover(2)), parse_note(scene.client.handover(3))
    for note, link in ((first, 0), (second, 1)):
        check_checkpoint(world.history.chain.links[link].charter.policy, note)


def test_a_witness_goes_over_with_the_amendment(scene: Scene) -> None:
    index = scene.amend(scene.new_witness_key("w1", "w1-note-2"))
    until(lambda: size_of(scene.client.checkpoint()) == index + 1)
    assert not scene.satisfied()
    scene.witnesses["w1"]._keys = KeyRing(seeded("w1-note"), seeded("w1-note-2"))
    until(scene.satisfied)
    old = scene.world.history.chain.links[0].charter.policy
    check_checkpoint(old, parse_note(scene.client.handover(2)))


def test_a_view_waits_at_the_handover_until_the_new_witness_signs(scene: Scene, tmp_path: Path) -> None:
    history = History(scene.world.pin)
    with View(tmp_path / "view", history.chain.newest.charter.policy) as view:
        follow(scene.client, view, history)
        index = scene.amend(scene.new_witness_key("w1", "w1-note-2"))
        until(lambda: size_of(scene.client.checkpoint()) == index + 1)
        follow(scene.client, view, history)
        assert (view.size, history.chain.newest.charter.version) == (index + 1, 2)
        follow(scene.client, view, history, now=int(time.time()))
        with pytest.raises(Stale):
            follow(scene.client, view, history, now=int(time.time()) + 7200)
        scene.witnesses["w1"]._keys = KeyRing(seeded("w1-note"), seeded("w1-note-2"))
        until(scene.satisfied)
        follow(scene.client, view, history)
        check_checkpoint(history.chain.newest.charter.policy, parse_note(scene.client.checkpoint()))


def test_whoever_was_away_for_several_handovers_follows_them_all(scene: Scene, tmp_path: Path) -> None:
    for number in (2, 3, 4):
        scene.keys.append(seeded(f"log-{number}"))
        scene.amend(scene.new_log_key(f"log-{number}"))
        until(lambda: size_of(scene.client.checkpoint()) == len(scene.world.entries))
        scene.succeed()
        until(scene.satisfied)
    history = History(scene.world.pin)
    with View(tmp_path / "view", history.chain.newest.charter.policy) as view:
        follow(scene.client, view, history)
    assert [link.id for link in history.chain.links] == [link.id for link in scene.world.history.chain.links]


def test_a_log_that_restarts_at_the_handover_goes_on(scene: Scene) -> None:
    """Between the two publications of one size the process may end; the next one publishes the second."""
    scene.amend(scene.new_log_key("log-2"))
    until(lambda: size_of(scene.client.checkpoint()) == 2)
    scene.running.__exit__()
    scene.keys.append(seeded("log-2"))
    scene.succeed()
    with scene.started():
        until(scene.satisfied)
        scene.running.__exit__()
    scene.keys.remove(scene.keys[0])
    with scene.started():
        scene.post(scene.world.amendment({"status": {"maximum_age": 1}}), "lab")
        until(scene.satisfied)


# --- what a witness takes ------------------------------------------------------------------------------------------

LOG, NEXT = Notary("log.example"), Notary("log.example", salt="next")
TREE = MemoryTree("log.example", [b"%d" % n for n in range(30)])


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    opened = Witness(tmp_path / "w.sqlite3", name="w.example", keys=KeyRing(seeded("w")), logs=[LOG.key])
    yield opened
    opened.close()


def cosign(witness: Witness, old: int, size: int, *notaries: Notary) -> int:
    return len(witness.add_checkpoint(parse_request(TREE.request(old, size, *notaries))))


def test_an_older_key_counts_until_the_newer_one_has_signed(witness: Witness) -> None:
    cosign(witness, 0, 10, LOG)
    with pytest.raises(SignatureRefused, match="no known key"):
        cosign(witness, 10, 11, NEXT)
    assert witness.succeed(NEXT.key)
    assert not witness.succeed(NEXT.key)
    cosign(witness, 10, 11, LOG)
    cosign(witness, 11, 12, NEXT)
    with pytest.raises(SignatureRefused, match="counts no more"):
        cosign(witness, 12, 13, LOG)
    cosign(witness, 12, 13, LOG, NEXT)
    with pytest.raises(SignatureRefused, match="counts no more"):
        cosign(witness, 13, 14, LOG)


def test_successors_outlive_the_process(witness: Witness, tmp_path: Path) -> None:
    witness.succeed(NEXT.key)
    cosign(witness, 0, 10, NEXT)
    for logs in ([LOG.key], [LOG.key, NEXT.key], [NEXT.key]):
        again = Witness(tmp_path / "w.sqlite3", name="w.example", keys=KeyRing(seeded("w")), logs=logs)
        size = again.cosigned("log.example")
        assert size is not None
        cosign(again, size.size, size.size + 1, NEXT)
        if logs == [LOG.key]:
            with pytest.raises(SignatureRefused):
                cosign(again, size.size + 1, size.size + 2, LOG)
        again.close()


def test_only_a_log_that_is_served_gets_a_successor(witness: Witness) -> None:
    with pytest.raises(UnknownLog):
        witness.succeed(Notary("other.example").key)
    with pytest.raises(FormatError, match="log key"):
        witness.succeed(Notary("log.example", COSIGNATURE_V1).key)


def test_a_witness_with_two_keys_signs_with_both(tmp_path: Path) -> None:
    keys = KeyRing(seeded("one"), seeded("two"))
    opened = Witness(tmp_path / "w.sqlite3", name="w.example", keys=keys, logs=[LOG.key])
    with contextlib.closing(opened), served(create_witness_app(opened)) as url:
        answer = httpx.post(f"{url}/add-checkpoint", content=TREE.request(0, 5, LOG))
        assert (answer.status_code, answer.text.count("\n")) == (200, 2)
        keys._signers = {b"": Broken(), **{seeded("two").public: seeded("two")}}
        assert httpx.post(f"{url}/add-checkpoint", content=TREE.request(5, 6, LOG)).text.count("\n") == 1
        keys._signers = {b"": Broken()}
        answer = httpx.post(f"{url}/add-checkpoint", content=TREE.request(6, 7, LOG))
        assert (answer.status_code, "unplugged" in answer.text) == (503, True)
        assert opened.cosigned("log.example").size == 6  # type: ignore[union-attr]


class Broken:
    """A token that was pulled out."""

    public, keyid = seeded("broken").public, seeded("broken").keyid

    def sign(self, _message: bytes, /) -> bytes:
        raise KeyUnavailable("unplugged")


def test_an_amendment_outside_the_cosigned_tree_is_not_taken(scene: Scene) -> None:
    """The ledger shows a witness an amendment that members signed and no tree holds."""
    world, cosigned = scene.world, scene.witnesses["w1"].cosigned(scene.origin)
    assert cosigned is not None
    envelope = world.envelope(world.amendment(scene.new_log_key("log-2")), "acme", "ngo")

    class Lying(LedgerClient):
        def lookup(self, _sha256: str, /) -> list[int]:
            return [0]

        def entry(self, _index: int, /) -> bytes:
            return format_envelope(envelope)

    succession = Succession(world.pin, scene.witnesses["w1"])
    with Lying(scene.client.url) as liar:
        succession.follow(liar)
    assert not any(world.vkey(scene.origin, "log-2", ED25519) in g for g in scene.witnesses["w1"]._logs[scene.origin])


def test_a_ring_names_the_key_that_is_missing() -> None:
    found: list[Signer] = [seeded("one")]
    ring = KeyRing(find=lambda: list(found))
    assert ring.signers() == ()
    assert ring.holding(seeded("one").public).keyid == seeded("one").keyid
    found.append(seeded("two"))
    assert [signer.keyid for signer in ring.signers()] == [seeded("one").keyid]
    ring.refresh()
    assert len(ring.signers()) == 2
    with pytest.raises(KeyUnavailable):
        ring.holding(seeded("three").public)
