"""S2 Forged or repeated vote.

Cheat: an amendment short of votes is filled up: with a vote copied from another proposal, a signature made by somebody
    else under a member's name, the same vote twice, a second key of the same member, a vote of one who is no member,
    or a vote made with a key that was stopped or is meant for something else.
Noticed by: everybody who follows the ledger, and the customer, who counts the votes again.
Seen: the amendment does not come into force; exit 4 for evidence that shows it; a false signature makes the whole entry
    unreadable, which is on record.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result
from forgery import forge
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, format_envelope
from glasshouse_verify.errors import FormatError, QuorumError
from glasshouse_verify.report import Outcome
from onlookers import alarms
from typer.testing import CliRunner
from world import DAY, World, charter_key, seeded, texts

from glasshouse.cli.charter import app as charter_commands

SPARE = seeded("acme-spare")
PATCH = {"status": {"maximum_age": 30 * DAY}}


def world_with_spare_key() -> World:
    """The vendor has a second key that may vote."""
    world = World(parties={"acme": {"keys": {SPARE.keyid: charter_key(SPARE, "zurich-1", ["charter"])}}})
    world.keys["acme-spare"] = SPARE
    return world


def refused(world: World, entry: int) -> str:
    """Why the customer refuses evidence that shows the amendment at `entry`, which is not in force."""
    assert world.history.chain.newest.charter.version == 1
    release = world.release()
    report = world.verify(forge(world, release, amendments=[entry]))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert [claim.claim for claim in report.claims] == ["charter"]
    return texts(report)["charter"]


def test_control_two_members_vote() -> None:
    world = world_with_spare_key()
    world.amend(PATCH, "acme-spare", "ngo")
    assert world.history.chain.newest.charter.status.maximum_age == 30 * DAY
    world.honest()
    assert world.verify().outcome == Outcome.VERIFIED
    assert alarms(world) == {}


def test_control_votes_gathered_over_several_entries() -> None:
    """Each entry carries the votes so far; the first one with the quorum is the amendment."""
    world = World()
    payload = world.amendment(PATCH)
    world.post(payload, "ngo")
    assert world.history.chain.newest.charter.version == 1
    world.post(payload, "ngo", "acme")
    world.post(payload, "ngo", "acme", "lab")
    assert [link.index for link in world.history.chain.links] == [-1, 2]
    world.honest()
    assert world.verify().outcome == Outcome.VERIFIED
    assert alarms(world) == {}


@pytest.mark.parametrize(
    "voters",
    [
        ("acme", "acme-spare"),
        ("acme", "acme-old"),
        ("acme", "mallory"),
        ("acme", "second"),
        ("acme", "w1", "w2", "second"),
        ("mallory",),
    ],
)
def test_attack_votes_that_do_not_count(voters: tuple[str, ...]) -> None:
    world = world_with_spare_key()
    world.amend(PATCH, *voters)
    assert "of the 2 member votes" in refused(world, 1)


def test_attack_one_vote_in_two_entries() -> None:
    """Votes of different entries are not added up for a customer: one entry has to carry them all."""
    world = World()
    payload = world.amendment(PATCH)
    world.post(payload, "acme")
    world.post(payload, "ngo")
    assert "1 of the 2" in refused(world, 1)


def test_attack_same_signature_twice() -> None:
    world = World()
    once = world.envelope(world.amendment(PATCH), "acme")
    with pytest.raises(FormatError, match="signs twice"):
        format_envelope(replace(once, signatures=once.signatures * 2))
    world.post_entry(format_envelope(once))
    release = world.release()
    evidence = forge(world, release, amendments=[1])
    (shown,) = evidence.amendments
    doubled = replace(shown, signatures=shown.signatures * 2)
    assert world.verify(replace(evidence, amendments=(doubled,))).outcome == Outcome.NOT_AUTHORISED


def test_attack_vote_copied_from_another_proposal() -> None:
    world = World()
    honest = world.envelope(world.amendment({"status": {"maximum_age": 3600}}), "ngo")
    payload = world.amendment(PATCH)
    mixed = Envelope(payload=payload, signatures=(*world.envelope(payload, "acme").signatures, *honest.signatures))
    world.post_entry(format_envelope(mixed))
    assert world.history.anomalies[-1].rule == "unreadable-entry"
    assert "does not verify" in refused(world, 1)


def test_attack_signature_under_a_members_name() -> None:
    world = World()
    payload = world.amendment(PATCH)
    honest, thief = world.envelope(payload, "acme").signatures, world.envelope(payload, "mallory").signatures[0]
    posed = EnvelopeSignature(keyid=world.keys["ngo"].keyid, sig=thief.sig)
    world.post_entry(format_envelope(Envelope(payload=payload, signatures=(*honest, posed))))
    assert "does not verify" in refused(world, 1)


def test_attack_vote_added_in_the_evidence_only() -> None:
    """A true vote that was never logged: the entry in the ledger has another hash."""
    world = World()
    payload = world.amendment(PATCH)
    world.post(payload, "acme")
    release = world.release()
    evidence = forge(world, release, amendments=[1])
    (vote,) = world.envelope(payload, "ngo").signatures
    shown = replace(evidence.amendments[0], signatures=(*evidence.amendments[0].signatures, vote))
    report = world.verify(replace(evidence, amendments=(shown,)))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["ledger"]


def pinned(directory: Path, world: World, *signers: str) -> Result:
    """The answer of `glasshouse charter pin` to a first charter with these signatures."""
    signed = directory / "signed.json"
    signed.write_bytes(format_envelope(world.envelope(world.pin, *signers)))
    return CliRunner().invoke(charter_commands, ["pin", str(signed), "--out", str(directory / "charter.json")])


@pytest.mark.parametrize("voters", [("acme",), ("acme", "acme-old"), ("acme-old", "second"), ("acme", "mallory")])
def test_attack_first_charter_with_votes_that_do_not_count(tmp_path: Path, voters: tuple[str, ...]) -> None:
    """A member's other keys are no votes for the first charter either."""
    result = pinned(tmp_path, World(), *voters)
    assert isinstance(result.exception, QuorumError)
    assert not (tmp_path / "charter.json").exists()


def test_attack_first_charter_voted_for_with_the_keys_for_releases(tmp_path: Path) -> None:
    world = World(parties={name: {"keys": {seeded(name).keyid: {"uses": ["release"]}}} for name in ("acme", "lab")})
    assert isinstance(pinned(tmp_path, world, "acme", "lab").exception, QuorumError)


def test_control_first_charter_with_its_quorum(tmp_path: Path) -> None:
    world = World()
    assert pinned(tmp_path, world, "acme", "ngo").exit_code == 0
    assert (tmp_path / "charter.json").read_bytes() == world.pin


def test_attack_votes_with_stopped_keys() -> None:
    world = World()
    stopped = {name: {"keys": {world.keys[name].keyid: {"stops": 1}}} for name in ("acme", "ngo")}
    world.amend({"parties": stopped})
    assert world.history.chain.newest.charter.version == 2
    world.amend(PATCH, "acme", "ngo")
    world.amend(PATCH, "acme", "lab")
    assert world.history.chain.newest.charter.version == 2
