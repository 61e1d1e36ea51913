"""A site asking its region's custodian to open wrappings.

Nothing is sent twice by itself: what was counted and got lost on its way is counted again when it is asked for again,
so that is for the caller to decide.
"""

import json
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import httpx
from glasshouse_verify.codec import Identifier
from glasshouse_verify.errors import FormatError

from glasshouse.ledger.errors import Unavailable as SlowAnswer
from glasshouse.ledger.outgoing import open_http, read_bounded
from glasshouse.parties.signer import Signer
from glasshouse.regions.custody_request import (
    MAX_ITEMS,
    MAX_REQUEST,
    PATH,
    Item,
    Reason,
    UnwrapRequest,
    format_request,
    new_id,
    parse_answer,
    sign_request,
)
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable, InvalidInput

TIMEOUT_SECONDS = 30.0


class CustodyClient:
    """Asks one custodian for one site. Threads may share it; close it."""

    def __init__(
        self,
        url: str,
        *,
        custodian: str,
        region: str,
        site: str,
        signer: Signer,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._signer, self._clock = url.rstrip("/"), signer, clock
        self._custodian, self._region, self._site = Identifier(custodian), Identifier(region), Identifier(site)
        self._http = open_http(timeout_seconds)

    def unwrap(self, items: Sequence[Item], reason: Reason) -> tuple[bytes, ...]:
        """What the blobs held, in their order: the site's own wrappings, for `Wrapper.unwrap`.

        More than MAX_ITEMS go in several requests. Raises CustodyRefused, CustodyUnavailable, KeyUnavailable where the
        site's key does not sign, InvalidInput for what no custodian takes.
        """
        opened: list[bytes] = []
        for start in range(0, len(items), MAX_ITEMS):
            opened += self._ask(tuple(items[start : start + MAX_ITEMS]), reason)
        return tuple(opened)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, items: tuple[Item, ...], reason: Reason) -> tuple[bytes, ...]:
        try:
            request = UnwrapRequest(
                custodian=self._custodian,
                region=self._region,
                site=self._site,
                reason=reason,
                items=items,
                time=int(self._clock()),
                id=new_id(),
            )
            body = format_request(request)
        except FormatError as error:
            raise InvalidInput(error.field, error.reason, "Ask for different objects, by their handles.") from error
        headers = {"content-type": "application/json", **sign_request(body, self._signer)}
        try:
            with self._http.stream("POST", f"{self._url}{PATH}", content=body, headers=headers) as response:
                status, answer = response.status_code, read_bounded(response, MAX_REQUEST)
        except (httpx.HTTPError, httpx.InvalidURL, SlowAnswer) as error:
            raise CustodyUnavailable(f"{self._url} does not answer: {str(error) or type(error).__name__}") from error
        if status != 200:
            raise _refusal(self._url, status, answer)
        try:
            return parse_answer(answer, len(items))
        except FormatError as error:
            raise CustodyUnavailable(f"{self._url} answers what is not its interface: {error}") from error


def _refusal(url: str, status: int, body: bytes) -> CustodyRefused | CustodyUnavailable:
    try:
        told = json.loads(body)
        text, field, fix = (str(told[name]) for name in ("error", "field", "fix"))
        reason = str(told.get("reason", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        text, field, fix, reason = body[:200].decode(errors="replace").strip(), "", "", ""
    said = f"{url} answers {status}: {text}" + (f" ({fix})" if fix else "")
    if 400 <= status < 500:
        return CustodyRefused(reason or "malformed", said, field=field, fix=fix)
    return CustodyUnavailable(said)
