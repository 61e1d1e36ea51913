"""A site's HTTP interface for the supervisor of a move: what `giving.Giver` decides.

    POST /relocation/v1/openings                    what opens sampled objects, sealed to a key of the request
    GET  /relocation/v1/{relocation}/rows           the rows that the fence left, as this site has them
    GET  /relocation/v1/{relocation}/source         the rows that the old site's statement `source` is about
    GET  /relocation/v1/{relocation}/sealed         this site's ciphertexts as of its arrival

Every request is signed by the supervisor's key. Specification: docs/spec/relocation-http.md.
"""

import asyncio

from glasshouse_verify.encoding import parse_decimal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from glasshouse.ledger.web import ERROR_SCHEMA, FRESH, Endpoint, error_response, guarded, json_response, read_body
from glasshouse.regions.errors import CustodyRefused, RegionError
from glasshouse.relocation.errors import InvalidInput, NotGiven, NotYet
from glasshouse.relocation.giving import Giver, Refusal
from glasshouse.relocation.openings import KEY_HEADER, LISTS_PATH, MAX_REQUEST, PATH, SIGNATURE_HEADER, TIME_HEADER

RETRY_SECONDS = 5
PRIVATE = {"cache-control": "no-store"}


def create_opening_app(giver: Giver) -> Starlette:
    """The application that serves the supervisor."""
    return Starlette(routes=opening_routes(giver))


def opening_routes(giver: Giver) -> list[Route]:
    """The routes alone, for a process that serves others too."""

    async def openings(request: Request) -> Response:
        body = await read_body(request, MAX_REQUEST, "request")
        keyid, signature = (request.headers.get(name, "") for name in (KEY_HEADER, SIGNATURE_HEADER))
        answer, headers = await asyncio.to_thread(giver.give, body, keyid, signature)
        return Response(answer, media_type="application/octet-stream", headers=PRIVATE | headers)

    async def listed(request: Request) -> Response:
        keyid, signature = (request.headers.get(name, "") for name in (KEY_HEADER, SIGNATURE_HEADER))
        time = parse_decimal(request.headers.get(TIME_HEADER, ""), TIME_HEADER)
        place = request.path_params
        path = await asyncio.to_thread(giver.list, place["relocation"], place["name"], time, keyid, signature)
        return FileResponse(path, media_type="application/jsonl", headers=PRIVATE)

    return [
        Route(PATH, _answered(openings), methods=["POST"]),
        Route(LISTS_PATH, _answered(listed), methods=["GET"]),
    ]


def _answered(endpoint: Endpoint) -> Endpoint:
    """The endpoint with errors turned into answers that name the field and the fix."""

    async def answer(request: Request) -> Response:
        try:
            return await guarded(endpoint)(request)
        except NotGiven as error:
            return _not_given(error)
        except (NotYet, InvalidInput) as error:
            return error_response(409, str(error), "relocation", "ask again once this site has said what arrived")
        except CustodyRefused as error:
            return error_response(503, f"the custodian refuses: {error}", error.field, error.fix)
        except RegionError as error:
            fix = "send a new request after the time in Retry-After"
            return error_response(503, str(error), "", fix, retry_after_seconds=RETRY_SECONDS)

    return answer


def _not_given(error: NotGiven) -> Response:
    """An error that also says, in one word for programs, why."""
    value = {"schema": ERROR_SCHEMA, "error": str(error), "field": error.field, "fix": error.fix}
    answer = json_response(value | {"reason": error.reason}, FRESH)
    answer.status_code = 409 if error.reason in (Refusal.REPLAY, Refusal.NOT_OPEN) else 403
    return answer
