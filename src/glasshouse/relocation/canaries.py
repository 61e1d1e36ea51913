"""Attempts at a site that was left, each of which must fail: reads, writes, uploads, and the talk between sites.

An attempt that cannot be made, because nobody answers there, is no refusal, and is told apart: a host that is switched
off says nothing about what it would give to others, or will give again. What answers in any other way than by giving
or taking something has refused.

    store-read       a version that the store had, by its key and its id
    store-list       what is listed at all: nothing may be, but what locks keep
    store-write      a small object under a key of its own
    intake-upload    a small file of the canary's own account
    intake-read      the receipt of an object of that account, from before the move
    peer-read        where the journals stand
    peer-write       a batch of a journal
"""

import hashlib
import http.client
import secrets
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import groupby
from typing import TypeVar

import httpx
from glasshouse_verify.codec import Digest, Identifier, Text
from glasshouse_verify.foreign import store_handle
from glasshouse_verify.region import Region
from glasshouse_verify.row import row_key

from glasshouse.ledger.outgoing import open_http
from glasshouse.regions.batch import Batch
from glasshouse.regions.errors import JournalConflict, PeerUnavailable
from glasshouse.regions.journal import START
from glasshouse.regions.metadata import format_metadata
from glasshouse.regions.peers import Credentials, PeerClient
from glasshouse.relocation.descriptions import Described
from glasshouse.relocation.errors import Forbidden, Unavailable
from glasshouse.relocation.lists import RowList
from glasshouse.relocation.stores.interface import Source, Store, Version
from glasshouse.relocation.stores.probe import write_refused
from glasshouse.storage.errors import ObjectMissing

Outcome = StrEnum("Outcome", "REFUSED UNREACHED SUCCEEDED")
TIMEOUT_SECONDS = 20.0
# So many objects are known to be asked for.
DRAWN = 200
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What came of one attempt; of what was given or taken, `text` says what it was, and `handle` of which object."""

    outcome: Outcome
    text: Text | None = None
    handle: Digest | None = None


@dataclass(frozen=True, kw_only=True)
class Canary:
    """A way in that must be closed. `kind` is what its attempts are counted under."""

    kind: Identifier
    attempt: Callable[[], Attempt]


REFUSED, UNREACHED = Attempt(outcome=Outcome.REFUSED), Attempt(outcome=Outcome.UNREACHED)


Known = Sequence[tuple[Version, Digest]]
"""Versions that a store had, with their handles."""


def of_store(described: Iterable[Described], secret: bytes) -> Known:
    """Some versions with content, drawn evenly from what a store was described to hold; to be asked for by their keys.

    None of a key that had more than one: what a lock keeps of those may be given.
    """
    alone = (next(iter(found)) for found in map(list, _by_key(described)) if len(found) == 1)
    found = _drawn(one for one in alone if one.content is not None and one.size)
    return [(_by_name(one.key), store_handle(secret, one.key, one.ordinal)) for one in found]


def of_vault(rows: RowList) -> Known:
    """Some objects of a site's vault, drawn evenly from the rows that the fence left."""
    places = {secrets.randbelow(rows.sharded.size) for _ in range(DRAWN if rows.sharded.size else 0)}
    handles = [Digest(row_key(rows.at(place))) for place in sorted(places)]
    return [(_by_name(f"{handle[0]}/{handle}".encode()), handle) for handle in handles]


def _by_name(key: bytes) -> Version:
    return Version(key=key, ordinal=0, version=None, marker=False, size=0, modified=0)


def _by_key(described: Iterable[Described]) -> Iterator[Iterator[Described]]:
    return (found for _, found in groupby(described, key=lambda one: one.key))


def _drawn(found: Iterable[_T]) -> list[_T]:
    kept: list[_T] = []
    for number, one in enumerate(found):
        if number < DRAWN:
            kept.append(one)
        elif (place := secrets.randbelow(number + 1)) < DRAWN:
            kept[place] = one
    return kept


def store_canaries(
    reader: Source | None,
    writer: Store | None,
    versions: Known,
    *,
    fenced_ms: int,
    remains: int = 0,
) -> list[Canary]:
    """Canaries at a store. `versions`, with their handles, are some that it had and that no lock keeps.

    At most `remains` versions may be listed, none of them newer than the fence (Unix milliseconds).
    """

    found = []
    if reader is not None:
        found.append(Canary(kind=Identifier("store-list"), attempt=partial(_list, reader, fenced_ms, remains)))
        if versions:
            found.append(Canary(kind=Identifier("store-read"), attempt=partial(_read, reader, versions)))
    if writer is not None:
        found.append(Canary(kind=Identifier("store-write"), attempt=partial(_write, writer)))
    return found


def _read(source: Source, versions: Known) -> Attempt:
    version, handle = secrets.choice(versions)

    def given() -> bool:
        for _ in source.read(version):
            break
        return True

    return _at_store(given, "a version that was erased can be read", handle)


def _list(source: Source, fenced_ms: int, remains: int) -> Attempt:
    def more() -> bool:
        # An empty directory is none of anybody's objects: a vault keeps its own.
        there = (one for one in source.list() if one.size or one.version or not one.key.endswith(b"/"))
        return any(number > remains or found.modified > fenced_ms for number, found in enumerate(there, 1))

    return _at_store(more, "it lists what was erased, or came afterwards")


def _write(store: Store) -> Attempt:
    return _at_store(lambda: not write_refused(store), "a small object was written")


def _at_store(succeeds: Callable[[], bool], said: str, handle: Digest | None = None) -> Attempt:
    try:
        done = succeeds()
    except (ObjectMissing, Forbidden):
        return REFUSED
    except Unavailable:
        return UNREACHED
    return Attempt(outcome=Outcome.SUCCEEDED, text=Text(said), handle=handle) if done else REFUSED


def intake_canaries(url: str, token: str, country: str, *, category: str, handles: Sequence[Digest]) -> list[Canary]:
    """Canaries at the address where customers reached a site, as the customer whose token this is, of that country.

    `handles` are objects of its own, from before the move: whether their receipts are still given.
    """
    headers = {"authorization": f"Bearer {token}", "glasshouse-country": country}
    base = url.rstrip("/")

    def upload() -> Attempt:
        content = secrets.token_bytes(64)
        said = {**headers, "glasshouse-metadata": format_metadata({"category": category})}
        place = f"{base}/intake/v1/files/{hashlib.sha256(content).hexdigest()}"
        return _over_http("PUT", place, said, content, "an upload was taken")

    def read() -> Attempt:
        handle = secrets.choice(handles)
        place = f"{base}/intake/v1/objects/{handle}/receipt"
        return _over_http("GET", place, headers, None, "a receipt was given", handle)

    found = [Canary(kind=Identifier("intake-upload"), attempt=upload)]
    return [*found, Canary(kind=Identifier("intake-read"), attempt=read)] if handles else found


def _over_http(
    method: str, url: str, headers: dict[str, str], content: bytes | None, said: str, handle: Digest | None = None
) -> Attempt:
    """Whatever is no success is a refusal: redirects are not followed."""
    try:
        with (
            open_http(TIMEOUT_SECONDS) as client,
            client.stream(method, url, headers=headers, content=content) as answer,
        ):
            taken = answer.is_success
    except httpx.RemoteProtocolError:
        return REFUSED
    except (httpx.HTTPError, httpx.InvalidURL):
        return UNREACHED
    return Attempt(outcome=Outcome.SUCCEEDED, text=Text(said), handle=handle) if taken else REFUSED


def peer_canaries(region: str, site: str, rules: Region, own: Credentials, journal: str) -> list[Canary]:
    """Canaries at the address where other sites of a region reached a site; `rules` are some that still name it.

    `own` are credentials that it may have known, `journal` the site whose events are offered.
    """

    def with_client(work: Callable[[PeerClient], object], said: str) -> Attempt:
        client = PeerClient(site, rules, own)
        try:
            work(client)
        except JournalConflict:
            return REFUSED
        except PeerUnavailable as error:
            return _of_peer(error.__cause__)
        finally:
            client.close()
        return Attempt(outcome=Outcome.SUCCEEDED, text=Text(said))

    def read() -> Attempt:
        return with_client(lambda client: client.state(), "it told where the journals stand")

    def write() -> Attempt:
        empty = Batch(region=region, site=journal, after=0, chain=START, keyid=bytes(32), items=())
        return with_client(lambda client: client.push(empty), "a batch of a journal was taken")

    return [Canary(kind=Identifier("peer-read"), attempt=read), Canary(kind=Identifier("peer-write"), attempt=write)]


def _of_peer(cause: BaseException | None) -> Attempt:
    """An answer that says no, and a handshake that fails, are refusals; a connection that nobody takes is none."""
    answered = cause is None or isinstance(cause, ssl.SSLError | http.client.HTTPException | ConnectionResetError)
    return REFUSED if answered else UNREACHED
