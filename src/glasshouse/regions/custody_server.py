"""The custodian's HTTP interface: one route, which answers what `custody.Custodian` decides.

Specification: docs/spec/custody-http.md.
"""

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from glasshouse.ledger.web import ERROR_SCHEMA, FRESH, error_response, guarded, json_response, read_body
from glasshouse.regions.custody import Custodian, Refusal
from glasshouse.regions.custody_request import KEY_HEADER, MAX_REQUEST, PATH, SIGNATURE_HEADER
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable

RETRY_SECONDS = 5


def create_custody_app(custodian: Custodian) -> Starlette:
    """The application that serves a custodian."""
    return Starlette(routes=custody_routes(custodian))


def custody_routes(custodian: Custodian) -> list[Route]:
    """The routes alone, for a process that serves other roles too."""

    async def unwrap(request: Request) -> Response:
        body = await read_body(request, MAX_REQUEST, "request")
        keyid, signature = (request.headers.get(name, "") for name in (KEY_HEADER, SIGNATURE_HEADER))
        try:
            answer = await asyncio.to_thread(custodian.unwrap, body, keyid, signature)
        except CustodyRefused as error:
            return _refused(error)
        except CustodyUnavailable as error:
            fix = "send a new request after the time in Retry-After"
            return error_response(503, str(error), "", fix, retry_after_seconds=RETRY_SECONDS)
        return Response(answer, media_type="application/json", headers=FRESH)

    return [Route(PATH, guarded(unwrap), methods=["POST"])]


def _refused(error: CustodyRefused) -> Response:
    """An error that also says, in one word for programs, why."""
    value = {"schema": ERROR_SCHEMA, "error": str(error), "field": error.field, "fix": error.fix}
    answer = json_response(value | {"reason": error.reason})
    answer.status_code = 409 if error.reason == Refusal.REPLAY else 403
    return answer
