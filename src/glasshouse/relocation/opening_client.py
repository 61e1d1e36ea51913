"""The supervisor asking a site for its lists, and for what opens sampled objects."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from glasshouse_verify.codec import Digest, Identifier, PublicKey
from glasshouse_verify.errors import FormatError, SignatureError
from glasshouse_verify.shards import Sharded

from glasshouse.ledger.errors import Unavailable as SlowAnswer
from glasshouse.ledger.outgoing import open_http, read_bounded
from glasshouse.parties.signer import Signer
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import InvalidInput, NotGiven, Unavailable
from glasshouse.relocation.lists import RowList, check_list
from glasshouse.relocation.openings import (
    KEY_HEADER,
    LISTS_PATH,
    MAX_ANSWER,
    MAX_HANDLES,
    PATH,
    SIGNATURE_HEADER,
    Opening,
    OpeningsRequest,
    format_request,
    new_id,
    open_answer,
    sign_list_request,
    sign_request,
)
from glasshouse.storage import files

TIMEOUT_SECONDS = 60.0
# A row has about 170 bytes; a list that is longer than its statement says is not read to its end.
_MOST_ROW_BYTES = 300
_SPARE_BYTES = 4_096


class OpeningClient:
    """Asks one site of a move. `signer` is the supervisor's key; close it.

    `url` is where the charter has the site; `directory` where lists are kept. Nothing is sent twice by itself.
    """

    def __init__(
        self,
        url: str,
        *,
        course: Course,
        site: str,
        signer: Signer,
        directory: Path,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.site = Identifier(site)
        self._url, self._course, self._signer, self._clock = url.rstrip("/"), course, signer, clock
        self._directory = directory
        self._http = open_http(timeout_seconds)

    def list(self, name: str, said: Sharded) -> RowList:
        """One of the site's lists (`rows`, `sealed`), which is what `said` commits to; kept between calls.

        Raises Unavailable, NotGiven, and InvalidInput for another list.
        """
        path = self._directory / f"{self.site}-{name}-{said.root[:16]}"
        if not path.exists():
            files.make_directory(self._directory, mode=0o700)
            partial = path.with_name(f".{path.name}.part")
            try:
                self._fetch(name, said, partial)
                files.adopt(path, partial)
            finally:
                partial.unlink(missing_ok=True)
        try:
            return check_list(path, said, f"{self.site}'s {name}")
        except InvalidInput:
            path.unlink(missing_ok=True)
            raise

    def open(self, handles: Sequence[str], after: str = "") -> dict[str, Opening]:
        """What opens these objects, by handle; `after` is the erasure where the sample is the one after it.

        Raises NotGiven; Unavailable where the site does not answer, or what answers is not the site.
        """
        found: dict[str, Opening] = {}
        wanted = sorted(set(handles))
        for start in range(0, len(wanted), MAX_HANDLES):
            page = wanted[start : start + MAX_HANDLES]
            opened = self._ask(page, after)
            if [opening.handle for opening in opened] != page:
                raise Unavailable(f"{self._url} answers for other objects than it was asked for")
            found |= {opening.handle: opening for opening in opened}
        return found

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, handles: Sequence[str], after: str) -> tuple[Opening, ...]:
        key = X25519PrivateKey.generate()
        request = OpeningsRequest(
            region=Identifier(self._course.region or ""),
            relocation=Identifier(self._course.id),
            site=self.site,
            handles=tuple(map(Digest, handles)),
            answer_key=PublicKey(key.public_key().public_bytes_raw()),
            time=int(self._clock()),
            id=new_id(),
            after=Digest(after) if after else None,
        )
        body = format_request(request)
        headers = {"content-type": "application/json", **sign_request(body, self._signer)}
        try:
            with self._http.stream("POST", f"{self._url}{PATH}", content=body, headers=headers) as response:
                answer = read_bounded(response, MAX_ANSWER)
                self._check_status(response.status_code, answer)
                public = self._site_key(response.headers.get(KEY_HEADER, ""))
                return open_answer(answer, body, key, public, response.headers.get(SIGNATURE_HEADER, ""))
        except (httpx.HTTPError, httpx.InvalidURL, SlowAnswer) as error:
            raise Unavailable(f"{self._url} does not answer: {str(error) or type(error).__name__}") from error
        except (FormatError, SignatureError) as error:
            raise Unavailable(f"{self._url} answers what is not its interface: {error}") from error

    def _site_key(self, keyid: str) -> bytes:
        """The key of the site that has signed an answer. Whoever else answers is not the site."""
        charter, region = self._course.history.chain.newest.charter, self._course.terms
        key, place = charter.key(keyid), region.places.get(self.site)
        mine = place is not None and key is not None and charter.owners[keyid] == place.party
        if key is None or not mine or key.site != self.site or key.stops is not None:
            raise Unavailable(f"{self._url} signs with a key that the charter does not count at {self.site}")
        return key.public

    def _fetch(self, name: str, said: Sharded, path: Path) -> None:
        place = self._url + LISTS_PATH.format(relocation=self._course.id, name=name)
        headers = sign_list_request(self.site, self._course.id, name, int(self._clock()), self._signer)
        most, size = said.size * _MOST_ROW_BYTES + _SPARE_BYTES, 0
        try:
            with self._http.stream("GET", place, headers=headers) as response:
                if response.status_code != httpx.codes.OK:
                    self._check_status(response.status_code, read_bounded(response, _SPARE_BYTES))
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    for piece in response.iter_bytes():
                        size += file.write(piece)
                        if size > most:
                            raise Unavailable(f"{place} answers more than {most} bytes")
        except (httpx.HTTPError, httpx.InvalidURL, SlowAnswer) as error:
            raise Unavailable(f"{place} does not answer: {str(error) or type(error).__name__}") from error

    def _check_status(self, status: int, body: bytes) -> None:
        if status == httpx.codes.OK:
            return
        try:
            told = json.loads(body)
            text, field, fix = (str(told[name]) for name in ("error", "field", "fix"))
            reason = str(told.get("reason", ""))
        except (ValueError, TypeError, KeyError, AttributeError):
            text, field, fix, reason = body[:200].decode(errors="replace").strip(), "", "", ""
        said = f"{self._url} answers {status}: {text}" + (f" ({fix})" if fix else "")
        if reason and 400 <= status < 500:
            raise NotGiven(reason, said, field=field, fix=fix)
        raise Unavailable(said)
