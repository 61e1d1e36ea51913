"""What the HTTP interfaces of this room share: bounded bodies, and errors that name the field and the fix.

HTTP/1.1 400 Bad Request
content-type: application/json

{"schema":"glasshouse.error/v1","error":"the entry is empty","field":"entry","fix":"send 1 to 65535 bytes"}
"""

import functools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping

from glasshouse_verify.errors import FormatError, VerifyError
from starlette.requests import Request
from starlette.responses import Response

from glasshouse.ledger.errors import (
    Busy,
    EntryRefused,
    EntryTooLong,
    LedgerError,
    LogAlarm,
    NotAdmitted,
    NotThere,
    WriterConflict,
)
from glasshouse.storage.errors import ObjectMissing, StorageError, StorageFull

_LOG = logging.getLogger(__name__)
ERROR_SCHEMA = "glasshouse.error/v1"
IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}
FRESH = {"cache-control": "no-cache"}

Endpoint = Callable[[Request], Awaitable[Response]]


async def read_body(request: Request, limit_bytes: int, field: str) -> bytes:
    """The body of a request. Raises EntryTooLong before reading more than the limit."""
    fix = f"send at most {limit_bytes} bytes"
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:19]) > limit_bytes:
        raise EntryTooLong(f"the {field} has {announced[:19]} bytes", field=field, fix=fix)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit_bytes:
            raise EntryTooLong(f"the {field} has more than {limit_bytes} bytes", field=field, fix=fix)
    return bytes(body)


def json_response(value: object, headers: Mapping[str, str] = FRESH) -> Response:
    """A JSON answer."""
    return Response(json.dumps(value, separators=(",", ":")) + "\n", media_type="application/json", headers=headers)


def error_response(status: int, error: str, field: str, fix: str, *, retry_after_seconds: int = 0) -> Response:
    """An answer that says what is wrong, where, and what to do about it."""
    headers = {"retry-after": str(retry_after_seconds)} if retry_after_seconds else {}
    value = {"schema": ERROR_SCHEMA, "error": error, "field": field, "fix": fix}
    answer = json_response(value, {**FRESH, **headers})
    answer.status_code = status
    return answer


def guarded(endpoint: Endpoint) -> Endpoint:
    """The endpoint with this package's errors turned into answers."""

    @functools.wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (LedgerError, StorageError, VerifyError) as error:
            return error_for(error)

    return answer


def error_for(error: LedgerError | StorageError | VerifyError) -> Response:
    """The answer for an error of this package or of the ones below."""
    match error:
        case EntryTooLong():
            return error_response(413, str(error), error.field, error.fix)
        case EntryRefused():
            return error_response(400, str(error), error.field, error.fix)
        case NotAdmitted():
            return error_response(403, str(error), error.field, error.fix)
        case FormatError():
            return error_response(400, str(error), error.field, "send what the format's specification page shows")
        case NotThere() | ObjectMissing():
            return error_response(404, str(error), "path", "ask for what the published checkpoint covers")
        case Busy():
            fix = "send again after the time in Retry-After"
            return error_response(429, str(error), "", fix, retry_after_seconds=error.retry_after_seconds)
        case LogAlarm():
            return error_response(
                503, str(error), "", "the operator must look into the alarm; the log signs nothing more"
            )
        case StorageFull():
            return error_response(503, "no space is left", "", "the operator must free space", retry_after_seconds=30)
        case StorageError() | WriterConflict():
            _LOG.warning("%s", error)
            fix = "send again after the time in Retry-After; the same entry keeps its index"
            return error_response(503, "the log's storage does not answer", "", fix, retry_after_seconds=1)
        case _:
            _LOG.error("unexpected %s: %s", type(error).__name__, error)
            return error_response(500, "the server could not answer", "", "the operator must look into its log")
