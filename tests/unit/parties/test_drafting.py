"""Drafting: the first charter from cards and terms, amendments from the newest charter and a merge patch."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from drafts import NOW, PARTIES, SERVE, TERMS, make
from glasshouse_verify.charter import Chain, Charter, Role
from glasshouse_verify.codec import encode
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.errors import CharterError, FormatError, QuorumError
from glasshouse_verify.statement import Use, parse_statement

from glasshouse.parties.card import Card
from glasshouse.parties.drafting import draft_amendment, draft_first, parse_terms, party_of
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import Node
from glasshouse.parties.signer import sign_statement


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Node, Card]]:
    return {party: make(tmp_path_factory.mktemp(party), party, **roles) for party, roles in PARTIES.items()}


@pytest.fixture(scope="module")
def cards(nodes: dict[str, tuple[Node, Card]]) -> list[Card]:
    return [card for _, card in nodes.values()]


def charter(payload: bytes) -> Charter:
    predicate = parse_statement(payload).predicate
    assert isinstance(predicate, Charter)
    return predicate


def test_the_first_charter(cards: list[Card]) -> None:
    first = charter(draft_first(parse_terms(TERMS), cards, NOW))
    assert (first.version, first.time, first.party, first.previous) == (1, NOW, "acme", None)
    assert set(first.parties) == set(PARTIES)
    assert first.parties["acme"].roles == (Role.LEDGER, Role.VENDOR, Role.MEMBER)
    assert set(first.ledger.witnesses) == {"w1", "w2"}
    assert first.ledger.origin == "ledger.acme.example"
    assert first.members.parties == ("acme", "lab", "ngo")
    assert set(first.sites) == {f"{party}-site" for party in PARTIES}
    uses = {use for party in first.parties.values() for key in party.keys.values() for use in key.uses}
    assert {Use.CHARTER, Use.SOURCE, Use.RELEASE, Use.REBUILD, Use.STATUS} <= uses
    assert first.parties["lab"].recipient is not None


def test_the_order_of_the_cards_does_not_matter(cards: list[Card]) -> None:
    assert draft_first(parse_terms(TERMS), cards, NOW) == draft_first(parse_terms(TERMS), cards[::-1], NOW)


def test_members_sign_and_a_customer_pins(nodes: dict[str, tuple[Node, Card]], cards: list[Card]) -> None:
    pin = draft_first(parse_terms(TERMS), cards, NOW)
    chain = Chain(pin)
    payload = draft_amendment(chain.newest, {"status": {"maximum_age": 3600}}, "lab", NOW + 1)
    after = charter(payload)
    assert (after.version, after.previous, after.party, after.time) == (2, statement_id(pin), "lab", NOW + 1)
    votes = [nodes[party][0].signer("member") for party in ("lab", "ngo")]
    with pytest.raises(QuorumError):
        chain.extend(sign_statement(payload, votes[0]), 3)
    assert chain.extend(sign_statement(payload, *votes), 4).charter.status.maximum_age == 3600


def test_only_the_members_key_votes(nodes: dict[str, tuple[Node, Card]], cards: list[Card]) -> None:
    """The vendor's release and conveyor keys are keys of a member, and no votes."""
    chain = Chain(draft_first(parse_terms(TERMS), cards, NOW))
    payload = draft_amendment(chain.newest, {"status": {"maximum_age": 3600}}, "acme", NOW)
    acme, lab = nodes["acme"][0], nodes["lab"][0]
    others = [acme.signer("release"), acme.signer("conveyor"), lab.signer("audit"), lab.signer("rebuild")]
    with pytest.raises(QuorumError, match="0 of the 2"):
        chain.extend(sign_statement(payload, *others), 3)


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"status": {"quorum": 0}}, CharterError),
        ({"status": {"maximum_age": "soon"}}, FormatError),
        ({"stranger": 1}, FormatError),
        ({"ledger": {"origin": "other.example"}}, FormatError),
        ({"parties": {"ngo": None}, "members": {"parties": ["acme", "lab"]}}, CharterError),
        ({"sites": {"ngo-site": {"jurisdiction": "RU"}}}, CharterError),
    ],
)
def test_amendments_that_would_not_count_are_not_drafted(
    cards: list[Card], patch: dict[str, Any], error: type[Exception]
) -> None:
    newest = Chain(draft_first(parse_terms(TERMS), cards, NOW)).newest
    with pytest.raises(error):
        draft_amendment(newest, patch, "acme", NOW)


def test_what_a_patch_cannot_say(cards: list[Card]) -> None:
    """Number, predecessor, proposer and time are the draft's own."""
    newest = Chain(draft_first(parse_terms(TERMS), cards, NOW)).newest
    patch = {"version": 9, "previous": "0" * 64, "party": "ngo", "time": 1}
    after = charter(draft_amendment(newest, patch, "acme", NOW))
    assert (after.version, after.previous, after.party, after.time) == (2, newest.id, "acme", NOW)


def test_a_party_that_joins(tmp_path: Path, cards: list[Card]) -> None:
    newest = Chain(draft_first(parse_terms(TERMS), cards, NOW)).newest
    _, card = make(tmp_path, "third", rebuilder={}, acts_for="acme")
    patch = {
        "parties": {"third": party_of(card)},
        "sites": {card.site.id: {"name": "Third", "jurisdiction": card.site.jurisdiction}},
    }
    after = charter(draft_amendment(newest, patch, "acme", NOW))
    assert after.parties["third"].acts_for == "acme"
    assert encode(after.parties["third"]) == party_of(card)


@pytest.mark.parametrize("count", [0, 2])
def test_one_ledger(tmp_path: Path, cards: list[Card], count: int) -> None:
    chosen = [card for card in cards if card.ledger is None]
    if count:
        _, other = make(tmp_path, "other", ledger={"origin": "other.example"}, serve=SERVE)
        chosen = [*cards, other]
    with pytest.raises(SettingsError, match=f"{count} of them run a ledger"):
        draft_first(parse_terms(TERMS), chosen, NOW)


def test_terms_name_every_table() -> None:
    terms = parse_terms(TERMS)
    assert set(terms) == {"initiative", "ledger", "members", "products", "proposer", "status"}
    for name in terms:
        lines = toml_without(name)
        with pytest.raises(SettingsError, match=rf"terms\.{name}: is missing"):
            parse_terms(lines)
    with pytest.raises(SettingsError, match=r"terms\.stranger: is not a known member"):
        parse_terms("stranger = 1\n" + TERMS)
    with pytest.raises(SettingsError, match="is not TOML"):
        parse_terms("[members\n")


def toml_without(name: str) -> str:
    """The terms without one of their top members, tables with all that belongs to them."""
    kept, skipping = [], False
    for line in TERMS.splitlines():
        if line.startswith("["):
            skipping = line.strip("[]").split(".")[0] == name
        if not skipping and not line.startswith(f"{name} ="):
            kept.append(line)
    text = "\n".join(kept)
    assert name not in tomllib.loads(text)
    return text


@pytest.mark.parametrize(
    ("before", "after", "error"),
    [
        ('proposer = "acme"', 'proposer = "Acme"', FormatError),
        ("quorum = 2", "quorum = 9", CharterError),
        ("quorum = 2", 'quorum = "two"', FormatError),
        ("faulty = 0", "faulty = 1", FormatError),
        ('parties = ["acme", "lab", "ngo"]', 'parties = ["acme", "nobody"]', FormatError),
        ('rebuilders = ["lab", "second"]', 'rebuilders = ["lab", "acme"]', FormatError),
        ('accept = ["identical"]', 'accept = ["differs"]', FormatError),
        ('build_in = ["CH"]', 'build_in = ["Switzerland"]', FormatError),
        ('[products."acme/yara-python"]', '[products."acme/yara-python"]\nstranger = 1', FormatError),
    ],
)
def test_terms_that_make_no_charter(cards: list[Card], before: str, after: str, error: type[Exception]) -> None:
    assert before in TERMS
    with pytest.raises(error):
        draft_first(parse_terms(TERMS.replace(before, after, 1)), cards, NOW)
