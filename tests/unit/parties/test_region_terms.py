"""Drafting regions: sites and custodians from the cards, and the patches that bring in regions and countries."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from drafts import NOW, PARTIES, TERMS, make
from glasshouse_verify.charter import Chain, Charter, apply_patch, check_successor
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.errors import CharterError, FormatError
from glasshouse_verify.region import Mode, region_of, regions_of
from glasshouse_verify.statement import parse_statement

from glasshouse.parties.card import Card, create_node
from glasshouse.parties.certificates import load_certificates
from glasshouse.parties.drafting import draft_amendment, draft_first, draft_nodes, parse_region_terms, parse_terms
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import Node, NodeSettings
from glasshouse.parties.region_terms import draft_countries, draft_regions

KEY = encode_base64(bytes(range(32)))
REGION = f"""
[regions.au]
name = "Australia"
countries = ["AU"]
sites = ["zurich-1", "zurich-2"]
replicas = 2
when_short = "refuse"
interval = 86400
custody = {{mode = "dual", party = "ngo", url = "http://127.0.0.1:9005", key = "{KEY}"}}

[regions.au.categories]
suspicious = {{kind = "file", retention = 31536000}}
"""


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Node, Card]]:
    return {f"zurich-{n}": site(tmp_path_factory.mktemp(f"zurich-{n}"), f"zurich-{n}", 9000 + 2 * n) for n in (1, 2)}


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory, sites: dict[str, tuple[Node, Card]]) -> list[Card]:
    parties = [make(tmp_path_factory.mktemp(party), party, **roles)[1] for party, roles in PARTIES.items()]
    return [*parties, *(card for _, card in sites.values())]


def site(directory: Path, name: str, port: int, region: str = "au") -> tuple[Node, Card]:
    settings = {
        "party": "acme",
        "name": "acme",
        "site": {"id": name, "name": name, "jurisdiction": "CH"},
        "serve": {"listen": f"127.0.0.1:{port}"},
        "intake": {"region": region, "peer_listen": f"127.0.0.1:{port + 1}"},
    }
    node = Node(directory, NodeSettings.model_validate(settings))
    return node, create_node(node)


def charter(payload: bytes) -> Charter:
    predicate = parse_statement(payload).predicate
    assert isinstance(predicate, Charter)
    return predicate


def first(cards: list[Card], terms: str = TERMS + REGION) -> Charter:
    return charter(draft_first(parse_terms(terms), cards, NOW))


def test_a_region_is_filled_in_from_the_cards(cards: list[Card], sites: dict[str, tuple[Node, Card]]) -> None:
    name, region = region_of(first(cards), "AU")
    assert (name, region.epoch, region.custody.mode, region.custody.party) == ("au", 1, Mode.DUAL, "ngo")
    assert set(region.sites) == {"zurich-1", "zurich-2"}
    shown = region.sites["zurich-1"]
    assert (shown.party, shown.url, shown.peer) == ("acme", "http://127.0.0.1:9002", "https://127.0.0.1:9003")
    (certificate,) = load_certificates(sites["zurich-1"][0].keys / "peer.pem")
    assert shown.certificate == certificate.public_bytes(Encoding.DER)
    assert first(cards).parties["acme"].roles == ("ledger", "vendor", "member")


def test_without_regions_nothing_is_said_of_them(cards: list[Card]) -> None:
    assert first(cards, TERMS).regions is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('sites = ["zurich-1", "zurich-2"]', 'sites = ["zurich-1", "bern"]', "no card given is of a site bern"),
        ('sites = ["zurich-1", "zurich-2"]', 'sites = "zurich-1"', "is no list of sites"),
        ("[regions.au", "[regions.nz", "no card given is of a site zurich-1 for this region"),
        (f', url = "http://127.0.0.1:9005", key = "{KEY}"', "", "no card given is of a custodian ngo"),
        ("custody = {", "custodian = {", "is no table"),
    ],
)
def test_what_the_cards_do_not_say(cards: list[Card], before: str, after: str, words: str) -> None:
    assert before in REGION
    with pytest.raises(SettingsError, match=words):
        first(cards, TERMS + REGION.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after", "error"),
    [
        ("replicas = 2", "replicas = 3", FormatError),
        ('party = "ngo"', 'party = "acme"', CharterError),
        ('countries = ["AU"]', "countries = []", FormatError),
        ('kind = "file"', 'kind = "film"', FormatError),
        ("interval = 86400", "interval = 0", FormatError),
        ("interval = 86400", "interval = 86400\nstranger = 1", FormatError),
    ],
)
def test_regions_that_break_a_rule_are_not_drafted(
    cards: list[Card], before: str, after: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        first(cards, TERMS + REGION.replace(before, after))


def amended(newest: Charter, patch: dict[str, Any]) -> Charter:
    document = apply_patch(encode(newest), patch) | {"version": newest.version + 1, "previous": "0" * 64}
    after: Charter = decode(Charter, document, "charter")
    check_successor(newest, "0" * 64, after)
    return after


def test_a_country_is_added(cards: list[Card]) -> None:
    newest = first(cards)
    after = amended(newest, draft_countries(newest, "au", ["NZ", "FJ", "NZ"], 7))
    region = regions_of(after)["au"]
    assert (region.countries, region.epoch) == (("AU", "NZ", "FJ"), 7)
    assert region.sites == regions_of(newest)["au"].sites
    for region_id, countries in (("xx", ["NZ"]), ("au", ["AU"])):
        with pytest.raises(SettingsError):
            draft_countries(newest, region_id, countries, None)


def test_a_region_is_brought_in_and_given_other_rules(cards: list[Card], tmp_path: Path) -> None:
    """Also into a charter that had none; what the new rules do not name is gone."""
    newest, shown = first(cards, TERMS), cards[-2:]
    terms = parse_region_terms(REGION)
    after = amended(newest, draft_nodes(newest, shown) | draft_regions(newest, terms, shown))
    assert after.parties["acme"].roles == newest.parties["acme"].roles
    assert regions_of(after) == regions_of(first(cards))
    node, card = site(tmp_path, "geneva", 9100)
    changed = parse_region_terms(
        REGION.replace('"zurich-2"', '"geneva"').replace("suspicious", "unknown").replace('"AU"', '"AU", "NZ"')
    )
    again = amended(after, draft_nodes(after, [card]) | draft_regions(after, changed, [*shown, card]))
    region = regions_of(again)["au"]
    assert set(region.sites) == {"zurich-1", "geneva"}
    assert (set(region.categories), region.countries) == ({"unknown"}, ("AU", "NZ"))
    assert node.signer("intake").keyid in again.parties["acme"].keys


def test_an_amendment_with_broken_regions_is_not_proposed(cards: list[Card]) -> None:
    newest = Chain(draft_first(parse_terms(TERMS + REGION), cards, NOW)).newest
    with pytest.raises(FormatError, match=r"charter\.regions\.au\.replicas"):
        draft_amendment(newest, {"regions": {"au": {"replicas": 3}}}, "acme", NOW)


@pytest.mark.parametrize(
    ("text", "words"), [("", "is missing"), ("regions = 1", "is missing"), (REGION + "[other]\n", "no table of a")]
)
def test_terms_of_regions_alone(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_region_terms(text)


MOVING = """
[regions.au.moving]
id = "au-2026"
source = "site"
site = "moscow"
to = ["zurich-1", "zurich-2"]
replicas = 2
due = 2027-01-15
quarantine = 604800
watch = 2592000
supervisor = "lab"
"""
MOSCOW = REGION.replace('sites = ["zurich-1", "zurich-2"]\nreplicas = 2', 'sites = ["moscow"]\nreplicas = 1')


def test_a_region_moves_and_has_moved_by_its_terms(cards: list[Card], tmp_path: Path) -> None:
    old = site(tmp_path / "moscow", "moscow", 9010)[1]
    before = first([*cards, old], TERMS + MOSCOW)
    opened = amended(before, draft_regions(before, parse_region_terms(MOSCOW + MOVING), [*cards, old]))
    region = regions_of(opened)["au"]
    moving = region.moving
    assert moving is not None
    assert (moving.site, tuple(moving.to), moving.replicas, moving.due) == (
        "moscow",
        ("zurich-1", "zurich-2"),
        2,
        1_800_057_599,
    )
    assert moving.to["zurich-1"].url == "http://127.0.0.1:9002"
    assert set(region.sites) == {"moscow"}
    assert set(region.places) == {"moscow", "zurich-1", "zurich-2"}
    closed = amended(opened, draft_regions(opened, parse_region_terms(REGION), cards))
    region = regions_of(closed)["au"]
    assert (set(region.sites), region.replicas, region.moving) == ({"zurich-1", "zurich-2"}, 2, None)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        (("due = 2027-01-15", 'due = "soon"'), "terms.regions.au.moving.due", "is no moment"),
        (
            ('to = ["zurich-1", "zurich-2"]', 'to = ["bern"]'),
            "terms.regions.au.moving.to",
            "no card given is of a site bern",
        ),
        (('to = ["zurich-1", "zurich-2"]', 'to = "zurich-1"'), "terms.regions.au.moving.to", "is no list of sites"),
    ],
)
def test_what_is_wrong_in_a_move_is_named(
    cards: list[Card], tmp_path: Path, wrong: tuple[str, str], field: str, words: str
) -> None:
    old = site(tmp_path / "moscow", "moscow", 9010)[1]
    terms = parse_region_terms((MOSCOW + MOVING).replace(*wrong))
    with pytest.raises(SettingsError, match=words) as error:
        draft_regions(first([*cards, old], TERMS + MOSCOW), terms, [*cards, old])
    assert error.value.field == field
