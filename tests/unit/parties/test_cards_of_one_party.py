"""A party with several nodes has several cards: their keys and roles stand together in the charter."""

import pytest
from glasshouse_verify.charter import Role
from glasshouse_verify.statement import Use
from world import seeded

from glasshouse.parties.card import SCHEMA, Card, CardKey, CardSite
from glasshouse.parties.drafting import _parties, draft_join
from glasshouse.parties.errors import SettingsError


def card(site: str, key: str, use: Use, role: Role, **changes: object) -> Card:
    fields: dict[str, object] = {
        "schema": SCHEMA,
        "party": "acme",
        "name": "Acme",
        "roles": (role,),
        "site": CardSite(id=site, name=site.title(), jurisdiction="CH"),
        "keys": (CardKey(public=seeded(key).public, uses=(use,)),),
    }
    return Card(**(fields | changes))


def test_keys_and_roles_of_both_cards_stand() -> None:
    one = card("moscow", "old", Use.RELEASE, Role.VENDOR)
    two = card("zurich", "new", Use.CHARTER, Role.MEMBER)
    parties = _parties([one, two])
    assert set(parties) == {"acme"}
    assert parties["acme"]["roles"] == ["vendor", "member"]
    assert {key["site"] for key in parties["acme"]["keys"].values()} == {"moscow", "zurich"}


def test_two_cards_that_contradict_each_other_are_refused() -> None:
    one = card("moscow", "old", Use.RELEASE, Role.VENDOR)
    other = card("zurich", "new", Use.RELEASE, Role.VENDOR, name="Another")
    with pytest.raises(SettingsError, match="name"):
        _parties([one, other])
    packs = [card(site, site, Use.REBUILD, Role.REBUILDER, recipient=f"age1{site}") for site in ("bern", "oslo")]
    with pytest.raises(SettingsError, match="recipient"):
        _parties(packs)


def test_a_node_joins_with_all_cards_of_its_party() -> None:
    """Lists in a merge patch are replaced whole: with the new card alone, the party would lose its other roles."""
    cards = [card("moscow", "old", Use.CHARTER, Role.MEMBER), card("zurich", "new", Use.RELEASE, Role.VENDOR)]
    patch = draft_join(cards)
    assert patch["parties"]["acme"]["roles"] == ["member", "vendor"]
    assert len(patch["parties"]["acme"]["keys"]) == 2
    assert set(patch["sites"]) == {"moscow", "zurich"}
