"""What a site's HTTP interface is made of: bodies that may not dawdle, and errors that name the field and the fix.

    HTTP/1.1 422 Unprocessable Content
    {"schema":"glasshouse.error/v1","error":"metadata.user: is not a known field","field":"metadata.user","fix":"…"}

A refusal that comes before the body has been read closes the connection, so that nothing more of it is sent.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from glasshouse_verify.encoding import JSON, parse_decimal
from glasshouse_verify.errors import FormatError, VerifyError
from starlette.requests import Request
from starlette.responses import Response

from glasshouse.ledger.web import ERROR_SCHEMA, json_response
from glasshouse.regions.errors import (
    Arriving,
    Forbidden,
    InvalidInput,
    Moved,
    NotSignedIn,
    RegionError,
    Short,
    SiteRefused,
    TooManyRequests,
    Unavailable,
    WrongSite,
)
from glasshouse.storage.errors import StorageError, StorageFull

_LOG = logging.getLogger(__name__)
RETRY_SECONDS = 5
PRIVATE = {"cache-control": "no-store"}
# What a refusal is about where the region has moved: by it a client tells this 421 from the one about its country.
MOVED_FIELD = "site"


class Declined(RegionError):
    """A request that HTTP itself has a status for."""

    def __init__(self, status: int, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.status, self.field, self.fix = status, field, fix


@dataclass(frozen=True, kw_only=True)
class Tempo:
    """How slow a body may be: silence, and after `grace_seconds` bytes per second on the whole."""

    silence_seconds: float = 30.0
    grace_seconds: float = 20.0
    least_bytes_per_second: int = 1_024


async def pieces(request: Request, tempo: Tempo) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Declined (408) for one that comes too slowly, ClientDisconnect where it breaks."""
    loop = asyncio.get_running_loop()
    started, taken = loop.time(), 0
    try:
        async with asyncio.timeout(tempo.silence_seconds) as silence:
            async for piece in request.stream():
                if piece:
                    taken += len(piece)
                    # The clock stands still while the site itself is busy with the piece.
                    silence.reschedule(None)
                    yield piece
                now = loop.time()
                late = now - started - tempo.grace_seconds
                if late > 0 and taken < late * tempo.least_bytes_per_second:
                    raise _too_slow()
                silence.reschedule(now + tempo.silence_seconds)
    except TimeoutError:
        raise _too_slow() from None


def _too_slow() -> Declined:
    return Declined(408, "body", "comes too slowly", "Send it faster, or in parts: POST /intake/v1/uploads.")


async def read_all(request: Request, tempo: Tempo, limit_bytes: int, field: str) -> bytes:
    """A whole body. Raises Declined: 413 beyond the limit, 408 for one that comes too slowly."""
    refusal = Declined(413, field, f"has more than {limit_bytes} bytes", "Send less at once.")
    if (announced := content_length(request)) is not None and announced > limit_bytes:
        raise refusal
    body = bytearray()
    async for piece in pieces(request, tempo):
        body += piece
        if len(body) > limit_bytes:
            raise refusal
    return bytes(body)


def content_length(request: Request) -> int | None:
    """The size that the request announces; None for one sent in chunks."""
    return number_in(request, "Content-Length")


def number_in(request: Request, name: str) -> int | None:
    """A decimal in a header. Raises Declined for anything else there."""
    text = request.headers.get(name)
    if text is None:
        return None
    try:
        return parse_decimal(text, name)
    except FormatError as error:
        raise Declined(400, name, error.reason, "Send a decimal number.") from error


def refused(status: int, error: str, field: str, fix: str, **more: JSON) -> Response:
    """An error as an answer."""
    answer = json_response({"schema": ERROR_SCHEMA, "error": error, "field": field, "fix": fix, **more}, PRIVATE)
    answer.status_code = status
    return answer


def answer_for(error: Exception) -> Response:
    """The answer for an error of this room or of the ones below."""
    answer = _answer_for(error)
    answer.headers["connection"] = "close"
    return answer


def _answer_for(error: Exception) -> Response:
    match error:
        case Declined():
            return refused(error.status, str(error), error.field, error.fix)
        case WrongSite():
            return _wrong_site(error)
        case Moved():
            return _moved(error)
        case NotSignedIn():
            fix = "Send Authorization: Bearer and the token that glasshouse customer add has shown."
            answer = refused(401, str(error), "Authorization", fix)
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        case TooManyRequests():
            return _later(429, str(error), "Send again after the time in Retry-After.", error.retry_after_seconds)
        case Forbidden():
            return refused(403, f"{error.field}: {error.reason}", error.field, error.fix)
        case InvalidInput():
            return refused(422, f"{error.field}: {error.reason}", error.field, error.fix)
        case VerifyError():
            return refused(422, str(error), getattr(error, "field", ""), "See the page intake-http.")
        case SiteRefused():
            return refused(503, str(error), error.field, "The site's operator has to act; use another site.")
        case Arriving():
            fix = "Send it again after the time in Retry-After; until then to the site that the message names."
            return _later(503, str(error), fix, error.retry_after_seconds)
        case Short():
            fix = "Send it again after the time in Retry-After, here or to another site of the region."
            return _later(503, str(error), fix, error.retry_after_seconds)
        case StorageFull():
            return _later(503, "no space is left", "Use another site of the region.", 30)
        case Unavailable() | StorageError():
            _LOG.warning("%s: %s", type(error).__name__, error)
            return _later(503, "the site cannot store now", "Send it again after Retry-After.", RETRY_SECONDS)
        case _:
            _LOG.error("unexpected %s: %s", type(error).__name__, error)
            return refused(500, "the site could not answer", "", "Its operator must look into the log.")


def _later(status: int, error: str, fix: str, seconds: int) -> Response:
    answer = refused(status, error, "", fix)
    answer.headers["retry-after"] = str(seconds)
    return answer


def _wrong_site(error: WrongSite) -> Response:
    fix = f"Send it to {error.urls[0]}." if error.urls else "The charter has no region for that country."
    sites: list[JSON] = list(error.urls)
    return refused(421, str(error), "Glasshouse-Country", fix, region=error.region, sites=sites)


def _moved(error: Moved) -> Response:
    addresses: list[JSON] = list(error.sites.values())
    fix = "Take the site from the charter, which has them all, and send it there."
    moved: dict[str, JSON] = {**error.sites}
    return refused(421, str(error), MOVED_FIELD, fix, region=error.region, sites=addresses, moved=moved)
