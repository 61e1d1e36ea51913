"""Accounts move with their region: a site that takes over asks the one that is left for them, page by page.

    {"customers":[{"categories_off":[],"changed":1800000000000,"country":"AU","enrolled":1800000000,"id":"kookaburra",
     "off":false,"public_key":"C3NI…","token_sha256":"9f2c…"}],"next":"kookaburra"}

It asks again and again while the move goes on, and once more after the fence, so that a customer's token, limits and
what it has used of its day are known where it is sent next. Of two words on one account the later counts (`changed`),
so what a customer has decided at a new site stays decided. Specification: docs/spec/peer-http.md.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from glasshouse_verify.codec import Country, Digest, Identifier, PublicKey, decode, encode
from glasshouse_verify.encoding import format_json, parse_json

from glasshouse.parties.errors import PartyError
from glasshouse.regions.customers.accounts import QUERIES
from glasshouse.regions.errors import JournalConflict, RegionError
from glasshouse.storage.db import Database, Row
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger(__name__)
PAGE = 500
MAX_PAGE_BYTES = 4 << 20
PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 30.0
# Of the time that asking for everything takes, so much is waited before it is asked for again.
_SPARED = 20
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Used:
    """Bytes of an allowance used on a day (days since 1970, UTC)."""

    day: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Account:
    """One customer as a site knows it: of the token the digest alone. `changed` is in Unix milliseconds."""

    id: Identifier
    country: Country
    token_sha256: Digest
    enrolled: int
    changed: int
    off: bool
    categories_off: tuple[Identifier, ...]
    revoked: int | None = None
    public_key: PublicKey | None = None
    bytes_per_day: int | None = None
    used: Used | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some accounts in the order of their ids; `next` is where the following page begins, None at the end."""

    customers: tuple[Account, ...]
    next: Identifier | None = None


class Asks(Protocol):
    """Asks the site that is left: `peers.PeerClient`."""

    def customers(self, after: str) -> Page:
        """The accounts that follow on an id; "" is before the first. Raises PeerUnavailable."""

    def close(self) -> None:
        """Close the connection."""


def format_page(page: Page) -> bytes:
    """The bytes of a page."""
    return format_json(encode(page))


def parse_page(data: bytes) -> Page:
    """Read a page strictly; raises FormatError naming the member."""
    page: Page = decode(Page, parse_json(data, "customers", MAX_PAGE_BYTES), "customers")
    return page


def page_of(database: Database, after: str) -> Page:
    """The accounts known here that follow on an id, PAGE at most."""
    with database.transaction() as connection:
        rows = connection.execute(QUERIES["page"], {"after": after, "limit": PAGE}).fetchall()
    accounts = tuple(_account(row) for row in rows)
    return Page(customers=accounts, next=accounts[-1].id if len(accounts) == PAGE else None)


def take_over(database: Database, page: Page) -> None:
    """Take accounts in, in one transaction; any number of times."""
    rows = [
        {
            **{name: getattr(account, name) for name in ("id", "country", "public_key", "enrolled", "revoked", "off")},
            "token_sha256": bytes.fromhex(account.token_sha256),
            "categories_off": list(account.categories_off),
            "bytes_per_day": account.bytes_per_day,
            "changed": account.changed,
        }
        for account in page.customers
    ]
    used = [
        {"id": account.id, "day": account.used.day, "bytes": account.used.bytes}
        for account in page.customers
        if account.used is not None
    ]
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(QUERIES["take_over"], rows)
        cursor.executemany(QUERIES["carry_over"], used)


def take_all(database: Database, client: Asks) -> int:
    """Take over every account of the site that is left; how many there were. Raises PeerUnavailable, StorageError."""
    after, count = "", 0
    while True:
        page = client.customers(after)
        take_over(database, page)
        count += len(page.customers)
        if page.next is None:
            return count
        if page.next <= after:
            raise JournalConflict(f"the site that is left lists {page.next} after {after}")
        after = page.next


class Follower:
    """Keeps the accounts of a site that takes over like those of the site that is left. Use as a context manager.

    `connect` gives a connection to the site that is left, None where there is none; `fenced` says whether that has
    stopped taking: then all of it is asked for once more, and never again.
    """

    def __init__(self, database: Database, connect: Callable[[], Asks | None], fenced: Callable[[], bool]) -> None:
        self._database, self._connect, self._fenced = database, connect, fenced
        self._last = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="accounts", daemon=True)

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def done(self) -> bool:
        """Whether everything has been asked for since the fence: who is unknown here then is no customer."""
        return self._last

    def step(self) -> int:
        """Take over what is there now; how many accounts. Raises RegionError, StorageError."""
        if self._last:
            return 0
        fenced, client = self._fenced(), self._connect()
        if client is None:
            return 0
        try:
            count = take_all(self._database, client)
        finally:
            client.close()
        if fenced:
            self._last = True
            _LOG.info("%d accounts were taken over", count)
        return count

    def _run(self) -> None:
        pause = 0.0
        while not self._wait(pause):
            began = time.monotonic()
            try:
                self.step()
                pause = max(PAUSE_SECONDS, _SPARED * (time.monotonic() - began))
            except (RegionError, StorageError, PartyError) as error:
                _LOG.warning("accounts are not taken over: %s", error)
                pause = min(2 * max(pause, PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)

    def _wait(self, seconds: float) -> bool:
        """Wait, but not past the fence: customers are waiting then. Whether this is to end."""
        end, before = time.monotonic() + seconds, self._fenced()
        while (left := end - time.monotonic()) > 0:
            if self._stop.wait(min(left, _LOOK_SECONDS)):
                return True
            if self._fenced() and not before:
                return False
        return self._stop.is_set()


def _account(row: Row) -> Account:
    name, country, key, token, enrolled, revoked, off, categories, limit, changed, day, used = row
    listed = categories if isinstance(categories, list) else []
    return Account(
        id=Identifier(str(name)),
        country=Country(str(country)),
        token_sha256=Digest(token.hex() if isinstance(token, bytes) else ""),
        enrolled=int(str(enrolled)),
        changed=int(str(changed)),
        off=bool(off),
        categories_off=tuple(Identifier(str(category)) for category in listed),
        revoked=None if revoked is None else int(str(revoked)),
        public_key=PublicKey(key) if isinstance(key, bytes) else None,
        bytes_per_day=None if limit is None else int(str(limit)),
        used=Used(day=int(str(day)), bytes=int(str(used))) if day is not None else None,
    )
