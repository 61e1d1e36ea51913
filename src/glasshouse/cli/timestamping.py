"""The route of a time-stamp authority (RFC 3161, 3.4)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glasshouse.ledger.web import FRESH, error_response, guarded, read_body
from glasshouse.parties.errors import QueryRefused
from glasshouse.parties.timestamp import MAX_QUERY, QUERY_TYPE, REPLY_TYPE, TimestampAuthority


def timestamp_routes(authority: TimestampAuthority) -> list[Route]:
    """The route alone, for a process that serves other roles too."""

    async def stamp(request: Request) -> Response:
        query = await read_body(request, MAX_QUERY, "query")
        try:
            reply = await asyncio.to_thread(authority.answer, query)
        except QueryRefused as error:
            return error_response(400, str(error), "query", f"send what {QUERY_TYPE} says, over a SHA-256")
        return Response(reply, media_type=REPLY_TYPE, headers=FRESH)

    return [Route("/timestamp", guarded(stamp), methods=["POST"])]
