"""The gate claim by claim: what each says when it holds, and every way in which it does not.

The cheats that make a story are played in tests/attacks; here are the rules that no single cheat is about.
"""

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import CharterError, FormatError
from glasshouse_verify.evidence import format_evidence, parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import PRECEDENCE, Claim, Outcome, Report, State
from glasshouse_verify.statement import Head, ReleasedFile, Use, Verdict, make_statement
from world import DAY, FILE, NOW, ORIGIN, PLATFORM, PRODUCT, SHIPPED, World, digest, texts

CLAIMS = ["charter", "ledger", "source", "provenance", "release", "rebuild", "status", "file"]


@pytest.fixture
def world() -> World:
    made = World()
    made.honest()
    return made


def test_the_whole_answer(world: World) -> None:
    report = world.verify()
    assert report.outcome == Outcome.VERIFIED
    assert [claim.claim for claim in report.claims] == CLAIMS
    by = {claim.claim: claim.by for claim in report.claims}
    assert by == {
        "charter": ("you",),
        "ledger": ("w1", "w2"),
        "source": ("acme",),
        "provenance": ("acme",),
        "release": ("acme",),
        "rebuild": ("lab", "second"),
        "status": ("lab", "second"),
        "file": ("you",),
    }
    for claim in report.claims:
        assert claim.text
        assert claim.when is not None
        assert claim.recheck.split()[0] in ("glasshouse", "sha256sum")
        assert claim.limit or claim.claim == "file"


def test_who_voted_is_named_and_no_other_member() -> None:
    world = World()
    world.amend({"status": {"maximum_age": 3_600}}, "lab", "acme", "second")
    world.honest()
    assert world.verify().claims[0].by == ("acme", "lab")


def test_reviewers_are_named_where_the_source_names_them() -> None:
    world = World()
    world.oversee(world.release(source=world.source(reviewers=("Zoe", "Bob"), authors=("Ann",))))
    assert world.verify().claims[2].by == ("acme", "Bob", "Zoe")


@pytest.mark.parametrize(
    ("asked", "reviewers", "authors", "outcome"),
    [
        (1, ("Ann", "Bob"), ("Ann", "Bob"), Outcome.VERIFIED),
        (2, ("Ann", "Bob"), ("Ann", "Bob"), Outcome.UNDECIDED),
        (1, ("Ann",), ("Ann",), Outcome.UNDECIDED),
        (2, ("Ann", "Bob"), ("Eve",), Outcome.VERIFIED),
        (1, ("Bob", "Bob"), ("Bob",), Outcome.UNDECIDED),
    ],
)
def test_who_wrote_a_part_has_reviewed_the_rest(
    asked: int, reviewers: tuple[str, ...], authors: tuple[str, ...], outcome: Outcome
) -> None:
    world = World(products={"acme/engine": {"reviewers": asked}})
    world.oversee(world.release(source=world.source(reviewers=reviewers, authors=authors)))
    assert world.verify().outcome == outcome


@pytest.mark.parametrize("outcomes", list(combinations_with_replacement(PRECEDENCE, 3)))
def test_the_worst_claim_decides(outcomes: tuple[Outcome, ...]) -> None:
    """Not authorised before mismatch before undecided before verified, in whatever order the claims stand."""
    for order in (outcomes, outcomes[::-1]):
        claims = tuple(Claim(claim="x", outcome=outcome, text="") for outcome in order)
        assert Report(claims=claims).outcome == min(outcomes, key=PRECEDENCE.index)


def test_three_states_are_never_merged() -> None:
    states = {outcome: Claim(claim="x", outcome=outcome, text="").state for outcome in PRECEDENCE}
    assert states == {
        Outcome.NOT_AUTHORISED: State.MISMATCH,
        Outcome.MISMATCH: State.MISMATCH,
        Outcome.UNDECIDED: State.UNDECIDED,
        Outcome.VERIFIED: State.VERIFIED,
    }


def test_outcomes_of_several_claims_at_once() -> None:
    """A held file of a party without the right key, short of rebuilds, and another file in hand: 4 comes first."""
    world = World()
    world.release(by="acme-old", built_by="acme-old")
    report = world.verify(world.evidence(), shipped=b"another")
    found = {claim.claim: claim.outcome for claim in report.claims if claim.outcome}
    assert found == {
        "provenance": Outcome.NOT_AUTHORISED,
        "release": Outcome.NOT_AUTHORISED,
        "rebuild": Outcome.UNDECIDED,
        "status": Outcome.UNDECIDED,
        "file": Outcome.MISMATCH,
    }
    assert report.outcome == Outcome.NOT_AUTHORISED


def test_mismatch_comes_before_undecided(world: World) -> None:
    report = world.verify(world.evidence(), shipped=b"another", at=NOW + 30 * DAY)
    assert {claim.claim: claim.outcome for claim in report.claims if claim.outcome} == {
        "status": Outcome.UNDECIDED,
        "file": Outcome.MISMATCH,
    }
    assert report.outcome == Outcome.MISMATCH


def test_a_differing_rebuild_comes_before_a_failed_one(world: World) -> None:
    release = world.release("2.0", shipped=b"2.0")
    failed = world.rebuild(release, "lab", Verdict.BUILD_FAILED)
    other = world.rebuild(release, "second", Verdict.DIFFERS)
    for order in ([failed, other], [other, failed]):
        report = world.verify(forge(world, release, rebuilds=order), b"2.0")
        assert {c.claim: c.outcome for c in report.claims if c.outcome}["rebuild"] == Outcome.MISMATCH


def test_nothing_is_said_where_a_foundation_fails(world: World) -> None:
    broken = replace(world.evidence(), pin=digest(b"other"))
    assert [claim.claim for claim in world.verify(broken).claims] == ["charter"]
    broken = replace(world.evidence(), hashes=b"")
    assert [claim.claim for claim in world.verify(broken).claims] == ["charter", "ledger"]


# --- ledger --------------------------------------------------------------------------------------------------------


def test_one_index_for_two_statements(world: World) -> None:
    evidence = world.evidence()
    with pytest.raises(FormatError, match="one ledger index for two"):
        world.verify(replace(evidence, source=replace(evidence.source, index=evidence.release.index)))


@pytest.mark.parametrize("index", [0, 2, 3, 6, 10**9, 2**53 - 1])
def test_a_statement_at_another_index(world: World, index: int) -> None:
    evidence = forge(world, 2)
    report = world.verify(replace(evidence, source=replace(evidence.source, index=index if index != 2 else 4)))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["ledger"]


def test_an_empty_ledger_holds_nothing(world: World) -> None:
    empty = world.cosign(f"{ORIGIN}\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", "w1", "w2")
    report = world.verify(replace(world.evidence(), checkpoint=empty.decode()))
    assert report.outcome == Outcome.NOT_AUTHORISED


def test_a_newer_checkpoint_is_as_good(world: World) -> None:
    world.release("2.0", shipped=b"2.0")
    assert world.verify().outcome == Outcome.VERIFIED


def test_a_signature_that_nobody_checks_is_refused(world: World) -> None:
    """Otherwise a byte of the evidence could be changed unnoticed; the assembler leaves such signatures out."""
    world.keys["stranger-note"] = world.keys["mallory"]
    noted = world.checkpoint("w1", "w2", "stranger")
    with pytest.raises(FormatError, match="nobody whom the charter names"):
        world.verify(replace(world.evidence(), checkpoint=noted.decode()))
    world.witnesses = ("w1", "w2", "stranger")
    assert world.verify().outcome == Outcome.VERIFIED
    assert "stranger" not in world.evidence().checkpoint


def test_a_cosignature_twice(world: World) -> None:
    with pytest.raises(FormatError):
        world.verify(replace(world.evidence(), checkpoint=world.checkpoint("w1", "w2", "w2").decode()))


# --- product, channel, platform ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"product": "acme/other"}, "no product acme/other"), ({"channel": "nightly"}, "not in nightly for linux-x86_64")],
)
def test_release_that_the_charter_does_not_foresee(changes: dict[str, Any], words: str) -> None:
    world = World()
    source = world.source(product=changes.get("product", PRODUCT))
    world.release(source=source, **changes)
    report = world.verify()
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert words in texts(report)["release"]


def test_platform_that_the_charter_does_not_foresee() -> None:
    world = World()
    world.release(files=(ReleasedFile(platform="amiga", name=FILE, sha256=digest(SHIPPED)),))
    assert "not in stable for amiga" in texts(world.verify())["release"]


def test_release_in_another_vendors_name() -> None:
    """A party that signs a release of acme's product with its own key, under its own name."""
    world = World(parties={"lab": {"keys": {World().keys["lab"].keyid: {"uses": ["source", "release", "provenance"]}}}})
    release = world.release(source=world.source(party="lab"), by="lab", built_by="lab", party="lab")
    report = world.verify(forge(world, release))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert set(texts(report)) >= {"source", "provenance", "release"}


def test_statement_by_the_vendors_key_in_anothers_name() -> None:
    """The key is good, but the statement says that somebody else makes it."""
    world = World()
    source = world.release(source=world.source(party="lab"))
    report = world.verify(forge(world, source))
    assert "no key of acme that may sign a source" in texts(report)["source"]
    release = world.release("2.0", party="lab")
    report = world.verify(forge(world, release))
    assert "no key of acme that may sign a release" in texts(report)["release"]


def test_release_shown_at_another_entry_than_the_status_says(world: World) -> None:
    """Logged twice, it stands at its lowest entry; a later one may be judged by another charter."""
    payload = parse_envelope(world.entries[2]).payload
    world.post(payload, "acme")
    status = world.status()
    assert world.verify(forge(world, 2, rebuilds=[3, 4], status=status)).outcome == Outcome.VERIFIED
    report = world.verify(forge(world, 6, rebuilds=[3, 4], status=status))
    assert report.outcome == Outcome.MISMATCH
    assert texts(report)["status"] == "the status shows another release under this name and version"


def test_the_gate_is_that_of_the_charter_in_force_at_the_release(world: World) -> None:
    world.amend({"products": {PRODUCT: {"gate": {"sign_in": ["NO"], "build_in": ["NO"], "quorum": 1}}}})
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED
    world.oversee(world.release("2.0", shipped=b"2.0"))
    assert world.verify(shipped=b"2.0").outcome == Outcome.NOT_AUTHORISED


# --- rebuild -------------------------------------------------------------------------------------------------------


def test_rebuild_that_is_silent_about_the_file(world: World) -> None:
    release = world.release(
        "2.0",
        files=(
            ReleasedFile(platform=PLATFORM, name="a", sha256=digest(b"a")),
            ReleasedFile(platform=PLATFORM, name="b", sha256=digest(b"b")),
        ),
    )
    partial = [world.rebuild(release, party) for party in ("lab", "second")]
    evidence = replace(forge(world, release, rebuilds=partial), name="b")
    assert "does not speak of this file" in texts(world.verify(evidence, b"b"))["rebuild"]


def test_rebuild_that_counts_only_where_the_gate_lists_its_verdict() -> None:
    for accept, outcome in ((["identical"], Outcome.UNDECIDED), (["identical", "stabilised-equal"], Outcome.VERIFIED)):
        world = World(products={PRODUCT: {"gate": {"accept": accept}}})
        release = world.release()
        world.rebuild(release, "lab")
        world.rebuild(release, "second", Verdict.STABILISED_EQUAL)
        world.status()
        assert world.verify().outcome == outcome


def test_rebuild_that_was_not_blind_where_the_gate_asks_for_it() -> None:
    world = World(products={PRODUCT: {"gate": {"blind": True}}})
    release = world.release(committed=("lab",))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert "1 of the 2 rebuilds" in texts(world.verify())["rebuild"]


def test_blind_rebuilds_where_the_gate_asks_for_them() -> None:
    world = World(products={PRODUCT: {"gate": {"blind": True}}})
    release = world.release(committed=("lab", "second"))
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    assert world.verify().outcome == Outcome.VERIFIED


def test_rebuild_younger_than_the_status_waits_for_the_next(world: World) -> None:
    release = world.release("2.0", shipped=b"2.0")
    world.rebuild(release, "lab")
    world.status()
    world.rebuild(release, "second")
    report = world.verify(shipped=b"2.0")
    assert report.outcome == Outcome.UNDECIDED
    assert "second: not yet in the status" in texts(report)["rebuild"]
    world.status()
    assert world.verify(shipped=b"2.0").outcome == Outcome.VERIFIED


# --- status --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "outcome"),
    [
        (-61, Outcome.UNDECIDED),
        (-60, Outcome.VERIFIED),
        (0, Outcome.VERIFIED),
        (DAY - 60, Outcome.VERIFIED),
        (DAY - 59, Outcome.UNDECIDED),
    ],
)
def test_age_of_the_status(world: World, seconds: int, outcome: Outcome) -> None:
    assert world.verify(at=NOW + seconds).outcome == outcome


def test_age_is_the_charters_at_the_status(world: World) -> None:
    world.amend({"status": {"maximum_age": 600}})
    world.status()
    assert world.verify(at=NOW + 540).outcome == Outcome.VERIFIED
    assert world.verify(at=NOW + 541).outcome == Outcome.UNDECIDED


def head(world: World, **changes: Any) -> Head:
    size = len(world.entries)
    return replace(Head(origin=ORIGIN, size=size, root=world.frontier(size).root().hex()), **changes)


@pytest.mark.parametrize("changes", [{"origin": "other.example"}, {"root": digest(b"fork")}, {"size": 2}])
def test_status_over_another_history(changes: dict[str, Any]) -> None:
    world = World()
    release = world.release()
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    status = world.status(checkpoint=head(world, **changes))
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert texts(report)["status"] == "the status was made over another history of the ledger"


def test_status_over_a_checkpoint_that_holds_itself() -> None:
    """The status cannot know the tree that it is part of; one that claims to, claims a root that it has guessed."""
    world = World()
    release = world.release()
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    status = world.status(checkpoint=head(world, size=6))
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status))
    assert report.outcome == Outcome.NOT_AUTHORISED
    beyond = world.status(checkpoint=head(world, size=600))
    report = world.verify(forge(world, release, rebuilds=verdicts, status=beyond))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert list(texts(report)) == ["ledger"]


def test_status_shown_from_an_earlier_entry_than_its_checkpoint(world: World) -> None:
    """The statement is logged at entry 6 over a tree of 7: whatever the roots say, it speaks of its own future."""
    other = World()
    release = other.honest()
    other.release("2.0", shipped=b"2.0")
    payload = other.status_payload(checkpoint=head(other))
    early = other.post(payload, "lab", "second")
    evidence = forge(other, release, rebuilds=[3, 4], status=early)
    assert other.verify(evidence).outcome == Outcome.VERIFIED
    report = other.verify(replace(evidence, status=replace(evidence.status, index=6)))
    assert report.outcome == Outcome.NOT_AUTHORISED


def test_status_that_an_amendment_overtook() -> None:
    """Signed before the amendment and logged after it: its rules are those of the tree that it speaks of."""
    world = World()
    release = world.release()
    for party in ("lab", "second"):
        world.rebuild(release, party)
    payload = world.status_payload()
    world.amend({"status": {"maximum_age": 1}})
    world.post(payload, "lab", "second")
    assert world.verify().outcome == Outcome.VERIFIED
    assert world.verify(at=NOW + DAY).outcome == Outcome.UNDECIDED


def test_status_older_than_the_release(world: World) -> None:
    release = world.release("2.0", shipped=b"2.0")
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    rows = list(world.history.status_rows())
    status = world.post(
        world.status_of(rows, checkpoint=head(world, size=6, root=world.frontier(6).root().hex())), "lab", "second"
    )
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status), b"2.0")
    assert report.outcome == Outcome.UNDECIDED
    assert texts(report)["status"] == "the status is older than the release"


@pytest.mark.parametrize(
    ("signers", "outcome"),
    [
        (("lab", "second"), Outcome.VERIFIED),
        (("lab", "second", "acme", "mallory"), Outcome.VERIFIED),
        (("lab",), Outcome.UNDECIDED),
        (("second", "acme"), Outcome.UNDECIDED),
        (("acme", "ngo"), Outcome.NOT_AUTHORISED),
        (("mallory",), Outcome.NOT_AUTHORISED),
    ],
)
def test_signatures_of_the_status(signers: tuple[str, ...], outcome: Outcome) -> None:
    world = World()
    release = world.release()
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    status = world.status(*signers)
    assert world.verify(forge(world, release, rebuilds=verdicts, status=status)).outcome == outcome


def test_row_that_the_status_does_not_hold(world: World) -> None:
    evidence = world.evidence()
    row = dict(evidence.row.row) | {"holds": [], "index": 1}
    report = world.verify(replace(evidence, row=replace(evidence.row, row=row)))
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert set(texts(report)) == {"rebuild", "status"}


@pytest.mark.parametrize("row", [None, 5, {}, {"row": {}, "index": 0, "proof": []}, {"row": {"key": "a"}}])
def test_malformed_row(world: World, row: Any) -> None:
    with pytest.raises(FormatError, match=r"row"):
        parse_evidence(format_json(encode(world.evidence()) | {"row": row}))


def test_status_and_row_stand_together(world: World) -> None:
    for missing in ("row", "status"):
        with pytest.raises(FormatError, match=r"evidence\.row"):
            replace(world.evidence(), **{missing: None})


# --- the pin and other statements ----------------------------------------------------------------------------------


def test_pins_that_are_none(world: World) -> None:
    evidence = world.evidence()
    for pin in (b"", b"{}", world.pin + b"\n", world.pin[:-1]):
        with pytest.raises(FormatError):
            check_file(pin, evidence, digest(SHIPPED), NOW)
    with pytest.raises(FormatError, match="another kind of statement"):
        check_file(make_statement(Use.SOURCE, world.source()), evidence, digest(SHIPPED), NOW)
    with pytest.raises(CharterError, match="first charter"):
        check_file(world.amendment({}), evidence, digest(SHIPPED), NOW)


@pytest.mark.parametrize("member", ["source", "release", "status"])
def test_statement_of_another_kind(world: World, member: str) -> None:
    evidence = world.evidence()
    other = evidence.rebuilds[0]
    with pytest.raises(FormatError, match=rf"evidence\.{member}\."):
        world.verify(replace(evidence, **{member: other}))
    with pytest.raises(FormatError, match=r"evidence\.rebuild\."):
        world.verify(replace(evidence, rebuilds=(evidence.source,)))


def test_file_that_the_release_does_not_have(world: World) -> None:
    for changes in ({"name": "other.whl"}, {"platform": "windows"}):
        with pytest.raises(FormatError, match="no file of the release"):
            world.verify(replace(world.evidence(), **changes))


def test_recheck_commands_can_be_pasted() -> None:
    """Names and addresses that others chose are quoted for the shell."""
    world = World(ledger={"url": "http://ledger.example/;reboot"})
    world.oversee(world.release(name="$(reboot).whl"))
    commands = {claim.claim: claim.recheck for claim in world.verify().claims}
    assert commands["file"] == "sha256sum '$(reboot).whl'"
    assert commands["ledger"] == "glasshouse ledger fsck 'http://ledger.example/;reboot'"


def test_the_same_evidence_from_its_bytes(world: World) -> None:
    evidence = world.evidence()
    assert parse_evidence(format_evidence(evidence)) == evidence
