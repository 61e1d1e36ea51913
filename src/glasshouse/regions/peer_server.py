"""The peer interface of a site, for the region's other sites only: mutual TLS with the charter's certificates.

    GET  /peer/v1/state               this site, and how far every journal is here
    POST /peer/v1/events              a batch of the caller's journal (batch.py) → signatures over its receipts
    PUT  /peer/v1/objects/<handle>    a sealed object ahead of its event
    GET  /peer/v1/objects/<handle>    a sealed object, for a peer that lost it
    GET  /peer/v1/opened/<handle>     the same with its data key, of an object that each site has sealed for itself
    GET  /peer/v1/customers?after=<id>   accounts, for a site that takes over from this one

Who calls is known by its certificate alone. Specification: docs/spec/peer-http.md.
"""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Awaitable, Callable

import uvicorn
from glasshouse_verify.codec import Digest, Identifier, encode
from glasshouse_verify.encoding import encode_base64, format_json, parse_decimal
from glasshouse_verify.errors import FormatError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from glasshouse.ledger.web import FRESH, error_response
from glasshouse.parties.errors import PartyError
from glasshouse.regions import journal
from glasshouse.regions.batch import MAX_BATCH_BYTES, format_answer, parse_batch
from glasshouse.regions.customers.moving import format_page, page_of
from glasshouse.regions.errors import InvalidInput, JournalConflict, RegionError, SiteRefused, Unavailable
from glasshouse.regions.mending import data_key
from glasshouse.regions.peers import DATA_KEY_HEADER, Credentials, PeerHead, PeerState, server_context
from glasshouse.regions.placing import Place
from glasshouse.regions.replica import Replicas
from glasshouse.regions.vault import Incoming
from glasshouse.storage.errors import ObjectMissing, StorageError

_OCTETS = "application/octet-stream"
_WRITE_BYTES = 1 << 20
Endpoint = Callable[[Request], Awaitable[Response]]


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also tells the application the client's certificate (state `certificate`)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        shown = None if secured is None else secured.getpeercert(binary_form=True)
        self.app_state = {**self.app_state, "certificate": shown}


def peer_config(place: Place, replicas: Replicas, own: Credentials, *, host: str, port: int) -> uvicorn.Config:
    """What uvicorn serves the peer interface with. Connections are accepted by the charter in force when they begin."""

    def context(_config: uvicorn.Config, _default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return _renewed_context(place, own)

    return uvicorn.Config(
        create_peer_app(place, replicas),
        host=host,
        port=port,
        http=PeerProtocol,
        ws="none",
        lifespan="off",
        log_level="error",
        timeout_keep_alive=60,
        ssl_context_factory=context,
    )


def _renewed_context(place: Place, own: Credentials) -> ssl.SSLContext:
    """A context that takes up the certificates of sites that an amendment brings in, without a restart.

    One that an amendment takes away still gets as far as a request, where it is refused (`_Api._caller`).
    """
    trusted = {there.certificate for there in place.rules().callers.values()}
    context = server_context(own, trusted)

    def renew(_connection: ssl.SSLObject, _name: str, _context: ssl.SSLContext) -> None:
        with contextlib.suppress(SiteRefused):
            for there in place.rules().callers.values():
                if there.certificate not in trusted:
                    context.load_verify_locations(cadata=there.certificate)
                    trusted.add(there.certificate)

    # Called with the client's first message, with or without a name in it, before its certificate is looked at.
    context.sni_callback = renew
    return context


def create_peer_app(place: Place, replicas: Replicas) -> Starlette:
    """The application; served by `peer_config` only, since it goes by the certificate."""
    api = _Api(place, replicas)
    return Starlette(
        routes=[
            Route("/peer/v1/state", _guarded(api.state), methods=["GET"]),
            Route("/peer/v1/events", _guarded(api.events), methods=["POST"]),
            Route("/peer/v1/objects/{handle}", _guarded(api.put_object), methods=["PUT"]),
            Route("/peer/v1/objects/{handle}", _guarded(api.get_object), methods=["GET"]),
            Route("/peer/v1/opened/{handle}", _guarded(api.opened), methods=["GET"]),
            Route("/peer/v1/customers", _guarded(api.customers), methods=["GET"]),
        ]
    )


def _guarded(endpoint: Endpoint) -> Endpoint:
    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except JournalConflict as error:
            return error_response(409, str(error), "", "a person has to compare the two sites")
        except FormatError as error:
            return error_response(400, str(error), error.field, "send what docs/spec/peer-http.md shows")
        except InvalidInput as error:
            return error_response(400, error.reason, error.field, error.fix)
        except ObjectMissing as error:
            return error_response(404, str(error), "handle", "ask for an object that this site holds")
        except (StorageError, PartyError, Unavailable) as error:
            return error_response(503, str(error), "", "send again later", retry_after_seconds=1)
        except RegionError as error:
            return error_response(500, str(error), "", "the operator must look into the log")

    return answer


class _Api:
    """The endpoints. What blocks runs in worker threads."""

    def __init__(self, place: Place, replicas: Replicas) -> None:
        self._place = place
        self._replicas = replicas

    def _caller(self, request: Request) -> str:
        shown = request.scope.get("state", {}).get("certificate")
        for peer, there in self._place.rules().callers.items():
            if shown is not None and there.certificate == shown:
                return peer
        raise InvalidInput("certificate", "is none of this region's sites", "Connect with the charter's certificate.")

    async def state(self, request: Request) -> Response:
        self._caller(request)
        rules = self._place.rules()
        heads = await asyncio.to_thread(journal.heads, self._place.database)
        state = PeerState(
            region=Identifier(rules.region),
            site=Identifier(rules.site),
            journals={
                Identifier(site): PeerHead(position=head.position, chain=Digest(head.chain.hex()))
                for site, head in heads.items()
            },
        )
        return Response(format_json(encode(state)), media_type="application/json", headers=FRESH)

    async def events(self, request: Request) -> Response:
        caller = self._caller(request)
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BATCH_BYTES:
                raise InvalidInput("body", f"more than {MAX_BATCH_BYTES} bytes", "Send a smaller batch.")
        answer = await asyncio.to_thread(self._take, caller, bytes(body))
        return Response(answer, media_type="application/json", headers=FRESH)

    def _take(self, caller: str, body: bytes) -> bytes:
        batch = parse_batch(body)
        if batch.site != caller:
            raise InvalidInput("batch.site", f"{caller} sends the journal of {batch.site}", "Send your own.")
        return format_answer(self._replicas.take(batch))

    async def put_object(self, request: Request) -> Response:
        self._caller(request)
        handle = request.path_params["handle"]
        size = parse_decimal(request.headers.get("content-length", ""), "content-length")
        declared = request.headers.get("glasshouse-sealed-sha256", "")
        await asyncio.to_thread(self._replicas.check_new, handle)
        incoming = await asyncio.to_thread(Incoming, self._place.vault, handle)
        try:
            held = bytearray()
            async for piece in request.stream():
                held += piece
                if len(held) >= _WRITE_BYTES:
                    await asyncio.to_thread(incoming.write, bytes(held))
                    held.clear()
            await asyncio.to_thread(incoming.write, bytes(held))
            if (incoming.size, incoming.sha256) != (size, declared):
                raise InvalidInput("body", "is not the object declared", "Send it again.")
            await asyncio.to_thread(incoming.keep)
            self._replicas.arrived(handle, declared)
        finally:
            with contextlib.suppress(StorageError):
                await asyncio.to_thread(incoming.discard)
        return Response(status_code=201, headers=FRESH)

    async def get_object(self, request: Request) -> Response:
        self._caller(request)
        handle = request.path_params["handle"]
        size = await asyncio.to_thread(self._place.vault.size, handle)
        if size is None:
            raise ObjectMissing(handle)
        pieces = await asyncio.to_thread(self._place.vault.stream, handle)
        return StreamingResponse(pieces, media_type=_OCTETS, headers={**FRESH, "content-length": str(size)})

    async def opened(self, request: Request) -> Response:
        """An object with its data key: for a peer that has lost what it had sealed for itself. It is counted."""
        caller, rules, handle = self._caller(request), self._place.rules(), request.path_params["handle"]
        if not {caller, rules.site} <= set(rules.rules.sites):
            fix = "Only sites that take over, or have taken over, repair each other's copies."
            raise InvalidInput("certificate", f"{caller} has nothing to repair from {rules.site}", fix)
        answer = await self.get_object(request)
        key = await asyncio.to_thread(data_key, self._place, handle)
        answer.headers[DATA_KEY_HEADER] = encode_base64(key)
        return answer

    async def customers(self, request: Request) -> Response:
        """Accounts: nobody's business but of those whom the members have take over from this site."""
        caller, rules = self._caller(request), self._place.rules()
        if rules.moving is None or rules.moving.site != rules.site or caller not in rules.moving.to:
            fix = "The members have to open a move first: glasshouse charter region."
            raise InvalidInput("certificate", f"{caller} does not take over from {rules.site}", fix)
        page = await asyncio.to_thread(page_of, self._place.database, request.query_params.get("after", ""))
        return Response(format_page(page), media_type="application/json", headers=FRESH)
