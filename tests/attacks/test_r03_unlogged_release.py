"""R3 Unlogged release offered.

Cheat: the vendor, who also runs the log, hands a file to one customer without showing it to anybody else; it signs with
    all its own keys, the log key included, and presents as evidence whatever can be made of them.
Noticed by: the customer, offline.
Seen: no evidence exists; made-up evidence ends with exit 4 (no witness quorum, no inclusion), evidence of another file
    with exit 3.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from forgery import forge
from glasshouse_verify.evidence import Evidence
from glasshouse_verify.report import Outcome
from world import World, texts

from glasshouse.ledger.errors import NotThere

UNLOGGED = b"the engine for one customer"


def logged() -> World:
    world = World()
    world.honest()
    return world


def fork() -> tuple[World, Evidence]:
    """The same ledger with the secret release, its rebuilds and a status on top.

    As if everybody but the witnesses were in it: more than the vendor alone could make.
    """
    world = logged()
    release = world.release("1.1", shipped=UNLOGGED)
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    status = world.status()
    return world, forge(world, release, rebuilds=verdicts, status=status)


def test_control_logged_and_witnessed() -> None:
    world, evidence = fork()
    assert world.verify(evidence, UNLOGGED).outcome == Outcome.VERIFIED
    assert logged().verify().outcome == Outcome.VERIFIED


def test_attack_no_evidence_exists() -> None:
    with pytest.raises(NotThere, match="no release of a file"):
        logged().evidence(UNLOGGED)


def test_attack_evidence_of_the_public_file() -> None:
    world = logged()
    report = world.verify(world.evidence(), UNLOGGED)
    assert report.outcome == Outcome.MISMATCH
    assert list(texts(report)) == ["file"]


def head_text(world: World) -> str:
    return world.checkpoint().decode().partition("\n\n")[0] + "\n"


CHECKPOINTS: dict[str, Callable[[World], bytes]] = {
    "the log alone": lambda world: world.cosign(head_text(world)),
    "one colluding witness": lambda world: world.cosign(head_text(world), "w1"),
    "the log's key as a witness": lambda world: world.cosign(head_text(world), "w1", "mallory"),
    "witnesses without the log": lambda world: world.cosign(head_text(world), "w1", "w2", key="mallory"),
}


@pytest.mark.parametrize("made", CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_attack_checkpoint_without_the_quorum(made: Callable[[World], bytes]) -> None:
    world, evidence = fork()
    world.keys["mallory-note"] = world.keys["log"]
    report = world.verify(replace(evidence, checkpoint=made(world).decode()), UNLOGGED)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert [claim.claim for claim in report.claims] == ["charter", "ledger"]


def test_attack_cosignatures_taken_from_the_public_checkpoint() -> None:
    world, evidence = fork()
    public = logged().checkpoint().decode().partition("\n\n")[2].splitlines(keepends=True)
    note = world.cosign(head_text(world)).decode() + "".join(public[1:])
    report = world.verify(replace(evidence, checkpoint=note), UNLOGGED)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "does not verify" in texts(report)["ledger"]


def test_attack_public_checkpoint_over_the_secret_tree() -> None:
    world, evidence = fork()
    public = logged().checkpoint().decode()
    report = world.verify(replace(evidence, checkpoint=public), UNLOGGED)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "not in a tree of 6" in texts(report)["ledger"]


@pytest.mark.parametrize("index", range(6))
def test_attack_place_of_another_entry_claimed(index: int) -> None:
    world, secret = logged(), fork()[1]
    public = forge(world, 2)
    source = replace(secret.source, index=2 if index == 1 else 1)
    claimed = replace(public, release=replace(secret.release, index=index), source=source)
    report = world.verify(claimed, UNLOGGED)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["ledger"]


def test_attack_a_whole_initiative_made_up() -> None:
    """Another first charter, under which the vendor's friends vouch for everything: it is not the one pinned."""
    invented = World(initiative="Invented")
    release = invented.release(shipped=UNLOGGED)
    for party in ("lab", "second"):
        invented.rebuild(release, party)
    invented.status()
    evidence = invented.evidence(UNLOGGED)
    assert invented.verify(evidence, UNLOGGED).outcome == Outcome.VERIFIED
    world = logged()
    report = world.verify(evidence, UNLOGGED)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert "another first charter" in texts(report)["charter"]
    relabelled = replace(evidence, pin=world.evidence().pin)
    assert world.verify(relabelled, UNLOGGED).outcome == Outcome.NOT_AUTHORISED
