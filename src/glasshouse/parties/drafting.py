"""Drafting charters: the first from the parties' cards and the terms they agreed on, later ones as amendments.

The terms are what no card can say, tables of regions (`region_terms`) among it (TOML):

    initiative = "Glasshouse demo initiative"
    proposer = "acme"

    [members]
    parties = ["acme", "lab", "ngo"]
    quorum = 2

    [status]
    parties = ["lab", "second"]
    quorum = 2
    maximum_age = 86400

    [ledger]
    faulty = 0

    [products."acme/yara-python"]
    platforms = ["linux-x86_64"]
    channels = ["stable"]
    reviewers = 0

    [products."acme/yara-python".gate]
    rebuilders = ["lab", "second"]
    quorum = 2
    accept = ["identical"]
    blind = false
    build_in = ["CH"]
    sign_in = ["CH"]
"""

import tomllib
from collections.abc import Iterable, Sequence
from typing import Any

from glasshouse_verify.charter import Charter, Link, apply_patch, check_successor
from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.region import regions_of
from glasshouse_verify.statement import Use, make_statement

from glasshouse.parties.card import Card
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.region_terms import regions_from_terms

_TERMS = ("initiative", "ledger", "members", "products", "proposer", "status")
_OPTIONAL = ("regions",)


def parse_terms(text: str) -> dict[str, Any]:
    """Parse the terms; raises SettingsError naming a table that is missing or unknown."""
    terms = _parse(text)
    for name in (*_TERMS, *terms):
        if name not in terms:
            raise SettingsError(f"terms.{name}", "is missing", "Add it to the terms.")
        if name not in (*_TERMS, *_OPTIONAL):
            raise SettingsError(f"terms.{name}", "is not a known member", "Remove it from the terms.")
    return terms


def parse_region_terms(text: str) -> dict[str, Any]:
    """The tables `[regions.ID]` of a file that holds nothing else, by id; raises SettingsError."""
    terms = _parse(text)
    regions = terms.pop("regions", None)
    if not isinstance(regions, dict) or not regions:
        raise SettingsError("terms.regions", "is missing", "Write a table such as [regions.au].")
    for name in terms:
        raise SettingsError(f"terms.{name}", "is no table of a region", "Remove it from the terms.")
    return regions


def _parse(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError("terms", f"is not TOML: {error}", "Mend the line named.") from error


def draft_first(terms: dict[str, Any], cards: Iterable[Card], now: int) -> bytes:
    """The payload of charter version 1 at Unix time `now`; raises FormatError or CharterError for a broken rule."""
    cards = list(cards)
    ledgers = [card.ledger for card in cards if card.ledger is not None]
    if len(ledgers) != 1:
        raise SettingsError("cards", f"{len(ledgers)} of them run a ledger", "A charter has exactly one.")
    ledger = {
        "origin": ledgers[0].origin,
        "key": ledgers[0].key,
        "url": ledgers[0].url,
        "witnesses": {
            card.witness.name: {"party": card.party, "key": card.witness.key, "url": card.witness.url}
            for card in cards
            if card.witness is not None
        },
        **terms["ledger"],
    }
    document = {
        "party": terms["proposer"],
        "initiative": terms["initiative"],
        "version": 1,
        "time": now,
        "parties": _parties(cards),
        "sites": {card.site.id: {"name": card.site.name, "jurisdiction": card.site.jurisdiction} for card in cards},
        "members": terms["members"],
        "ledger": ledger,
        "status": terms["status"],
        "products": terms["products"],
    }
    if "regions" in terms:
        document["regions"] = regions_from_terms(terms["regions"], cards)
    charter: Charter = decode(Charter, document, "charter")
    regions_of(charter)
    return make_statement(Use.CHARTER, charter)


def _parties(cards: Iterable[Card]) -> dict[str, Any]:
    """The charter's parties; a party with several nodes has a card of each, and all their keys and roles."""
    parties: dict[str, Any] = {}
    for card in cards:
        mine = party_of(card)
        known = parties.setdefault(card.party, mine)
        for member in ("name", "acts_for"):
            if known.get(member) != mine.get(member):
                raise SettingsError(
                    f"cards.{card.party}.{member}", "is not the same on all its cards", "Mend one card."
                )
        if known.get("recipient", mine.get("recipient")) != mine.get("recipient", known.get("recipient")):
            raise SettingsError(f"cards.{card.party}.recipient", "stands on two cards", "One node opens source packs.")
        roles = list(dict.fromkeys((*known["roles"], *mine["roles"])))
        parties[card.party] = {**mine, **known, "roles": roles, "keys": {**known["keys"], **mine["keys"]}}
    return parties


def party_of(card: Card) -> dict[str, Any]:
    """The charter's entry for the party of a card."""
    keys = {
        keyid(key.public): {
            "public": encode_base64(key.public),
            "site": card.site.id,
            "uses": [use.value for use in key.uses],
        }
        for key in card.keys
    }
    party: dict[str, Any] = {"name": card.name, "roles": [role.value for role in card.roles], "keys": keys}
    if card.acts_for is not None:
        party["acts_for"] = card.acts_for
    if card.recipient is not None:
        party["recipient"] = card.recipient
    return party


def draft_join(cards: Iterable[Card], *, vouchers: bool = False) -> dict[str, Any]:
    """The merge patch that adds the parties of cards, or new keys of known ones.

    A party that has several nodes is given with the cards of all of them: its roles are replaced by those of the cards.
    With `vouchers` also the log's key and the witnesses that the cards name: who vouches for the ledger changes.
    """
    cards = list(cards)
    patch: dict[str, Any] = {
        "parties": _parties(cards),
        "sites": {card.site.id: {"name": card.site.name, "jurisdiction": card.site.jurisdiction} for card in cards},
    }
    if not vouchers:
        return patch
    witnesses = {
        card.witness.name: {"party": card.party, "key": card.witness.key, "url": card.witness.url}
        for card in cards
        if card.witness is not None
    }
    ledger: dict[str, Any] = {"witnesses": witnesses} if witnesses else {}
    for card in cards:
        if card.ledger is not None:
            ledger |= {"key": card.ledger.key, "url": card.ledger.url}
    return patch | ({"ledger": ledger} if ledger else {})


def draft_nodes(newest: Charter, cards: Iterable[Card]) -> dict[str, Any]:
    """The merge patch that adds nodes: the keys and sites of their cards. Known parties keep the roles they have."""
    patch = draft_join(cards)
    for party, entry in patch["parties"].items():
        known = newest.parties.get(party)
        if known is not None:
            entry["roles"] = list(dict.fromkeys((*(role.value for role in known.roles), *entry["roles"])))
    return patch


def draft_stop(newest: Charter, kid: str, index: int) -> dict[str, Any]:
    """The merge patch from which on a key no longer counts: at `index` and after. Raises SettingsError.

    `kid` is a key id of the charter, or enough of its beginning.
    """
    found = [known for known in newest.owners if known.startswith(kid)] if kid else []
    if len(found) != 1:
        reason = f"the charter has {len(found)} keys whose id begins with {kid!r}"
        raise SettingsError("keyid", reason, "See: glasshouse key list, glasshouse charter show.")
    return {"parties": {newest.owners[found[0]]: {"keys": {found[0]: {"stops": index}}}}}


def draft_move(
    newest: Charter, vendor: str, build_in: str, sign_in: str, signing: Sequence[str] = ()
) -> dict[str, Any]:
    """The merge patch after which a vendor's products are built in one country only, and signed in one only.

    `signing` are the fingerprints of the new site's code-signing certificate and of the chain above it: where a product
    pins certificates, that one alone signs from then on. Empty where the charter says all of that already.
    """
    patch: dict[str, Any] = {}
    for name, product in newest.products.items():
        gate: dict[str, Any] = {"build_in": [build_in], "sign_in": [sign_in]}
        if product.gate.authenticode is not None and signing:
            chain = dict.fromkeys((*product.gate.authenticode.chain, *signing[1:]))
            gate["authenticode"] = {"signers": [signing[0]], "chain": list(chain)}
        before = encode(product.gate)
        if name.split("/")[0] == vendor and apply_patch(before, gate) != before:
            patch[name] = {"gate": gate}
    return {"products": patch} if patch else {}


def draft_developer(newest: Charter, product: str, name: str, public: bytes | None) -> dict[str, Any]:
    """The merge patch that gives a developer of a product this raw signing key, or removes who has None."""
    if product not in newest.products:
        raise SettingsError("product", f"the charter has no {product}", "See: glasshouse charter show.")
    developer: str = decode(Identifier, name, "developer")
    key = None if public is None else encode_base64(public)
    return {"products": {product: {"developers": {developer: key}}}}


def draft_amendment(newest: Link, patch: dict[str, Any], proposer: str, now: int) -> bytes:
    """The payload of the next version: `newest` with a merge patch applied.

    Raises FormatError or CharterError, also for regions that break a rule.
    """
    document = apply_patch(encode(newest.charter), patch)
    document |= {"version": newest.charter.version + 1, "previous": newest.id, "party": proposer, "time": now}
    charter: Charter = decode(Charter, document, "charter")
    check_successor(newest.charter, newest.id, charter)
    regions_of(charter)
    return make_statement(Use.CHARTER, charter)
