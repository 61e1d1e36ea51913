"""The custodian: the second party of dual custody, which opens its layer of wrapped data keys and counts each one.

It answers sites that the charter names, for machines' jobs and for people's grants, and it knows no data key: what it
opens is still wrapped by the site. Every item is counted, by region, site and job or grant, before it is answered: the
count is on disk (SQLite, one transaction under the write lock, flushed) when the answer leaves, so that a crash may
leave something counted that nobody received, never the reverse. A grant's uses are counted in the same transaction.
What is refused is recorded too.

Specification: docs/spec/custody-http.md.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import NoReturn, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from glasshouse_verify.charter import Charter
from glasshouse_verify.errors import SignatureError
from glasshouse_verify.region import Mode, regions_of
from glasshouse_verify.statement import Use

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.node import is_entitled
from glasshouse.regions.custody_request import (
    Answer,
    Item,
    Reason,
    UnwrapRequest,
    access_commitment,
    check_signature,
    format_answer,
    parse_request,
)
from glasshouse.regions.errors import CustodyRefused, WrappingBroken
from glasshouse.regions.wrapping import open_custody
from glasshouse.storage.errors import StorageUnavailable

_LOG = logging.getLogger(__name__)
WINDOW_SECONDS = 300
MAX_KEPT_REFUSALS = 100_000
_BUSY_TIMEOUT_SECONDS = 10.0
_SCHEMA = """
create table if not exists taken (
    id text primary key,
    time integer not null
) strict, without rowid;
create table if not exists unwrapped (
    region text not null,
    site text not null,
    kind text not null check (kind in ('job', 'grant')),
    reason text not null,
    requests integer not null,
    items integer not null check (items >= requests),
    primary key (region, site, kind, reason)
) strict, without rowid;
create table if not exists refused (
    region text not null,
    site text not null,
    refusal text not null,
    requests integer not null,
    primary key (region, site, refusal)
) strict, without rowid;
create table if not exists refusal (
    number integer primary key autoincrement,
    time integer not null,
    region text not null,
    site text not null,
    refusal text not null,
    kind text not null,
    reason text not null,
    items integer not null,
    request text not null
) strict;
"""


class Refusal(StrEnum):
    """Why the custodian declined."""

    STRANGER = "stranger"  # the charter names no such site, key or custodian for the region, or its custody is not dual
    SIGNATURE = "signature"
    TIME = "time"
    REPLAY = "replay"
    JOB = "job"
    NO_GRANT = "no-grant"
    EXPIRED = "expired"
    USED_UP = "used-up"
    OBJECT = "object"  # another object, site or region than the grant's
    WRAPPING = "wrapping"


_TOLD: dict[Refusal, tuple[str, str, str]] = {
    Refusal.STRANGER: (
        "the charter in force gives this key no access to this region's custody here",
        "site",
        "sign with the site's key that the charter counts, and ask the custodian that it names for the region",
    ),
    Refusal.SIGNATURE: ("the signature is not that of the key over this body", "signature", "sign the body as sent"),
    Refusal.TIME: (
        f"the time is more than {WINDOW_SECONDS} seconds from the custodian's",
        "request.time",
        "set the clock, and make a new request",
    ),
    Refusal.REPLAY: ("a request of this id was taken before", "request.id", "make a new request, with another id"),
    Refusal.JOB: (
        "the custodian opens nothing for a job of this name",
        "request.reason.job",
        "name one of the jobs agreed on with the custodian",
    ),
    Refusal.NO_GRANT: (
        "no grant of this id stands in the ledger",
        "request.reason.grant",
        "have the access requested and granted first",
    ),
    Refusal.EXPIRED: ("the grant has ended", "request.reason.grant", "request access again"),
    Refusal.USED_UP: ("the grant has no uses left", "request.reason.grant", "request access again"),
    Refusal.OBJECT: (
        "the grant is for another object, site or region",
        "request.items",
        "ask for the one object of the grant, with the nonce of its access request",
    ),
    Refusal.WRAPPING: (
        "a blob does not open: altered, or sealed to another key or for another object",
        "request.items",
        "send the blob that the site keeps for the object",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A grant that stands: what its access request commits to, how many uses it gives, until when (Unix seconds)."""

    region: str
    about: str
    uses: int
    until: int
    site: str | None = None


class Grants(Protocol):
    """What charter and ledger say, as the custodian has verified them itself, through its own witnessed view.

    Nothing that the asking site says goes into an answer. Both raise CustodyUnavailable where the view is too old.
    """

    def site_key(self, region: str, site: str, keyid: str) -> bytes | None:
        """The public key of this id, where the charter in force has it at the site of a region that is ours to guard.

        None otherwise (`charter_site_key`).
        """

    def grant(self, statement_id: str) -> Grant | None:
        """The grant of this statement id, where it and its request stand in the ledger; None otherwise."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Unwrapped data keys since the beginning, for one site and job or grant (`kind`)."""

    region: str
    site: str
    kind: str
    reason: str
    requests: int
    items: int


@dataclass(frozen=True, kw_only=True)
class KeptRefusal:
    """A refused request of a site: when, for what, and its SHA-256."""

    number: int
    time: int
    region: str
    site: str
    refusal: Refusal
    kind: str
    reason: str
    items: int
    request: str


def charter_site_key(
    charter: Charter, size: int, *, custodian: str, region: str, site: str, keyid: str
) -> bytes | None:
    """The site's key by a charter that is in force at ledger size `size`; None where it gives no access.

    Raises FormatError or CharterError for a charter whose regions break a rule.
    """
    rule = regions_of(charter).get(region)  # type: ignore[call-overload]
    if rule is None or rule.custody.mode != Mode.DUAL or rule.custody.party != custodian or site not in rule.places:
        return None
    key = charter.key(keyid)
    if key is None or charter.owners[keyid] != rule.places[site].party or key.site != site:
        return None
    return key.public if is_entitled(charter, keyid, (Use.ACCESS,), size) else None


def check_keys_held(charter: Charter, custodian: str, keys: tuple[X25519PrivateKey, ...]) -> None:
    """Raise KeyUnavailable where sites seal, by this charter, to a key of the custodian's that it does not hold.

    Nobody could read again what they store. Raises FormatError or CharterError for regions that break a rule.
    """
    held = {key.public_key().public_bytes_raw() for key in keys}
    for name, rule in regions_of(charter).items():
        if rule.custody.party == custodian and rule.custody.key not in held:
            fix = "put it back into keys/, or have the charter name one that is held (glasshouse charter region)"
            raise KeyUnavailable(f"sites of the region {name} seal to a custody key that is not in keys/; {fix}")


class Custodian:
    """The custodian's state and its decisions. Threads may share it; close it.

    ``party`` is its id in the charter, ``keys`` the private halves of every public key that it has had there, ``jobs``
    the machines' jobs that it opens wrappings for, ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        path: Path,
        *,
        party: str,
        keys: tuple[X25519PrivateKey, ...],
        grants: Grants,
        jobs: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._party, self._keys, self._grants, self._jobs, self._clock = party, keys, grants, frozenset(jobs), clock
        self._lock = threading.Lock()
        with _storage():
            self._database = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.execute("pragma journal_mode = wal")
            # In WAL mode only FULL flushes the log before a commit returns.
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)

    def unwrap(self, body: bytes, keyid: str, signature: str) -> bytes:
        """The answer to a signed request; it is counted when this returns.

        Raises FormatError for what is no request, CustodyRefused, CustodyUnavailable, StorageUnavailable.
        """
        request = parse_request(body)
        public = self._grants.site_key(request.region, request.site, keyid)
        if public is None or request.custodian != self._party:
            self._refuse(Refusal.STRANGER)
        try:
            check_signature(body, public, signature)
        except SignatureError:
            self._refuse(Refusal.SIGNATURE)
        now, digest = int(self._clock()), sha256(body).hexdigest()
        grant, refusal = self._judge(request, now)
        if refusal is not None:
            self._refuse(refusal, request, digest)
        try:
            opened = tuple(self._open(item, request.region) for item in request.items)
        except WrappingBroken:
            self._refuse(Refusal.WRAPPING, request, digest)
        refusal = self._count(request, grant, now)
        if refusal is not None:
            self._refuse(refusal, request, digest)
        return format_answer(Answer(opened=opened))

    def counts(self) -> tuple[Count, ...]:
        """Everything counted since the beginning, by region, site, kind and reason."""
        with self._lock, _storage():
            rows = self._database.execute(
                "select region, site, kind, reason, requests, items from unwrapped order by region, site, kind, reason"
            ).fetchall()
        return tuple(
            Count(region=region, site=site, kind=kind, reason=reason, requests=requests, items=items)
            for region, site, kind, reason, requests, items in rows
        )

    def refused(self) -> dict[tuple[str, str, Refusal], int]:
        """Refused requests by region, site and why; region and site are empty where nobody proved to be one."""
        with self._lock, _storage():
            rows = self._database.execute("select region, site, refusal, requests from refused").fetchall()
        return {(region, site, Refusal(refusal)): requests for region, site, refusal, requests in rows}

    def refusals(self, after: int = 0, limit: int = 1_000) -> tuple[KeptRefusal, ...]:
        """The refused requests of sites above a number, oldest first."""
        with self._lock, _storage():
            rows = self._database.execute(
                "select number, time, region, site, refusal, kind, reason, items, request from refusal"
                " where number > ? order by number limit ?",
                (after, limit),
            ).fetchall()
        return tuple(
            KeptRefusal(
                number=number,
                time=moment,
                region=region,
                site=site,
                refusal=Refusal(refusal),
                kind=kind,
                reason=reason,
                items=items,
                request=digest,
            )
            for number, moment, region, site, refusal, kind, reason, items, digest in rows
        )

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _judge(self, request: UnwrapRequest, now: int) -> tuple[Grant | None, Refusal | None]:
        """The grant that the request relies on, if any, and what speaks against the request before it is counted."""
        if abs(now - request.time) > WINDOW_SECONDS:
            return None, Refusal.TIME
        reason = request.reason
        if reason.grant is None or reason.nonce is None:
            return None, None if reason.job in self._jobs else Refusal.JOB
        grant = self._grants.grant(reason.grant)
        if grant is None:
            return None, Refusal.NO_GRANT
        if grant.until <= now:
            return grant, Refusal.EXPIRED
        elsewhere = grant.region != request.region or grant.site not in (None, request.site)
        about = [access_commitment(item.handle, reason.nonce) for item in request.items]
        return grant, Refusal.OBJECT if elsewhere or about != [grant.about] else None

    def _open(self, item: Item, region: str) -> bytes:
        return open_custody(self._keys, item.blob, handle=item.handle, region=region)

    def _count(self, request: UnwrapRequest, grant: Grant | None, now: int) -> Refusal | None:
        """Take the request's id and count its items, durably; or say why not, and change nothing."""
        kind, reason = _named(request.reason)
        with self._writing() as database:
            database.execute("delete from taken where time < ?", (now - 2 * WINDOW_SECONDS,))
            if database.execute("select 1 from taken where id = ?", (request.id,)).fetchone():
                return Refusal.REPLAY
            if grant is not None:
                (used,) = database.execute(
                    "select coalesce(sum(items), 0) from unwrapped where kind = 'grant' and reason = ?", (reason,)
                ).fetchone()
                if used + len(request.items) > grant.uses:
                    return Refusal.USED_UP
            database.execute("insert into taken (id, time) values (?, ?)", (request.id, request.time))
            database.execute(
                "insert into unwrapped (region, site, kind, reason, requests, items) values (?, ?, ?, ?, 1, ?)"
                " on conflict do update set requests = requests + 1, items = items + excluded.items",
                (request.region, request.site, kind, reason, len(request.items)),
            )
        return None

    def _refuse(self, refusal: Refusal, request: UnwrapRequest | None = None, digest: str = "") -> NoReturn:
        """Record a refusal, with the request where it is a site's own, and raise it."""
        region, site = ("", "") if request is None else (request.region, request.site)
        with self._writing() as database:
            database.execute(
                "insert into refused (region, site, refusal, requests) values (?, ?, ?, 1)"
                " on conflict do update set requests = requests + 1",
                (region, site, refusal),
            )
            (kept,) = database.execute("select coalesce(max(number), 0) from refusal").fetchone()
            if request is not None and kept < MAX_KEPT_REFUSALS:
                values = (
                    int(self._clock()),
                    region,
                    site,
                    refusal,
                    *_named(request.reason),
                    len(request.items),
                    digest,
                )
                database.execute(
                    "insert into refusal (time, region, site, refusal, kind, reason, items, request)"
                    " values (?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
        _LOG.warning("refused %s: %s", site or "a stranger", refusal)
        text, field, fix = _TOLD[refusal]
        raise CustodyRefused(refusal, text, field=field, fix=fix)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the write lock from its beginning, and is on disk when it has ended."""
        with self._lock, _storage():
            self._database.execute("begin immediate")
            try:
                yield self._database
                self._database.execute("commit")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("rollback")
                raise


def _named(reason: Reason) -> tuple[str, str]:
    return ("grant", reason.grant) if reason.grant is not None else ("job", reason.job or "")


@contextlib.contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnavailable(f"the custodian's database refuses: {error}") from error
