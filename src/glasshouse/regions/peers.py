"""The region's other sites: TLS with pinned certificates both ways, and a client of their peer interface.

Each site has one self-signed certificate, which the charter names. A site trusts exactly the others' certificates, as
roots that issue nothing: a chain of length one, compared byte for byte after the handshake as well.
"""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

from glasshouse_verify.codec import Digest, Identifier, decode
from glasshouse_verify.encoding import decode_base64, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.region import Region

from glasshouse.regions.batch import MAX_HEAD_BYTES, Answer, Batch, format_batch, parse_answer
from glasshouse.regions.customers.moving import Page, parse_page
from glasshouse.regions.errors import JournalConflict, PeerUnavailable
from glasshouse.storage.errors import ObjectMissing

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
PIECE_BYTES = 1 << 18
DATA_KEY_HEADER = "Glasshouse-Data-Key"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The files of this site's own certificate and key, PEM."""

    certificate: Path
    key: Path


def server_context(own: Credentials, peers: Iterable[bytes]) -> ssl.SSLContext:
    """TLS of the peer interface: a client must show one of these certificates (DER)."""
    return _context(ssl.PROTOCOL_TLS_SERVER, own, peers)


def client_context(own: Credentials, peer: bytes) -> ssl.SSLContext:
    """TLS towards one peer, which must show this certificate (DER)."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, own, (peer,))


def _context(protocol: int, own: Credentials, trusted: Iterable[bytes]) -> ssl.SSLContext:
    certificates = list(trusted)
    try:
        return _pinned(protocol, own, certificates)
    except ssl.SSLError:
        # A token's module in this process may have left an error of its own in OpenSSL's queue. Raising it has emptied
        # the queue; an error of ours is raised again.
        return _pinned(protocol, own, certificates)


def _pinned(protocol: int, own: Credentials, trusted: Iterable[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The certificate is compared as a whole, so its names say nothing more.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # Each certificate itself is trusted, whatever others there are of the same name: a vendor's sites share it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for certificate in trusted:
        context.load_verify_locations(cadata=certificate)
    context.load_cert_chain(own.certificate, own.key)
    return context


@dataclass(frozen=True, kw_only=True)
class PeerHead:
    """How far one journal is at a peer."""

    position: int
    chain: Digest


@dataclass(frozen=True, kw_only=True)
class PeerState:
    """What a peer says of itself: its place, and every journal that it keeps."""

    region: Identifier
    site: Identifier
    journals: Mapping[Identifier, PeerHead]


class PeerClient:
    """A connection to one peer, kept open between calls. For one thread at a time; close it.

    Every call raises PeerUnavailable when the peer does not answer as it should, and may be repeated.
    """

    def __init__(self, site: str, rules: Region, own: Credentials) -> None:
        there = rules.places[Identifier(site)]
        place = urlsplit(there.peer)
        if place.hostname is None:
            raise PeerUnavailable(f"the charter's address of {site} names no host: {there.peer}")
        self.site = site
        self._certificate = there.certificate
        self._connection = http.client.HTTPSConnection(
            place.hostname,
            place.port or 443,
            timeout=ANSWER_SECONDS,
            context=client_context(own, there.certificate),
        )

    def state(self) -> PeerState:
        """Where the peer stands."""
        body = self._call("GET", "/peer/v1/state")
        value = self._parsed(lambda: parse_json(body, "state", MAX_HEAD_BYTES))
        state: PeerState = self._parsed(lambda: decode(PeerState, value, "state"))
        return state

    def push(self, batch: Batch) -> Answer:
        """Hand over events. Raises JournalConflict where the peer's replica contradicts them."""
        pieces = format_batch(batch)
        body = self._call("POST", "/peer/v1/events", b"".join(pieces))
        return self._parsed(lambda: parse_answer(body))

    def put(self, handle: str, pieces: Iterable[bytes], size: int, sha256: str) -> None:
        """Hand over a sealed object, before its event. ``size`` is in bytes."""
        headers = {"Content-Length": str(size), "Glasshouse-Sealed-Sha256": sha256}
        try:
            self._connected().request("PUT", f"/peer/v1/objects/{handle}", pieces, headers)
            self._answer()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def get(self, handle: str) -> Iterator[bytes]:
        """A sealed object as the peer has it. Raises ObjectMissing at the call. The digest is the caller's to check."""
        try:
            self._connected().request("GET", f"/peer/v1/objects/{handle}")
            answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        if answer.status == http.client.NOT_FOUND:
            answer.read()
            raise ObjectMissing(handle)
        self._expect(answer)
        return self._pieces(answer)

    def opened(self, handle: str) -> tuple[bytes, Iterator[bytes]]:
        """Data key and ciphertext of an object that each site has sealed for itself.

        Raises ObjectMissing at the call. What it holds is the caller's to check.
        """
        try:
            self._connected().request("GET", f"/peer/v1/opened/{handle}")
            answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        if answer.status == http.client.NOT_FOUND:
            answer.read()
            raise ObjectMissing(handle)
        self._expect(answer)
        try:
            key = decode_base64(answer.headers.get(DATA_KEY_HEADER, ""), DATA_KEY_HEADER, 32)
        except FormatError as error:
            self.close()
            raise PeerUnavailable(f"{self.site} answers something else than it should: {error}") from error
        return key, self._pieces(answer)

    def customers(self, after: str) -> Page:
        """The accounts that follow on an id, of a site that is left; "" is before the first."""
        body = self._call("GET", f"/peer/v1/customers?after={quote(after)}")
        return self._parsed(lambda: parse_page(body))

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._connection.close()

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        try:
            while piece := answer.read(PIECE_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            try:
                self._connected().request(method, path, body)
                return self._answer()
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
                # A peer closes connections that were idle for long: once more on a new one. Every call is repeatable.
                self.close()
                self._connected().request(method, path, body)
                return self._answer()
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error

    def _connected(self) -> http.client.HTTPSConnection:
        connection = self._connection
        if connection.sock is None:
            connection.timeout = CONNECT_SECONDS
            connection.connect()
            secured = connection.sock
            if not isinstance(secured, ssl.SSLSocket) or secured.getpeercert(binary_form=True) != self._certificate:
                self.close()
                raise PeerUnavailable(f"{self.site} shows another certificate than the charter's")
            secured.settimeout(ANSWER_SECONDS)
            secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _answer(self) -> bytes:
        answer = self._connection.getresponse()
        self._expect(answer)
        body = answer.read(MAX_HEAD_BYTES + 1)
        if len(body) > MAX_HEAD_BYTES:
            self.close()
            raise PeerUnavailable(f"{self.site} answers without end")
        return body

    def _expect(self, answer: http.client.HTTPResponse) -> None:
        if answer.status not in (http.client.OK, http.client.CREATED):
            text = answer.read(4096).decode(errors="replace").strip()
            self.close()
            if answer.status == http.client.CONFLICT:
                raise JournalConflict(f"{self.site} refuses: {text}")
            raise PeerUnavailable(f"{self.site} answers {answer.status}: {text}")

    def _parsed(self, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except FormatError as error:
            raise PeerUnavailable(f"{self.site} answers something else than it should: {error}") from error

    def _lost(self, error: Exception) -> PeerUnavailable:
        self.close()
        return PeerUnavailable(f"{self.site} does not answer: {error}")
