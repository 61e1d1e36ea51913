"""Regions in a draft: what the parties agreed on, completed with what stands on the cards of the nodes.

In the terms (TOML), `sites` are the ids of nodes with the role intake whose cards are given, and the address and key
of the custodian come from the card of its node with the role custody:

    [regions.au]
    name = "Australia"
    countries = ["AU"]
    sites = ["zurich-1", "zurich-2"]
    replicas = 2
    when_short = "refuse"
    interval = 86400
    custody = {mode = "dual", party = "council"}

    [regions.au.categories]
    suspicious = {kind = "file", retention = 31536000}
    telemetry = {kind = "telemetry", retention = 7776000}

A relocation is opened by a table more, and closed by the region without it, whose `sites` are then those of `to`:

    [regions.au.moving]
    id = "au-2026"
    source = "site"                      # or "store": then without `to`
    site = "moscow"
    to = ["zurich-1", "zurich-2"]
    replicas = 2
    due = 2026-12-31
    quarantine = 604800
    watch = 2592000
    supervisor = "lab"

The rules that regions must keep are `glasshouse_verify.region.regions_of`'s.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.region import regions_of

from glasshouse.parties.card import Card
from glasshouse.parties.errors import SettingsError


def regions_from_terms(terms: Mapping[str, Any], cards: Sequence[Card]) -> dict[str, Any]:
    """The charter's `regions` of the tables `[regions.ID]`; raises SettingsError where a card is missing."""
    if not all(isinstance(table, dict) for table in terms.values()):
        raise SettingsError("terms.regions", "is no table of regions", "Write a table [regions.au] for each.")
    return {name: _region(name, table, cards) for name, table in terms.items()}


def _region(name: str, table: Mapping[str, Any], cards: Sequence[Card]) -> dict[str, Any]:
    where = f"terms.regions.{name}"
    region: dict[str, Any] = {"epoch": 1, **table}
    region["sites"] = _sites(f"{where}.sites", name, table.get("sites"), cards)
    region["custody"] = _custody(where, table.get("custody"), cards)
    if "moving" in table:
        region["moving"] = _moving(f"{where}.moving", name, table["moving"], cards)
    return region


def _moving(where: str, region: str, moving: object, cards: Sequence[Card]) -> dict[str, Any]:
    if not isinstance(moving, dict):
        raise SettingsError(where, "is no table", f"Write a table [regions.{region}.moving].")
    to = _sites(f"{where}.to", region, moving.get("to", []), cards)
    return {**moving, "to": to, "due": _seconds(f"{where}.due", moving.get("due"))}


def _seconds(where: str, moment: object) -> int:
    """Unix seconds of what TOML has for a moment; a day means its end, UTC."""
    match moment:
        case datetime():
            return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        case date():
            end = datetime.combine(moment, datetime.max.time(), UTC)
            return int(end.timestamp())
        case int() if not isinstance(moment, bool):
            return moment
    raise SettingsError(where, "is no moment", "Write due = 2026-12-31, or Unix seconds.")


def _sites(where: str, region: str, sites: object, cards: Sequence[Card]) -> dict[str, Any]:
    if not isinstance(sites, list):
        raise SettingsError(
            where, "is no list of sites", f'Write {where.rpartition(".")[2]} = ["zurich-1", "zurich-2"].'
        )
    return {str(site): _site(where, region, str(site), cards) for site in sites}


def _site(where: str, region: str, site: str, cards: Sequence[Card]) -> dict[str, Any]:
    for card in cards:
        if card.site.id == site and card.intake is not None and card.intake.region == region:
            shown = card.intake
            certificate = encode_base64(shown.certificate)
            return {"party": card.party, "url": shown.url, "peer": shown.peer, "certificate": certificate}
    fix = f"Make the node with: glasshouse init --role intake --region {region} --site {site}:…, and give its card."
    raise SettingsError(where, f"no card given is of a site {site} for this region", fix)


def _custody(where: str, custody: object, cards: Sequence[Card]) -> dict[str, Any]:
    if not isinstance(custody, dict):
        fix = 'Write custody = {mode = "dual", party = "council"}, or custody = {mode = "site"}.'
        raise SettingsError(f"{where}.custody", "is no table", fix)
    if custody.get("mode") != "dual" or {"url", "key"} <= custody.keys():
        return custody
    for card in cards:
        shown = card.custody
        if card.party == custody.get("party") and shown is not None:
            return {**custody, "url": shown.url, "key": encode_base64(shown.key)}
    fix = "Give the card of its node with the role custody, or write url and key into the terms."
    raise SettingsError(f"{where}.custody.party", f"no card given is of a custodian {custody.get('party')}", fix)


def draft_regions(newest: Charter, terms: Mapping[str, Any], cards: Sequence[Card]) -> dict[str, Any]:
    """The merge patch that brings in regions, or replaces the rules of known ones, with the nodes on the cards."""
    before = newest.regions if isinstance(newest.regions, dict) else {}
    regions = regions_from_terms(terms, cards)
    return {"regions": {name: _replacing(before.get(name), region) for name, region in regions.items()}}


def draft_countries(newest: Charter, region: str, countries: Sequence[str], epoch: int | None) -> dict[str, Any]:
    """The merge patch that adds countries to a region, in force from inventory number `epoch` on if one is given.

    Raises SettingsError where the charter has no such region, or where one of the countries is in it.
    """
    known = {str(name): rules for name, rules in regions_of(newest).items()}
    if region not in known:
        fix = f"Its regions are: {', '.join(known) or 'none'}. A new one is brought in by: glasshouse charter region."
        raise SettingsError("--region", f"the charter has no region {region}", fix)
    there = encode(known[region].countries)
    for country in countries:
        if country in there:
            raise SettingsError("country", f"{country} is in the region {region} already", "Leave it out.")
    patch: dict[str, Any] = {"countries": [*there, *dict.fromkeys(countries)]}
    if epoch is not None:
        patch["epoch"] = epoch
    return {"regions": {region: patch}}


def _replacing(before: object, after: Any) -> Any:
    """The merge patch that turns one JSON value into another, members that are gone included."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    gone: dict[str, Any] = {name: None for name in before if name not in after}
    return gone | {name: _replacing(before.get(name), value) for name, value in after.items()}
