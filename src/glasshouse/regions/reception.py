"""Who asks a site for something, and whether it may take what is declared: all that is judged before a body is read.

In this order: does this site take anything (421, 503), does the data belong to this region (421), who is it (401), not
too fast (429), what is said of the file (422), may this category be taken, does the customer allow it (403), is it too
large (413), is the day's allowance used up (403).
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import Country, Digest, Identifier, decode
from glasshouse_verify.encoding import JSON
from glasshouse_verify.errors import CharterError, FormatError
from glasshouse_verify.region import Kind, region_of
from starlette.requests import Request

from glasshouse.regions.customers.accounts import Accounts, Customer, check_decisions
from glasshouse.regions.customers.holdings import Holdings
from glasshouse.regions.customers.pace import Pace
from glasshouse.regions.errors import Arriving, Forbidden, InvalidInput, NotSignedIn, WrongSite
from glasshouse.regions.intake import Declared, Intake
from glasshouse.regions.placing import SiteRules
from glasshouse.regions.reputation import Indicators
from glasshouse.regions.uploads import Uploads
from glasshouse.regions.web import Declined, Tempo

COUNTRY_HEADER = "Glasshouse-Country"
MAX_TOKEN = 200


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a site's interface stands on. `rules` and `charter` are those of the moment; `rules` raises SiteRefused.

    `settled` says whether all accounts are here that the site will have from one that is left.
    """

    rules: Callable[[], SiteRules]
    charter: Callable[[], Charter]
    intake: Intake
    accounts: Accounts
    holdings: Holdings
    pace: Pace
    indicators: Indicators | None = None
    tempo: Tempo = field(default_factory=Tempo)
    max_file_bytes: int = 64 << 30
    settled: Callable[[], bool] = lambda: True
    uploads: Uploads = field(default_factory=Uploads)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a known customer, and the rules under which it is answered."""

    customer: Customer
    rules: SiteRules


@dataclass(frozen=True, kw_only=True)
class Admitted:
    """What may be taken now. Unless it comes to something, call `give_back`: its bytes were counted beforehand."""

    declared: Declared
    give_back: Callable[[], None]


async def receive(site: Site, request: Request) -> Visit:
    """The customer who asks.

    Raises Moved, Arriving, WrongSite, NotSignedIn, TooManyRequests, SiteRefused, InvalidInput.
    """
    rules = site.rules()
    rules.check_open()
    said = request.headers.get(COUNTRY_HEADER)
    if said is not None:
        check_country(site, rules, said)
    customer = await _signed_in(site, request.headers.get("Authorization", ""))
    site.pace.take(customer.id)
    if said not in (None, customer.country):
        reason = f"{said} is not the country that {customer.id} is enrolled for, {customer.country}"
        raise InvalidInput(COUNTRY_HEADER, reason, "A country is fixed when a customer enrols.")
    check_country(site, rules, customer.country)
    return Visit(customer=customer, rules=rules)


def check_country(site: Site, rules: SiteRules, country: str) -> None:
    """Raise WrongSite, with the right sites, for a country whose data belongs to another region."""
    if country in rules.rules.countries:
        return
    try:
        decode(Country, country, COUNTRY_HEADER)
        name, region = region_of(site.charter(), country)
    except FormatError as error:
        raise InvalidInput(error.field, error.reason, "Send a code such as AU.") from error
    except CharterError:
        raise WrongSite("", country, ()) from None
    raise WrongSite(name, country, tuple(shown.url for shown in region.sites.values()))


async def _signed_in(site: Site, authorization: str) -> Customer:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= MAX_TOKEN:
        raise NotSignedIn("the request carries no token")
    known = site.accounts.remembered(token)
    if known is not None:
        return known
    # Asked before: an account that comes in between is found.
    settled = site.settled()
    try:
        return await asyncio.to_thread(site.accounts.signed_in, token)
    except NotSignedIn:
        if settled:
            raise
        rules = site.rules()
        raise Arriving(rules.region, rules.left or "another site") from None


async def admit(
    site: Site, visit: Visit, *, kind: Kind, sha256: str, size: int, category: str, metadata: dict[str, JSON]
) -> Admitted:
    """Whether an object may be taken; what is refused here is counted. Raises InvalidInput, Forbidden, Declined."""
    rules, customer = visit.rules.rules, visit.customer
    with counted(site):
        _check_digest(sha256)
        known = rules.categories.get(Identifier(category))
        if known is None or known.kind != kind:
            there = ", ".join(name for name, shown in rules.categories.items() if shown.kind == kind) or "none"
            reason = f"{category} is no category for a {kind} in the region {visit.rules.region}"
            raise InvalidInput("category", reason, f"Use one of: {there}.")
        check_decisions(customer, category)
        if size > site.max_file_bytes:
            fix = f"This site takes at most {site.max_file_bytes} bytes."
            raise Declined(413, "size", f"{size} bytes are too many", fix)
        give_back: Callable[[], None] = _nothing
        if customer.decisions.bytes_per_day is not None:
            give_back = await asyncio.to_thread(site.accounts.use, customer, size)
    declared = Declared(
        customer=customer.id,
        country=customer.country,
        customer_key=customer.public_key,
        sha256=sha256,
        size=size,
        category=category,
        metadata=metadata,
    )
    return Admitted(declared=declared, give_back=give_back)


def _nothing() -> None:
    """Without an allowance there is nothing to give back."""


def _check_digest(sha256: str) -> None:
    try:
        decode(Digest, sha256, "sha256")
    except FormatError as error:
        raise InvalidInput(error.field, error.reason, "Send the SHA-256 of the content.") from error


@contextmanager
def counted(site: Site) -> Iterator[None]:
    """Within it, an upload that is refused counts as received and refused."""
    try:
        yield
    except (InvalidInput, Forbidden, Declined):
        site.intake.refused()
        raise
