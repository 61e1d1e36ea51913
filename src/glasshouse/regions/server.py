"""A site's HTTP interface for customers (docs/spec/intake-http.md).

    PUT    /intake/v1/files/{sha256}              one file: declared, streamed, answered with its receipt
    POST   /intake/v1/uploads                     begin one that may go on after a broken connection
    HEAD, PATCH, DELETE /intake/v1/uploads/{id}   how far it is, go on, cancel
    POST   /intake/v1/telemetry                   a batch of typed records
    GET    /intake/v1/uploads                     what this customer has sent
    GET    /intake/v1/objects/{handle}/receipt    the receipt again
    DELETE /intake/v1/objects/{handle}            erase, with the customer's signature
    GET, PUT /intake/v1/policy                    what the customer allows
    GET    /intake/v1/site                        the site, its region and its rules; for everybody
    POST   /reputation/v1/lookup                  what the released lists say of up to 1,000 digests
    GET    /reputation/v1/files/{sha256}          of one
    GET    /inventory/v1/{region}/newest          inventories, proofs and rows, for everybody (inventory_server.py)

What belongs to another region is answered before the body is read, and nothing of it is kept. Content is never opened,
unpacked or looked into: to a site it is bytes.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from glasshouse_verify.errors import VerifyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, Response

from glasshouse.regions.errors import Moved, RegionError
from glasshouse.regions.inventory_server import InventoryRoutes
from glasshouse.regions.own import OwnRoutes
from glasshouse.regions.reception import Site
from glasshouse.regions.reference import describe, page
from glasshouse.regions.taking import TakingRoutes
from glasshouse.regions.web import Declined, answer_for
from glasshouse.storage.errors import StorageError

Endpoint = Callable[[Request], Awaitable[Response]]
# Requests by which something is taken.
UPLOADS = frozenset(
    {
        ("PUT", "/intake/v1/files/{sha256}"),
        ("POST", "/intake/v1/uploads"),
        ("PATCH", "/intake/v1/uploads/{name}"),
        ("POST", "/intake/v1/telemetry"),
    }
)


def create_site_app(site: Site) -> FastAPI:
    """The application that serves a site's customers. Its reference is at /openapi.json, and for people at /docs."""

    app = FastAPI(title="Glasshouse intake", version="1", docs_url=None, redoc_url=None)
    taking, own = TakingRoutes(site), OwnRoutes(site)
    shown = InventoryRoutes(site.intake.place.database, site.rules)
    routes: list[tuple[str, str, Endpoint]] = [
        ("PUT", "/intake/v1/files/{sha256}", taking.file),
        ("POST", "/intake/v1/uploads", taking.begin),
        ("HEAD", "/intake/v1/uploads/{name}", taking.position),
        ("PATCH", "/intake/v1/uploads/{name}", taking.go_on),
        ("DELETE", "/intake/v1/uploads/{name}", taking.cancel),
        ("POST", "/intake/v1/telemetry", taking.telemetry),
        ("GET", "/intake/v1/uploads", own.sent),
        ("GET", "/intake/v1/objects/{handle}/receipt", own.receipt),
        ("DELETE", "/intake/v1/objects/{handle}", own.erase),
        ("GET", "/intake/v1/policy", own.policy),
        ("PUT", "/intake/v1/policy", own.decide),
        ("GET", "/intake/v1/site", own.site),
        ("POST", "/reputation/v1/lookup", own.look_up),
        ("GET", "/reputation/v1/files/{sha256}", own.look_up_one),
        ("GET", "/inventory/v1/{region}/newest", shown.newest),
        ("GET", "/inventory/v1/{region}/proof/{handle}", shown.proof),
        ("GET", "/inventory/v1/{region}/rows", shown.rows),
        ("GET", "/inventory/v1/{region}/deltas/{epoch}", shown.delta),
    ]
    for method, path, endpoint in routes:
        answer = guarded(_counted(site, endpoint) if (method, path) in UPLOADS else endpoint)
        app.add_api_route(path, answer, methods=[method], response_model=None, **describe(method, path))

    async def docs(_: Request) -> Response:
        return HTMLResponse(page(app.openapi()))

    app.add_api_route("/docs", docs, include_in_schema=False, response_model=None)
    app.add_exception_handler(HTTPException, _unknown_path)
    return app


def _counted(site: Site, endpoint: Endpoint) -> Endpoint:
    """The endpoint; what it refuses because the region has moved away is counted (fences.py)."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Moved:
            site.intake.place.fences.refused()
            raise

    return answer


def guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint with errors turned into answers that name the field and the fix."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (RegionError, StorageError, VerifyError) as error:
            return answer_for(error)
        except ClientDisconnect:
            # Nobody is there to be answered.
            return Response(status_code=400)

    return answer


async def _unknown_path(request: Request, error: Any) -> Response:
    fix = "See /openapi.json for what there is."
    return answer_for(Declined(error.status_code, "path", f"{request.method} {request.url.path}: {error.detail}", fix))
