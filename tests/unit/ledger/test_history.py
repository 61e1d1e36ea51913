"""The judged history: which entry makes a statement stand, what is remarked on, and that all who read agree."""

from dataclasses import replace
from typing import Any

import pytest
from glasshouse_verify.alarm import Finding, Hold
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, format_envelope, parse_envelope, statement_id
from glasshouse_verify.statement import Action, Use, Verdict, make_statement
from world import NOW, PRODUCT, World, charter_key, digest, seeded

from glasshouse.ledger.history import Anomaly, History


def rules(world: World) -> list[str]:
    return [anomaly.rule for anomaly in world.history.anomalies]


def standing(world: World, use: Use) -> list[str]:
    return [record.id for record in world.history.standing(use)]


def hold(world: World, release: str, party: str = "lab", action: Action = Action.HOLD, **changes: Any) -> str:
    fields = {"party": party, "action": action, "release": release, "reason": "because", "time": world.now}
    signer = changes.pop("signer", party)
    return world.post(make_statement(Use.HOLD, Hold(**(fields | changes))), signer)


def test_an_honest_ledger_has_no_anomalies() -> None:
    world = World()
    world.honest()
    assert world.history.anomalies == []
    assert world.history.size == len(world.entries) == 6
    assert [record.index for record in world.history.records.values()] == [0, 1, 2, 3, 4, 5]
    assert {use: len(standing(world, use)) for use in Use if standing(world, use)} == {
        Use.CHARTER: 1,
        Use.SOURCE: 1,
        Use.RELEASE: 1,
        Use.REBUILD: 2,
        Use.STATUS: 1,
    }


def test_whoever_feeds_the_same_entries_gets_the_same_rows() -> None:
    world = World()
    release = world.honest()
    hold(world, release)
    world.rebuild(release, "lab", Verdict.DIFFERS)
    world.post_entry(world.entries[2])
    world.amend({"status": {"maximum_age": 60}})
    other = History(world.pin)
    for entry in world.entries:
        other.feed(entry)
    assert list(other.status_rows()) == list(world.history.status_rows())
    assert other.anomalies == world.history.anomalies
    assert other.records.keys() == world.history.records.keys()


def test_feed_answers_with_the_record_that_it_makes() -> None:
    world = World()
    history = History(world.pin)
    first = history.feed(world.entries[0])
    assert first is not None
    assert (first.index, first.id, first.predicate.version) == (0, history.pin_id, 1)
    assert history.feed(world.entries[0]) is None
    assert history.feed(b"nonsense") is None
    assert history.size == 3


# --- which entry counts --------------------------------------------------------------------------------------------


def test_a_statement_stands_at_its_lowest_sufficient_entry() -> None:
    world = World()
    payload = make_statement(Use.SOURCE, world.source())
    identity = world.post(payload, "mallory")
    world.post(payload, "lab")
    world.post(payload, "lab", "acme")
    world.post(payload, "acme")
    assert world.history.records[identity].index == 3
    assert rules(world) == ["not-entitled", "not-entitled"]


def test_signatures_of_two_entries_are_not_added_up() -> None:
    world = World()
    release = world.release()
    world.oversee(release)
    payload = world.status_payload(time=NOW - 30)
    first = world.post(payload, "lab")
    world.post(payload, "second")
    assert first not in world.history.records
    assert list(world.history.proposals) == [first]
    world.post(payload, "lab", "second")
    assert world.history.records[first].index == len(world.entries) - 1
    assert world.history.proposals == {}


def test_a_false_signature_makes_the_whole_entry_unreadable() -> None:
    world = World()
    envelope = world.envelope(make_statement(Use.SOURCE, world.source()), "acme")
    forged = EnvelopeSignature(keyid=world.keys["lab"].keyid, sig=bytes(64))
    identity = world.post_entry(
        format_envelope(Envelope(payload=envelope.payload, signatures=(*envelope.signatures, forged)))
    )
    assert identity not in world.history.records
    assert rules(world) == ["unreadable-entry"]
    world.post_entry(format_envelope(envelope))
    assert world.history.records[identity].index == 2


@pytest.mark.parametrize("entry", [b"", b"{}", b"\xff", b"nonsense", b'{"payload":"e30=","payloadType":"x"}'])
def test_unreadable_entries_are_remarked_on_and_passed_over(entry: bytes) -> None:
    world = World()
    world.history.feed(entry)
    assert rules(world) == ["unreadable-entry"]
    anomaly = world.history.anomalies[0]
    assert isinstance(anomaly, Anomaly)
    assert (anomaly.index, anomaly.about) == (1, ())


@pytest.mark.parametrize("signers", [("mallory",), ("lab",), ("ngo",), ("w1", "second")])
def test_a_statement_in_anothers_name(signers: tuple[str, ...]) -> None:
    world = World()
    identity = world.post(make_statement(Use.SOURCE, world.source()), *signers)
    assert identity not in world.history.records
    assert world.history.anomalies[0].about == (identity,)
    assert "no key of acme may sign this source" in world.history.anomalies[0].text


def test_a_key_meant_for_something_else() -> None:
    world = World()
    finding = Finding(party="acme", rule="r", about=(digest(b"x"),), text="", time=NOW)
    assert world.post(make_statement(Use.FINDING, finding), "acme") not in world.history.records
    assert rules(world) == ["not-entitled"]


def test_stop_indexes_reach_back_over_everything_but_charters() -> None:
    world = World()
    release = world.honest()
    assert standing(world, Use.RELEASE) == [release]
    world.amend({"parties": {"acme": {"keys": {world.keys["acme"].keyid: {"stops": 2}}}}}, "lab", "ngo")
    assert standing(world, Use.SOURCE) != []
    assert standing(world, Use.RELEASE) == []
    assert standing(world, Use.CHARTER) == [world.history.pin_id, world.history.chain.newest.id]
    assert list(world.history.status_rows()) == []


def renewed_key(world: World, stops: int) -> str:
    """The vendor's key is stopped at an entry, perhaps in hindsight, and another one follows it."""
    fresh = seeded("acme-fresh")
    world.keys["acme-fresh"] = fresh
    uses = ["source", "release", "provenance", "hold", "charter"]
    keys = {world.keys["acme"].keyid: {"stops": stops}, fresh.keyid: charter_key(fresh, "zurich-1", uses)}
    return world.amend({"parties": {"acme": {"keys": keys}}}, "lab", "ngo")


@pytest.mark.parametrize("order", ["stopped first", "signed again first"])
def test_a_statement_signed_again_with_a_new_key_stands_where_the_old_one_is_stopped(order: str) -> None:
    """The thief is out, and what the vendor really released need not be released, rebuilt and held anew."""
    world = World()
    release = world.honest()
    payloads = [parse_envelope(entry).payload for entry in world.entries[1:3]]
    if order == "stopped first":
        renewed_key(world, stops=1)
        for payload in payloads:
            world.post(payload, "acme-fresh")
    else:
        keys = charter_key(seeded("acme-fresh"), "zurich-1", ["source", "release", "provenance"])
        world.keys["acme-fresh"] = seeded("acme-fresh")
        world.amend({"parties": {"acme": {"keys": {seeded("acme-fresh").keyid: keys}}}})
        for payload in payloads:
            world.post(payload, "acme-fresh")
        world.amend({"parties": {"acme": {"keys": {world.keys["acme"].keyid: {"stops": 1}}}}}, "lab", "ngo")
    (record,) = world.history.standing(Use.RELEASE)
    assert record.id == release
    assert record.index == len(world.entries) - (1 if order == "stopped first" else 2)
    assert [source.index for source in world.history.standing(Use.SOURCE)] == [record.index - 1]
    assert len(world.history.verdicts(record)) == 2


def test_a_statement_logged_again_counts_once() -> None:
    world = World()
    release = world.honest()
    for index in (1, 2, 3, 5):
        world.post_entry(world.entries[index])
    assert {use: len(standing(world, use)) for use in (Use.SOURCE, Use.RELEASE, Use.REBUILD, Use.STATUS)} == {
        Use.SOURCE: 1,
        Use.RELEASE: 1,
        Use.REBUILD: 2,
        Use.STATUS: 1,
    }
    assert world.history.records[release].index == 2
    assert [others for _, _, others in world.history.released()] == [[]]
    assert rules(world) == []


def test_the_rules_of_a_status_are_those_at_its_checkpoint() -> None:
    """Signed by the quorum of then, logged after an amendment that asks for another: it stands, as for a customer."""
    world = World(status={"quorum": 1})
    world.release()
    payload = world.status_payload()
    world.amend({"status": {"quorum": 2}})
    status = world.post(payload, "lab")
    assert standing(world, Use.STATUS) == [status]
    later = world.post(world.status_payload(time=NOW), "lab")
    assert later not in world.history.records


def test_a_status_falls_short_where_one_of_its_keys_is_stopped_before_it() -> None:
    world = World()
    world.honest()
    assert len(standing(world, Use.STATUS)) == 1
    world.amend({"parties": {"lab": {"keys": {world.keys["lab"].keyid: {"stops": 5}}}}}, "acme", "ngo")
    assert standing(world, Use.STATUS) == []
    assert len(standing(world, Use.REBUILD)) == 2


def test_provenance_stands_where_any_entitled_key_signed_it() -> None:
    world = World()
    release = world.statement(world.release())
    payload = world.provenance(world.source(), release.files[0]).payload
    assert world.post(payload, "lab") not in world.history.records
    assert world.post(payload, "acme") in world.history.records


# --- charters ------------------------------------------------------------------------------------------------------


def test_proposals_and_what_becomes_of_them() -> None:
    world = World()
    payload = world.amendment({"time": 1})
    identity = world.post(payload, "acme")
    assert list(world.history.proposals) == [identity]
    world.post(payload, "acme", "lab")
    assert world.history.proposals == {}
    assert world.history.chain.newest.id == identity
    assert world.history.anomalies == []


@pytest.mark.parametrize(
    ("signers", "rule"), [(("second",), "charter-without-quorum"), (("mallory",), "charter-without-quorum")]
)
def test_amendments_for_which_no_member_voted(signers: tuple[str, ...], rule: str) -> None:
    world = World()
    world.post(world.amendment({"time": 1}), *signers)
    assert rules(world) == [rule]


def test_amendments_that_may_not_follow() -> None:
    world = World()
    world.post(world.amendment({"parties": {"acme": {"keys": {world.keys["acme-old"].keyid: None}}}}), "acme", "ngo")
    assert rules(world) == ["invalid-charter"]
    assert world.history.chain.newest.charter.version == 1


def test_another_first_charter_is_remarked_on() -> None:
    world = World()
    world.post(World(initiative="Other").pin, "acme", "lab")
    assert rules(world) == ["second-successor"]


def test_a_later_charter_of_another_chain_is_passed_over() -> None:
    world, other = World(), World(initiative="Other")
    other.amend({"time": 1})
    world.post(other.amendment({"time": 2}), "acme", "ngo")
    assert world.history.chain.newest.charter.version == 1


# --- releases, verdicts, holds -------------------------------------------------------------------------------------


def test_released_files_and_other_releases_of_their_version() -> None:
    world = World()
    first = world.release()
    assert [(record.id, others) for record, _, others in world.history.released()] == [(first, [])]
    second = world.release(shipped=b"second", name="other.whl", time=NOW)
    other = world.release("2.0", shipped=b"2.0")
    found = {(record.id, file.name): others for record, file, others in world.history.released()}
    assert found == {
        (first, "engine-1.0.whl"): [second],
        (second, "other.whl"): [first],
        (other, "engine-1.0.whl"): [],
    }


def test_a_release_whose_key_was_stopped_conflicts_with_nothing() -> None:
    world = World()
    stolen = world.release(shipped=b"stolen", by="acme-old", built_by="acme-old")
    honest = world.honest()
    assert world.history.records[stolen].index < world.history.records[honest].index
    assert [others for _, _, others in world.history.released()] == [[honest]]
    world.amend({"parties": {"acme": {"keys": {world.keys["acme-old"].keyid: {"stops": 0}}}}})
    assert [(record.id, others) for record, _, others in world.history.released()] == [(honest, [])]


@pytest.mark.parametrize("changes", [{"source": digest(b"other")}, {"product": "acme/other"}, {"version": "2.0"}])
def test_a_rebuild_of_something_else_is_no_verdict(changes: dict[str, Any]) -> None:
    world = World()
    release = world.release()
    world.rebuild(release, "lab", **changes)
    assert world.history.verdicts(world.history.records[release]) == {}


def test_replaced_verdicts() -> None:
    world = World()
    release = world.release()
    record = world.history.records[release]

    def given() -> list[str]:
        return [found.id for found in world.history.verdicts(record).get("lab", [])]

    first = world.rebuild(release, "lab", Verdict.BUILD_FAILED)
    second = world.rebuild(release, "lab", replaces=first)
    assert given() == [second]
    third = world.rebuild(release, "lab", Verdict.DIFFERS, time=NOW)
    assert given() == [second, third]
    world.rebuild(release, "second", replaces=third)
    assert given() == [second, third]
    fourth = world.rebuild(release, "lab", replaces=third, time=NOW + 1)
    assert given() == [second, fourth]


def test_a_stopped_verdict_gives_way_to_the_one_it_replaced() -> None:
    world = World()
    release = world.release()
    spare = seeded("lab-spare")
    world.keys["lab-spare"] = spare
    world.amend({"parties": {"lab": {"keys": {spare.keyid: charter_key(spare, "bern", ["rebuild"])}}}})
    first = world.rebuild(release, "lab", Verdict.DIFFERS)
    world.rebuild(release, "lab", replaces=first, signer="lab-spare")
    world.amend({"parties": {"lab": {"keys": {spare.keyid: {"stops": 5}}}}})
    (left,) = world.history.verdicts(world.history.records[release])["lab"]
    assert left.id == first


def test_rebuilds_of_a_release_that_comes_later() -> None:
    """Who rebuilt blind may know the release's id before it is logged; the verdict counts once it is."""
    world, ahead = World(), World()
    release = ahead.release()
    world.post(make_statement(Use.REBUILD, ahead.rebuild_of(release, "lab")), "lab")
    assert list(world.history.status_rows()) == []
    for entry in ahead.entries[1:]:
        world.post_entry(entry)
    (row,) = world.history.status_rows()
    assert row["verdicts"]["lab"]["verdict"] == "identical"


def blind(world: World, release: str) -> bool:
    (row,) = world.history.status_rows()
    return bool(row["verdicts"]["lab"]["blind"])


def test_a_commitment_to_nothing_is_no_blind_rebuild() -> None:
    """Equal once stabilised, it says, and commits to no digest at all: nobody has to build for that."""
    world = World()
    source_id = world.post(make_statement(Use.SOURCE, world.source()), "acme")
    world.commit("lab", source_id)
    release = world.release()
    world.rebuild(release, "lab", Verdict.STABILISED_EQUAL)
    assert world.history.records[source_id].id == world.statement(release).source
    assert not blind(world, release)


def test_a_commitment_to_the_digest_is_one() -> None:
    for verdict in (Verdict.IDENTICAL, Verdict.STABILISED_EQUAL):
        world = World()
        release = world.release(committed=("lab",))
        rebuilt = tuple(
            replace(file, rebuilt=file.shipped, verdict=verdict) for file in world.rebuild_of(release, "lab").files
        )
        world.rebuild(release, "lab", verdict, files=rebuilt)
        assert blind(world, release)


def test_a_commitment_after_the_release_is_none() -> None:
    world = World()
    release = world.release()
    says = world.statement(release)
    world.commit("lab", says.source, says.files[0].sha256)
    world.rebuild(release, "lab")
    assert not blind(world, release)


BETA: dict[str, Any] = {"name": "Beta", "roles": ["vendor"]}


@pytest.mark.parametrize(
    ("party", "action", "counts"),
    [
        ("acme", Action.HOLD, True),
        ("acme", Action.WITHDRAW, True),
        ("acme", Action.SUPERSEDE, True),
        ("lab", Action.HOLD, True),
        ("second", Action.HOLD, True),
        ("lab", Action.WITHDRAW, False),
        ("lab", Action.SUPERSEDE, False),
        ("beta", Action.HOLD, False),
        ("agent", Action.HOLD, False),
        ("ngo", Action.HOLD, False),
    ],
)
def test_who_may_hold_a_release(party: str, action: Action, counts: bool) -> None:
    keys = {name: seeded(name) for name in ("beta", "agent")}
    parties: dict[str, Any] = {
        name: {"keys": {key.keyid: charter_key(key, "oslo", ["hold"])}} for name, key in keys.items()
    }
    world = World(
        parties={
            "beta": BETA | parties["beta"],
            "agent": {"name": "Agent", "roles": ["auditor"], "acts_for": "acme"} | parties["agent"],
        }
    )
    world.keys |= keys
    release = world.release()
    identity = hold(world, release, party, action)
    found = world.history.holds(world.history.records[release])
    assert [found_hold.statement for found_hold in found] == ([identity] if counts else [])


def test_lifting_a_hold() -> None:
    world = World()
    release = world.release()
    record = world.history.records[release]
    first, second = hold(world, release), hold(world, release, reason="another")

    def held() -> list[str]:
        return [found.statement for found in world.history.holds(record)]

    assert held() == [first, second]
    for party in ("second", "acme"):
        hold(world, release, party, Action.LIFT, lifts=first)
    hold(world, release, "lab", Action.LIFT, lifts=first, signer="second")
    hold(world, release, "lab", Action.LIFT, lifts=digest(b"unknown"))
    assert held() == [first, second]
    hold(world, release, "lab", Action.LIFT, lifts=first)
    assert held() == [second]


def test_a_lift_before_its_hold_lifts_nothing() -> None:
    world = World()
    release = world.release()
    payload = make_statement(
        Use.HOLD, Hold(party="lab", action=Action.HOLD, release=release, reason="because", time=world.now)
    )
    hold(world, release, "lab", Action.LIFT, lifts=statement_id(payload))
    placed = world.post(payload, "lab")
    assert [found.statement for found in world.history.holds(world.history.records[release])] == [placed]


def test_a_hold_on_another_release_is_no_hold_on_this_one() -> None:
    world = World()
    release, other = world.release(), world.release("2.0", shipped=b"2.0")
    hold(world, other)
    assert world.history.holds(world.history.records[release]) == []


def test_a_release_outside_the_charters_products_has_no_rebuilders() -> None:
    world = World()
    world.release(source=world.source(product="acme/other"), product="acme/other")
    (row,) = world.history.status_rows()
    assert row["verdicts"] == {}
    assert row["key"].startswith("acme/other/")
    assert PRODUCT == "acme/engine"
