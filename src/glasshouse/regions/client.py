"""A client for customers' products: it takes its site from the charter, and sends nothing anywhere else.

    destination = destination_of(history.chain.newest, "AU")
    with SiteClient(destination, token) as client:
        sent = client.send_file(Path("invoice.js"), {"category": "suspicious", "name": "invoice.js"})

The charter is the newest that follows from the customer's pin (`destination.Charters`). Only the sites that it names
for the customer's region are ever spoken to, one after the other where one does not answer; what an answer says of
other places is not followed, be it a redirect or a hint. Where the charter has the region moving, the sites that take
over are among them: the client goes there by itself once the old site says that it takes nothing more, or does not
answer; while these are not open yet, it tries again for a while. Where the sites known have all moved or are gone,
the newest charter is asked for. A receipt counts only if it says what was sent and carries the signatures of as many
sites as the charter asks for.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from glasshouse_verify.charter import Charter, verified_keyids
from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import Envelope, parse_envelope
from glasshouse_verify.encoding import JSON, encode_base64, parse_decimal
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.receipt import Receipt, erasure_request
from glasshouse_verify.region import Kind, Region, region_of
from glasshouse_verify.statement import Use, parse_statement

from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.outgoing import open_http
from glasshouse.parties.signer import Signer
from glasshouse.regions.destination import Destination
from glasshouse.regions.errors import InvalidInput, SiteAnswered, SiteUnavailable, Unverifiable
from glasshouse.regions.metadata import check_metadata, format_metadata
from glasshouse.regions.telemetry import format_batch
from glasshouse.regions.web import MOVED_FIELD
from glasshouse.storage import files

TIMEOUT_SECONDS = 60.0
MAX_ANSWER_BYTES = 8 << 20
# A larger file goes in parts of this size, each of which can be sent again.
PART_BYTES = 32 << 20
ATTEMPTS = 5
_FIRST_PAUSE_SECONDS = 0.5
# From the old site's last word to a new one's first: a few seconds (docs/figures.md).
PATIENCE_MOVING_SECONDS = 30.0
_PAUSE_MOVING_SECONDS = 0.2
MOVED_STATUS = 421
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A receipt: its envelope, what it says, the site that gave it, and whether this upload was the first."""

    site: str
    created: bool
    envelope: bytes
    receipt: Receipt


class SiteClient:
    """A connection of one customer to the sites of its region. For one thread at a time; close it.

    `renew` asks the ledger for the newest charter: once, where every site that is known does not answer, or has moved.
    """

    def __init__(
        self,
        destination: Destination,
        token: str,
        *,
        key: Signer | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        renew: Callable[[], Destination] | None = None,
    ) -> None:
        self.destination = destination
        self._key, self._renew = key, renew
        self._moved: set[str] = set()
        self._http = open_http(timeout_seconds)
        self._http.headers.update({"authorization": f"Bearer {token}", "glasshouse-country": destination.country})

    # --- sending ---------------------------------------------------------------------------------------------------

    def send_file(self, path: Path, metadata: dict[str, JSON], progress: Progress | None = None) -> Sent:
        """Send a file; `progress` is told how many more bytes are on their way.

        Raises InvalidInput for metadata or a category that no site would take, SiteAnswered for what one refuses,
        SiteUnavailable where none takes it, Unverifiable for a receipt that does not say what was sent.
        """
        category = check_metadata(metadata).category
        self._check_category(category, Kind.FILE)
        sha256, size = digest_of(path)
        headers = {"glasshouse-metadata": format_metadata(metadata)}
        tell = progress or (lambda _: None)

        def send(url: str) -> httpx.Response:
            if size > PART_BYTES:
                return self._in_parts(url, path, sha256, size, headers, tell)
            content = _told(files.chunks(path), tell)
            length = {"content-length": str(size)}
            return self._ask("PUT", f"{url}/intake/v1/files/{sha256}", headers=headers | length, content=content)

        site, answer = self._first(send)
        return self._checked(site, answer, sha256=sha256, size=size, category=category)

    def send_telemetry(self, category: str, records: Sequence[Mapping[str, JSON]]) -> Sent:
        """Send a batch of records; raises as `send_file`."""
        self._check_category(category, Kind.TELEMETRY)
        body = format_batch(category, records)
        site, answer = self._first(lambda url: self._ask("POST", f"{url}/intake/v1/telemetry", content=body))
        sha256 = hashlib.sha256(body).hexdigest()
        return self._checked(site, answer, sha256=sha256, size=len(body), category=category)

    def _check_category(self, category: str, kind: Kind) -> None:
        known = self.destination.rules.categories
        found = known.get(Identifier(category))
        if found is None or found.kind != kind:
            there = ", ".join(name for name, shown in known.items() if shown.kind == kind) or "none"
            raise InvalidInput("category", f"{category} is none for a {kind} in this region", f"Use one of: {there}.")

    def _in_parts(
        self, url: str, path: Path, sha256: str, size: int, headers: dict[str, str], tell: Progress
    ) -> httpx.Response:
        declared = {**headers, "glasshouse-sha256": sha256, "upload-length": str(size)}
        begun = self._ask("POST", f"{url}/intake/v1/uploads", headers=declared)
        if begun.status_code != 201:
            return begun
        place, offset, broken = f"{url}/intake/v1/uploads/{_header(begun, 'location').rpartition('/')[2]}", 0, 0
        while True:
            length = min(PART_BYTES, size - offset)
            last = offset + length == size
            part = {
                "content-type": "application/partial-upload",
                "content-length": str(length),
                "upload-offset": str(offset),
                "upload-complete": "?1" if last else "?0",
            }
            try:
                content = _told(_part(path, offset, length), tell)
                answer = self._ask("PATCH", place, headers=part, content=content)
                if last:
                    return answer
                offset += length
            except SiteUnavailable:
                broken += 1
                if broken == ATTEMPTS:
                    raise
                time.sleep(_FIRST_PAUSE_SECONDS * 2**broken)
                offset = _offset(self._ask("HEAD", place), size)

    # --- what was sent ---------------------------------------------------------------------------------------------

    def sent(self) -> Iterator[dict[str, Any]]:
        """What this customer has sent, in order of time, as its site lists it."""
        after: str | None = None
        while True:
            query = "" if after is None else f"?after={after}"
            page = self._json("GET", f"/intake/v1/uploads{query}", None, "objects", "next")
            yield from page["objects"]
            after = page["next"]
            if after is None:
                return

    def receipt(self, handle: str) -> bytes:
        """The receipt of an object again. Raises SiteAnswered where there is none."""
        _, answer = self._first(lambda url: self._ask("GET", f"{url}/intake/v1/objects/{handle}/receipt"))
        return answer.content

    def erase(self, handle: str) -> None:
        """Have an object erased, under the signature of the customer's key. Raises InvalidInput without a key."""
        if self._key is None:
            fix = "Enrol with a key: glasshouse customer profile."
            raise InvalidInput("key", "an object is erased under the customer's signature", fix)
        signature = {"glasshouse-signature": encode_base64(self._key.sign(erasure_request(handle)))}
        self._first(lambda url: self._ask("DELETE", f"{url}/intake/v1/objects/{handle}", headers=signature))

    def policies(self) -> dict[str, dict[str, Any]]:
        """What each site goes by for this customer; a site that does not answer is left out."""
        return self._each("GET", None)

    def decide(self, wanted: Mapping[str, JSON]) -> dict[str, dict[str, Any]]:
        """Have every site go by a policy; those that answered, with what they go by now."""
        return self._each("PUT", json.dumps(wanted).encode())

    def look_up(self, digests: Sequence[str]) -> dict[str, str]:
        """What the released lists say of up to 1,000 digests."""
        body = json.dumps({"sha256": list(digests)}).encode()
        listed: dict[str, str] = self._json("POST", "/reputation/v1/lookup", body, "listed")["listed"]
        return listed

    def _each(self, method: str, body: bytes | None) -> dict[str, dict[str, Any]]:
        answers, refusal, asked = {}, None, set[str]()
        while left := [(site, url) for site, url in self._open_sites() if site not in asked]:
            site, url = left[0]
            asked.add(site)
            try:
                answer = self._ask(method, f"{url}/intake/v1/policy", content=body)
                answers[site] = _document(answer, "off", "categories_off", "bytes_per_day", "used_today")
            except SiteUnavailable as error:
                refusal = error
            except SiteAnswered as error:
                if not self._has_moved(site, error):
                    raise
        if not answers and refusal is not None:
            raise refusal
        return answers

    def _json(self, method: str, path: str, body: bytes | None, *members: str) -> dict[str, Any]:
        _, answer = self._first(lambda url: self._ask(method, f"{url}{path}", content=body))
        return _document(answer, *members)

    # --- one request -----------------------------------------------------------------------------------------------

    def _first(self, send: Callable[[str], httpx.Response]) -> tuple[str, httpx.Response]:
        """The answer of the first site of the region that takes the request.

        Between the moment when the old site of a region stops taking and the one when a new one begins, all refuse:
        then they are asked again until PATIENCE_MOVING_SECONDS are over.
        """
        end = time.monotonic() + PATIENCE_MOVING_SECONDS
        while True:
            failures = []
            for site, url in self._open_sites():
                try:
                    return site, send(url)
                except SiteUnavailable as error:
                    failures.append(str(error))
                except SiteAnswered as error:
                    if not self._has_moved(site, error):
                        raise
                    failures.append(str(error))
            if self._renewed():
                continue
            if not self._moved or time.monotonic() > end:
                raise SiteUnavailable("; ".join(failures) or f"the region {self.destination.region} has no site")
            time.sleep(_PAUSE_MOVING_SECONDS)

    def _open_sites(self) -> list[tuple[str, str]]:
        return [(site, url) for site, url in self.destination.urls.items() if site not in self._moved]

    def _has_moved(self, site: str, error: SiteAnswered) -> bool:
        """Whether a site says that it takes nothing more, and the charter says who does; it is not asked again."""
        moved = error.status == MOVED_STATUS and error.field == MOVED_FIELD
        if moved and not self.destination.successors:
            self._renewed()
        # By the newest charter it leaves the region, or has left it.
        leaves = bool(self.destination.successors) or site not in self.destination.urls
        if not moved or site in self.destination.successors or not leaves:
            return False
        self._moved.add(site)
        return True

    def _renewed(self) -> bool:
        """Whether the newest charter has other sites than the one known here; it is asked for once."""
        renew, self._renew = self._renew, None
        before = self.destination
        if renew is None or before.successors:
            return False
        with contextlib.suppress(LedgerError, VerifyError):
            self.destination = renew()
        return self.destination.urls != before.urls

    def _ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterator[bytes] | None = None,
    ) -> httpx.Response:
        try:
            with self._http.stream(method, url, headers=headers, content=content, follow_redirects=False) as response:
                body = bytearray()
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER_BYTES:
                        raise SiteUnavailable(f"{self._named(url)} answers more than {MAX_ANSWER_BYTES} bytes")
                answer = httpx.Response(
                    response.status_code,
                    headers=_plain(response.headers),
                    content=bytes(body),
                    request=response.request,
                )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise SiteUnavailable(f"{self._named(url)} does not answer: {reason}") from error
        if answer.status_code in (502, 503, 504):
            raise SiteUnavailable(f"{self._named(url)}: {_said(answer)[0]}")
        if answer.status_code >= 300:
            reason, field, fix = _said(answer)
            text = f"{self._named(url)} answers {answer.status_code}: {reason}"
            raise SiteAnswered(text, answer.status_code, field, fix)
        return answer

    def _named(self, url: str) -> str:
        """A site by its name and its address, without the path, which is digests and handles."""
        of = {address: site for site, address in self.destination.urls.items()}
        address = next((one for one in of if url.startswith(f"{one}/")), None)
        return url if address is None else f"{of[address]} ({address})"

    def _checked(self, site: str, answer: httpx.Response, *, sha256: str, size: int, category: str) -> Sent:
        envelope = answer.content
        receipt = check_receipt(self.destination, envelope)
        wanted = {"sha256": sha256, "size": size, "category": category}
        for name, value in wanted.items():
            if getattr(receipt, name) != value:
                raise Unverifiable(f"the receipt of {site} says another {name} than was sent")
        return Sent(site=site, created=answer.status_code == 201, envelope=envelope, receipt=receipt)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def check_receipt(destination: Destination, data: bytes) -> Receipt:
    """The receipt in an envelope, if it is of this region and signed by as many of its sites as the charter asks for.

    One of a site that the region has left since is judged by the charter that it names. Raises Unverifiable.
    """
    try:
        envelope: Envelope = parse_envelope(data)
        receipt = parse_statement(envelope.payload).predicate
        if not isinstance(receipt, Receipt):
            raise Unverifiable("the statement is no receipt")
        charter, rules = _rules_for(destination, receipt)
        keys = [(kid, charter.key(kid)) for kid in verified_keyids(charter, envelope)]
    except VerifyError as error:
        raise Unverifiable(f"this is no receipt: {error}") from error
    if (receipt.region, receipt.country) != (destination.region, destination.country):
        raise Unverifiable(f"the receipt is of {receipt.country} in {receipt.region}, not {destination.region}")
    signed = {
        key.site
        for kid, key in keys
        if key is not None
        and key.stops is None
        and Use.RECEIPT in key.uses
        and key.site in rules.sites
        and charter.owners[kid] == rules.sites[key.site].party
    }
    if receipt.site not in signed or len(signed) < rules.replicas:
        raise Unverifiable(f"{len(signed)} sites have signed the receipt, the charter asks for {rules.replicas}")
    return receipt


def _rules_for(destination: Destination, receipt: Receipt) -> tuple[Charter, Region]:
    """The charter to judge a receipt by, and its rules for the site that took the object."""
    rules = destination.rules.seen_from(receipt.site)
    if receipt.site not in rules.sites:
        for link in destination.earlier:
            if link.id == receipt.charter:
                return link.charter, region_of(link.charter, destination.country)[1].seen_from(receipt.site)
    return destination.link.charter, rules


def digest_of(path: Path) -> tuple[str, int]:
    """SHA-256 and size of a file, read in pieces."""
    digest, size = hashlib.sha256(), 0
    for piece in files.chunks(path):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


def _part(path: Path, offset: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while length and (piece := file.read(min(files.CHUNK_BYTES, length))):
            length -= len(piece)
            yield piece


def _told(pieces: Iterator[bytes], tell: Progress) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        tell(len(piece))


def _plain(headers: httpx.Headers) -> dict[str, str]:
    """Headers of an answer whose content has been decoded."""
    return {name: value for name, value in headers.items() if name not in ("content-encoding", "content-length")}


def _document(answer: httpx.Response, *members: str) -> dict[str, Any]:
    """The JSON object of an answer; raises SiteUnavailable for anything that has not these members."""
    try:
        document = json.loads(answer.content)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not set(members) <= document.keys():
        raise SiteUnavailable(f"{_address(answer)} answers something else than this interface does")
    return document


def _address(answer: httpx.Response) -> str:
    return f"{answer.url.scheme}://{answer.url.netloc.decode()}"


def _header(answer: httpx.Response, name: str) -> str:
    if name not in answer.headers:
        raise SiteUnavailable(f"{_address(answer)} answers without {name}")
    return answer.headers[name]


def _offset(answer: httpx.Response, size: int) -> int:
    """Where an upload goes on; raises SiteUnavailable for what is no place in the file."""
    try:
        offset = parse_decimal(_header(answer, "upload-offset"), "upload-offset")
    except FormatError as error:
        raise SiteUnavailable(f"{_address(answer)}: {error}") from error
    if offset >= size:
        raise SiteUnavailable(f"{_address(answer)} goes on at {offset} of {size} bytes")
    return offset


def _said(answer: httpx.Response) -> tuple[str, str, str]:
    try:
        told = json.loads(answer.content)
        return str(told["error"]), str(told["field"]), str(told["fix"])
    except (ValueError, TypeError, KeyError):
        return answer.content[:200].decode(errors="replace").strip() or answer.reason_phrase, "", ""
