"""Handovers: an amendment that changes the log's key or the witnesses needs a checkpoint under the version before."""

from dataclasses import replace
from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.errors import FormatError
from glasshouse_verify.evidence import Evidence
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, format_vkey
from glasshouse_verify.report import Outcome, Report
from world import DAY, ORIGIN, World, seeded, texts


def new_witness(world: World, name: str, leaves: str | None) -> dict[str, Any]:
    """The patch that brings a witness in and, where named, sends another one off."""
    world.keys[f"{name}-note"] = seeded(f"{name}-note")
    entry = {
        "party": name,
        "key": format_vkey(world.vkey(f"{name}.example", f"{name}-note", COSIGNATURE_V1)),
        "url": "",
    }
    parties = {name: {"name": name, "roles": ["witness"], "keys": {}}}
    witnesses: dict[str, Any] = {name: entry} | ({leaves: None} if leaves else {})
    return {"parties": parties, "ledger": {"witnesses": witnesses}}


def new_log_key(world: World, name: str) -> dict[str, Any]:
    world.keys[name] = seeded(name)
    return {"ledger": {"key": format_vkey(world.vkey(ORIGIN, name, ED25519))}}


def changed_witness() -> World:
    """The honest run; then w3 takes over from w2, with the checkpoint that the old witnesses signed over that."""
    world = World()
    world.honest()
    world.amend(new_witness(world, "w3", "w2"))
    world.handovers[2] = world.checkpoint()
    world.witnesses = ("w1", "w3")
    world.status()
    return world


def changed_log_key() -> World:
    world = World()
    world.honest()
    world.amend(new_log_key(world, "log-2"))
    world.release("2.0", shipped=b"2.0")
    world.handovers[2] = world.checkpoint()
    world.log_key = "log-2"
    world.status()
    return world


def changed_twice() -> World:
    """A new witness, then a new log key, with an amendment between them that changes neither."""
    world = changed_witness()
    world.amend({"status": {"maximum_age": DAY // 2}})
    world.amend(new_log_key(world, "log-2"))
    world.handovers[4] = world.checkpoint()
    world.log_key = "log-2"
    world.status()
    return world


WORLDS = [changed_witness, changed_log_key, changed_twice]


@pytest.mark.parametrize("make", WORLDS)
def test_honest_handover(make: Any) -> None:
    world = make()
    report = world.verify()
    assert report.outcome == Outcome.VERIFIED
    assert len(world.evidence().handovers) == len(world.handovers)


@pytest.mark.parametrize("make", WORLDS)
def test_handover_missing(make: Any) -> None:
    world = make()
    evidence = world.evidence()
    for n in range(len(evidence.handovers)):
        fewer = evidence.handovers[:n] + evidence.handovers[n + 1 :]
        assert refused(world, replace(evidence, handovers=fewer)) != ""


def refused(world: World, evidence: Evidence) -> str:
    report: Report = world.verify(evidence)
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["ledger"]
    return texts(report)["ledger"]


def with_handover(world: World, note: bytes) -> Evidence:
    """The evidence proven again with other bytes in the place of its only handover."""
    status = max(record.index for record in world.history.records.values() if "status" in record.statement.use)
    return forge(world, 2, rebuilds=[3, 4], status=status, amendments=[6], handovers=[note])


def test_control_of_the_cases_below() -> None:
    world = changed_witness()
    assert with_handover(world, world.handovers[2]) == world.evidence()


@pytest.mark.parametrize("size", [1, 5, 6])
def test_handover_older_than_the_amendment(size: int) -> None:
    """The witnesses of before have not seen the amendment: nobody whom the customer trusts vouches for it."""
    world = changed_witness()
    old = world.checkpoint("w1", "w2", size=size)
    assert refused(world, with_handover(world, old)) == "a handover checkpoint is older than its amendment"


def test_handover_of_another_history() -> None:
    """A fork that the old witnesses signed, and the ledger that the new ones sign, are two histories."""
    world, fork = changed_witness(), World()
    fork.honest()
    fork.post_entry(world.entries[6])
    fork.release("6.6.6", shipped=b"fork")
    for size in (8, 9):
        note = fork.checkpoint("w1", "w2", size=size)
        reason = refused(world, with_handover(world, note))
        assert "another history" in reason or "not between 1 and" in reason


def test_handover_of_a_fork_in_which_the_amendment_stands() -> None:
    world, fork = changed_witness(), World()
    fork.release("6.6.6", shipped=b"fork")
    for entry in world.entries[3:7]:
        fork.post_entry(entry)
    assert fork.entries[6] == world.entries[6]
    note = fork.checkpoint("w1", "w2", size=7)
    assert refused(world, with_handover(world, note)) == "a handover checkpoint is of another history of the ledger"


@pytest.mark.parametrize("witnesses", [("w1",), ("w2",), ("w1", "w3"), ("w3",)])
def test_handover_short_of_the_older_quorum(witnesses: tuple[str, ...]) -> None:
    world = changed_witness()
    refused(world, with_handover(world, world.checkpoint(*witnesses, size=7)))


def test_handover_signed_by_the_new_log_key() -> None:
    world = changed_log_key()
    note = world.checkpoint(size=8, key="log-2")
    status = len(world.entries) - 1
    evidence = forge(world, 2, rebuilds=[3, 4], status=status, amendments=[6], handovers=[note])
    assert refused(world, evidence)


def test_handover_with_a_signature_that_nobody_checks() -> None:
    world = changed_witness()
    noted = world.checkpoint("w1", "w2", "w3", size=7)
    with pytest.raises(FormatError, match="nobody whom the charter names"):
        world.verify(with_handover(world, noted))
    world.handovers[2] = noted
    assert world.verify().outcome == Outcome.VERIFIED


def test_handovers_that_no_amendment_asks_for() -> None:
    plain = World()
    plain.honest()
    with pytest.raises(FormatError, match="no amendment asks for"):
        plain.verify(replace(plain.evidence(), handovers=(plain.checkpoint().decode(),)))
    world = changed_twice()
    evidence = world.evidence()
    with pytest.raises(FormatError, match="no amendment asks for"):
        world.verify(replace(evidence, handovers=(*evidence.handovers, evidence.handovers[0])))


def test_handovers_in_the_wrong_order() -> None:
    world = changed_twice()
    evidence = world.evidence()
    refused(world, replace(evidence, handovers=evidence.handovers[::-1]))


def test_old_witnesses_no_longer_vouch() -> None:
    """After the change a checkpoint of the old witnesses is short of the quorum, however new it is."""
    world = changed_witness()
    old = world.checkpoint("w1", "w2")
    refused(world, replace(world.evidence(), checkpoint=old.decode()))


def test_new_witnesses_before_the_change_is_shown() -> None:
    """Without the amendment, the checkpoint of the new witnesses means nothing to the customer."""
    world = changed_witness()
    evidence = forge(world, 2, rebuilds=[3, 4], status=5)
    refused(world, evidence)


def test_witnesses_that_take_over_with_their_own_charter() -> None:
    """A forged amendment and witnesses of the forger's own: without the older witnesses there is no handover."""
    world = World()
    release = world.honest()
    own = world.amend(new_witness(world, "w3", "w2"), "acme", "ngo")
    world.witnesses = ("w1", "w3")
    status = world.status()
    for handovers in ([], [world.checkpoint("w1", "w3")], [world.checkpoint("w1", "w3", size=7)]):
        evidence = forge(world, release, rebuilds=[3, 4], status=status, amendments=[own], handovers=handovers)
        refused(world, evidence)


def test_more_witnesses_than_the_quorum_needs() -> None:
    """Four witnesses of which one may be faulty: three are enough, two are not."""
    world = World()
    patches = [new_witness(world, name, None) for name in ("w3", "w4")]
    world = World(
        parties=patches[0]["parties"] | patches[1]["parties"],
        ledger={"faulty": 1, "witnesses": patches[0]["ledger"]["witnesses"] | patches[1]["ledger"]["witnesses"]},
    )
    for name in ("w3-note", "w4-note"):
        world.keys[name] = seeded(name)
    world.honest()
    for witnesses, outcome in (
        (("w1", "w2", "w3", "w4"), Outcome.VERIFIED),
        (("w1", "w3", "w4"), Outcome.VERIFIED),
        (("w2", "w4"), Outcome.NOT_AUTHORISED),
    ):
        world.witnesses = witnesses
        assert world.verify().outcome == outcome
