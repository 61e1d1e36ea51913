"""Routes by which a customer sees, limits and erases what it has sent, and looks digests up."""

import asyncio
import time

from glasshouse_verify.codec import encode
from glasshouse_verify.ed25519 import verify
from glasshouse_verify.encoding import JSON, decode_base64
from glasshouse_verify.errors import FormatError, SignatureError
from glasshouse_verify.receipt import Reason, erasure_request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from glasshouse.ledger.web import FRESH, json_response
from glasshouse.regions.customers.accounts import Customer, Decisions
from glasshouse.regions.erasing import removal, residue_seconds
from glasshouse.regions.errors import Forbidden, InvalidInput
from glasshouse.regions.metadata import refusal
from glasshouse.regions.reception import Site, Visit, receive
from glasshouse.regions.reputation import MAX_BATCH, Indicators
from glasshouse.regions.taking import JSON_TYPE
from glasshouse.regions.web import PRIVATE, Declined, read_all

MAX_BODY = 128 << 10
SIGNATURE_HEADER = "Glasshouse-Signature"


class Strict(BaseModel):
    """A JSON object with the members listed and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Policy(Strict):
    """What a customer decides about its own uploads."""

    off: bool = False
    categories_off: list[str] = Field(default=[], max_length=100)
    bytes_per_day: int | None = Field(default=None, ge=0, le=2**60)


class Lookup(Strict):
    """Digests to look up."""

    sha256: list[str] = Field(max_length=MAX_BATCH)


class OwnRoutes:
    """The endpoints."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def sent(self, request: Request) -> Response:
        """What this customer has sent, in order of time."""
        visit = await receive(self._site, request)
        after = request.query_params.get("after")
        await self._settle()
        page, following = await asyncio.to_thread(self._site.holdings.page, visit.customer.id, after)
        objects = [encode(holding) for holding in page]
        return json_response({"schema": "glasshouse.own-uploads/v1", "objects": objects, "next": following}, PRIVATE)

    async def receipt(self, request: Request) -> Response:
        """The receipt again; of another customer's object there is none, as of an unknown one."""
        visit = await receive(self._site, request)
        await self._settle()
        owned = await asyncio.to_thread(self._site.holdings.find, visit.customer.id, request.path_params["handle"])
        if owned is None or owned.receipt is None:
            raise _unknown("handle")
        return Response(owned.receipt, 200, dict(PRIVATE), JSON_TYPE)

    async def erase(self, request: Request) -> Response:
        """Erase one object, under the signature of the key that stands in its receipt."""
        visit = await receive(self._site, request)
        handle = request.path_params["handle"]
        await self._settle()
        owned = await asyncio.to_thread(self._site.holdings.find, visit.customer.id, handle)
        if owned is None:
            raise _unknown("handle")
        signature = _signature(request)
        if owned.state == "held":
            if owned.customer_key is None:
                fix = "The site's operator removes it by its category; enrol with a key for later objects."
                raise Forbidden(SIGNATURE_HEADER, "the object was taken without a customer's key", fix)
            try:
                verify(owned.customer_key, erasure_request(handle), signature, visit.customer.id)
            except SignatureError as error:
                raise Forbidden(
                    SIGNATURE_HEADER, str(error), "Sign with the key that stands in the receipt."
                ) from error
            if owned.on_hold:
                fix = "It is erased once the hold ends; holds are in the ledger: glasshouse uploads list shows them."
                raise Forbidden("handle", "the object is under a legal hold", fix)
            commitment, now = owned.commitment, int(time.time())
            residue = residue_seconds(visit.rules, now)
            note = removal(handle, Reason.CUSTOMER, commitment=commitment, now=now, request=signature, residue=residue)
            await self._site.intake.append(note)
        return json_response({"schema": "glasshouse.erased/v1", "handle": handle, "state": "removed"}, PRIVATE)

    async def _settle(self) -> None:
        """Receipts are handed out a moment before they are written down; whoever has one is to find it."""
        intake = self._site.intake
        await intake.run(intake.replication.settle)

    async def policy(self, request: Request) -> Response:
        """What the customer has decided, and what of its allowance is used."""
        visit = await receive(self._site, request)
        return await self._policy(visit.customer, visit)

    async def decide(self, request: Request) -> Response:
        """Limit uploads, or switch them off, altogether or by category."""
        visit = await receive(self._site, request)
        body = await read_all(request, self._site.tempo, MAX_BODY, "policy")
        try:
            wanted = Policy.model_validate_json(body)
        except ValidationError as error:
            raise refusal(error, "policy") from error
        for category in wanted.categories_off:
            if category not in visit.rules.rules.categories:
                there = ", ".join(visit.rules.rules.categories)
                raise InvalidInput("policy.categories_off", f"{category} is no category here", f"There are: {there}.")
        decisions = Decisions(
            off=wanted.off, categories_off=tuple(wanted.categories_off), bytes_per_day=wanted.bytes_per_day
        )
        await asyncio.to_thread(self._site.accounts.decide, visit.customer, decisions)
        token = request.headers["Authorization"].partition(" ")[2]
        return await self._policy(await asyncio.to_thread(self._site.accounts.signed_in, token), visit)

    async def _policy(self, customer: Customer, visit: Visit) -> Response:
        decided = customer.decisions
        document: dict[str, JSON] = {
            "schema": "glasshouse.upload-policy/v1",
            "customer": customer.id,
            "country": customer.country,
            "region": visit.rules.region,
            "off": decided.off,
            "categories_off": list(decided.categories_off),
            "bytes_per_day": decided.bytes_per_day,
            "used_today": await asyncio.to_thread(self._site.accounts.used, customer),
        }
        return json_response(document, PRIVATE)

    async def site(self, request: Request) -> Response:  # noqa: ARG002  everybody may ask
        """The site, its region and its rules as the charter has them; no sign-in."""
        rules = self._site.rules()
        document = {"schema": "glasshouse.site/v1", "site": rules.site, "party": rules.party, "region": rules.region}
        return json_response({**document, "charter": rules.charter, "rules": encode(rules.rules)}, FRESH)

    # --- reputation ------------------------------------------------------------------------------------------------

    async def look_up(self, request: Request) -> Response:
        """What the released lists say of up to 1,000 digests. Nothing is kept of who asked."""
        await receive(self._site, request)
        table, body = self._table(), await read_all(request, self._site.tempo, MAX_BODY, "lookup")
        try:
            wanted = Lookup.model_validate_json(body)
        except ValidationError as error:
            raise refusal(error, "lookup") from error
        return json_response({**_source(table), "listed": table.find_all(wanted.sha256)}, PRIVATE)

    async def look_up_one(self, request: Request) -> Response:
        """The same of one digest."""
        await receive(self._site, request)
        table, digest = self._table(), request.path_params["sha256"]
        comment = table.find(digest)
        found: dict[str, JSON] = {"sha256": digest, "listed": comment is not None}
        return json_response({**_source(table), **found, **({} if comment is None else {"about": comment})}, PRIVATE)

    def _table(self) -> Indicators:
        if self._site.indicators is None:
            fix = "Its operator can load a released list: [intake] indicators in node.toml."
            raise Declined(404, "reputation", "this site has no indicator lists", fix)
        return self._site.indicators


def _source(table: Indicators) -> dict[str, JSON]:
    return {"schema": "glasshouse.reputation/v1", "source": encode(table.source)}


def _unknown(field: str) -> Declined:
    return Declined(404, field, "you have no such object here", "See: GET /intake/v1/uploads.")


def _signature(request: Request) -> bytes:
    try:
        return decode_base64(request.headers.get(SIGNATURE_HEADER, ""), SIGNATURE_HEADER, 64)
    except FormatError as error:
        fix = "Sign the erasure request of the handle with the customer's key: glasshouse uploads erase."
        raise InvalidInput(error.field, error.reason, fix) from error
