"""Accounts: tokens, of which the SHA-256 alone is kept, each customer's own decisions, and its allowance for the day.

A token is 256 random bits and shown once. A site that has looked a token up goes by that for a second: so long a
revoked token, or a decision made at another process of the site, may still count.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from glasshouse_verify.codec import Country, Digest, Identifier, PublicKey, decode
from glasshouse_verify.ed25519 import check_public
from glasshouse_verify.errors import FormatError

from glasshouse.regions.errors import Forbidden, InvalidInput, NotSignedIn
from glasshouse.storage.db import Database, Row, load_migrations, load_queries, migrate

QUERIES = load_queries(__package__)
TOKEN_PREFIX = "gh_"  # noqa: S105  what a token begins with is no secret
SECONDS_PER_DAY = 86_400
REMEMBERED_SECONDS = 1.0
MAX_REMEMBERED = 100_000


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What a customer has decided about its own uploads: none, not these categories, at most so many bytes a day."""

    off: bool = False
    categories_off: tuple[str, ...] = ()
    bytes_per_day: int | None = None


@dataclass(frozen=True, kw_only=True)
class Customer:
    """An account. `enrolled` and `revoked` are Unix seconds."""

    id: str
    country: str
    public_key: bytes | None
    enrolled: int
    revoked: int | None
    decisions: Decisions


class Accounts:
    """The customers that one site knows. Threads and processes may share the database; each has an object of its own.

    `clock` gives Unix seconds.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        """Brings the schema up to date."""
        migrate(database, "customers", load_migrations(__package__))
        self._database, self._clock = database, clock
        self._remembered: dict[bytes, tuple[float, Customer]] = {}

    def enrol(
        self, name: str, country: str, public_key: bytes | None = None, token_sha256: str | None = None
    ) -> str | None:
        """Enrol a customer and return its token, which is kept nowhere; None where its digest is given.

        The digest is that of the token which another site of the region has given. A revoked customer is enrolled
        again, in the same country. Raises InvalidInput.
        """
        token = None
        if token_sha256 is None:
            token = TOKEN_PREFIX + secrets.token_urlsafe(32)
            token_sha256 = token_digest(token).hex()
        try:
            decode(Identifier, name, "customer")
            decode(Country, country, "country")
            decode(Digest, token_sha256, "token_sha256")
            if public_key is not None:
                check_public(public_key, "public_key")
        except FormatError as error:
            raise InvalidInput(error.field, error.reason, "Write it as the message says.") from error
        values = {"id": name, "country": country, "public_key": public_key, **self._now()}
        values["token_sha256"] = bytes.fromhex(token_sha256)
        if self._one("enrol", values) is None:
            known = self._one("by_id", {"id": name})
            if known is not None and known[1] != country:
                raise InvalidInput("country", f"{name} is enrolled for {known[1]} for good", "Choose another name.")
            raise InvalidInput("customer", f"{name} is enrolled already", "Revoke it first, or choose another name.")
        return token

    def revoke(self, name: str) -> None:
        """From now on (within a second in a running site) the customer's token opens nothing. Raises InvalidInput."""
        if self._one("revoke", {"id": name, **self._now()}) is None:
            raise InvalidInput("customer", f"{name} is not enrolled here, or revoked", "See: glasshouse customer list.")
        self._remembered.clear()

    def all(self) -> list[Customer]:
        """Every customer, by name, revoked ones too."""
        with self._database.transaction() as connection:
            return [_customer(row) for row in connection.execute(QUERIES["all"]).fetchall()]

    def remembered(self, token: str) -> Customer | None:
        """The customer of a token that was looked up within the last second; asks no database."""
        found = self._remembered.get(token_digest(token))
        return found[1] if found is not None and found[0] > time.monotonic() else None

    def signed_in(self, token: str) -> Customer:
        """The customer of a token; raises NotSignedIn."""
        digest = token_digest(token)
        row = self._one("by_token", {"token_sha256": digest})
        if row is None:
            self._remembered.pop(digest, None)
            raise NotSignedIn("the token is unknown or revoked")
        customer = _customer(row)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[digest] = (time.monotonic() + REMEMBERED_SECONDS, customer)
        return customer

    def decide(self, customer: Customer, decisions: Decisions) -> None:
        """Make a customer's decisions those in force. Raises InvalidInput where it was revoked meanwhile."""
        values = {
            "id": customer.id,
            "off": decisions.off,
            "categories_off": sorted(set(decisions.categories_off)),
            "bytes_per_day": decisions.bytes_per_day,
            "changed": self._now()["changed"],
        }
        if self._one("decide", values) is None:
            raise NotSignedIn("the customer was revoked")
        self._remembered.clear()

    def use(self, customer: Customer, size: int) -> Callable[[], None]:
        """Take bytes from a customer's allowance for today; returns what gives them back if nothing comes of it.

        Raises Forbidden where they do not fit into it any more.
        """
        limit, day = customer.decisions.bytes_per_day, int(self._clock()) // SECONDS_PER_DAY
        if limit is None:
            return lambda: None
        values = {"id": customer.id, "day": day, "bytes": size, "limit": limit}
        if self._one("use", values) is None:
            reason = f"{size} bytes do not fit any more into the {limit} that you allow a day"
            raise Forbidden("bytes_per_day", reason, "Wait for the next day (UTC), or: glasshouse uploads limit.")
        with self._database.transaction() as connection:
            connection.execute(QUERIES["forget_days"], {"id": customer.id, "day": day - 1})
        return lambda: self._give_back(customer.id, day, size)

    def used(self, customer: Customer) -> int:
        """Bytes counted against the allowance today; 0 for customers without one."""
        row = self._one("used", {"id": customer.id, "day": int(self._clock()) // SECONDS_PER_DAY})
        return 0 if row is None else int(str(row[0]))

    def _give_back(self, name: str, day: int, size: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(QUERIES["give_back"], {"id": name, "day": day, "bytes": size})

    def _now(self) -> dict[str, object]:
        now = self._clock()
        return {"now": int(now), "changed": int(now * 1000)}

    def _one(self, query: str, values: Mapping[str, object]) -> Row | None:
        with self._database.transaction() as connection:
            return connection.execute(QUERIES[query], values).fetchone()


def check_decisions(customer: Customer, category: str) -> None:
    """Refuse what the customer has switched off: raises Forbidden."""
    if customer.decisions.off:
        raise Forbidden("uploads", "you have switched off your uploads", "Switch them on: glasshouse uploads on.")
    if category in customer.decisions.categories_off:
        fix = f"Switch it on: glasshouse uploads on {category}."
        raise Forbidden("category", f"you have switched off {category}", fix)


def token_digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def _customer(row: Sequence[object]) -> Customer:
    name, country, key, enrolled, revoked, off, categories, limit = row
    listed = categories if isinstance(categories, list) else []
    return Customer(
        id=str(name),
        country=str(country),
        public_key=PublicKey(bytes(key)) if isinstance(key, bytes | memoryview) else None,
        enrolled=int(str(enrolled)),
        revoked=None if revoked is None else int(str(revoked)),
        decisions=Decisions(
            off=bool(off),
            categories_off=tuple(str(category) for category in listed),
            bytes_per_day=None if limit is None else int(str(limit)),
        ),
    )
