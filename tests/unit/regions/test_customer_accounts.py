"""Customers' accounts: tokens at rest, revocation, decisions, allowances, and how fast one may ask."""

import time
from threading import Thread

import pytest

from glasshouse.regions.customers.accounts import Accounts, Decisions, check_decisions, token_digest
from glasshouse.regions.customers.pace import Pace
from glasshouse.regions.errors import Forbidden, InvalidInput, NotSignedIn, TooManyRequests
from glasshouse.storage.db import Database

NOW = 1_800_000_000
DAY = 86_400


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(database: Database, clock: Clock) -> Accounts:
    made = Accounts(database, clock=clock)
    with database.transaction() as connection:
        connection.execute("truncate customers.customer cascade")
    return made


def enrolled(accounts: Accounts, name: str = "kookaburra", country: str = "AU") -> str:
    token = accounts.enrol(name, country)
    assert token is not None
    return token


def test_a_token_opens_the_account(accounts: Accounts) -> None:
    token = enrolled(accounts)
    customer = accounts.signed_in(token)
    assert (customer.id, customer.country, customer.enrolled, customer.revoked) == ("kookaburra", "AU", NOW, None)
    assert customer.decisions == Decisions()
    assert accounts.remembered(token) == customer
    for other in ("", "gh_", token[:-1], token + "x", token.upper(), token_digest(token).hex()):
        assert accounts.remembered(other) is None
        with pytest.raises(NotSignedIn):
            accounts.signed_in(other)


def test_the_token_is_nowhere(accounts: Accounts, database: Database) -> None:
    token = enrolled(accounts)
    with database.transaction() as connection:
        (row,) = connection.execute("select customer.*::text from customers.customer").fetchall()
    assert token not in str(row)
    assert token_digest(token).hex() in str(row)


def test_another_site_knows_it_by_its_digest(accounts: Accounts) -> None:
    token = "gh_given_by_the_other_site"
    assert accounts.enrol("kookaburra", "AU", token_sha256=token_digest(token).hex()) is None
    assert accounts.signed_in(token).id == "kookaburra"


def test_a_revoked_customer(accounts: Accounts, database: Database, clock: Clock) -> None:
    token = enrolled(accounts)
    accounts.signed_in(token)
    accounts.revoke("kookaburra")
    assert accounts.remembered(token) is None
    with pytest.raises(NotSignedIn):
        accounts.signed_in(token)
    with pytest.raises(InvalidInput):
        accounts.revoke("kookaburra")
    (listed,) = accounts.all()
    assert listed.revoked == NOW
    with pytest.raises(InvalidInput, match="for good"):
        accounts.enrol("kookaburra", "DE")
    clock.now += 10
    again = enrolled(accounts)
    assert again != token
    assert accounts.signed_in(again).enrolled == NOW + 10
    with pytest.raises(InvalidInput, match="already"):
        accounts.enrol("kookaburra", "AU")


def test_another_process_notices_within_a_second(accounts: Accounts, database: Database) -> None:
    token, other = enrolled(accounts), Accounts(database)
    accounts.signed_in(token)
    other.revoke("kookaburra")
    deadline = time.monotonic() + 60
    while accounts.remembered(token) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(NotSignedIn):
        accounts.signed_in(token)


@pytest.mark.parametrize(
    ("name", "country", "digest", "field"),
    [
        ("Kookaburra", "AU", None, "customer"),
        ("../etc", "AU", None, "customer"),
        ("", "AU", None, "customer"),
        ("kookaburra", "Australia", None, "country"),
        ("kookaburra", "AU", "12", "token_sha256"),
    ],
)
def test_what_is_no_account(accounts: Accounts, name: str, country: str, digest: str | None, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        accounts.enrol(name, country, token_sha256=digest)
    assert caught.value.field == field
    assert accounts.all() == []


def test_decisions(accounts: Accounts) -> None:
    token = enrolled(accounts)
    customer = accounts.signed_in(token)
    check_decisions(customer, "suspicious")
    accounts.decide(customer, Decisions(categories_off=("unknown", "telemetry", "unknown"), bytes_per_day=10))
    decided = accounts.signed_in(token)
    assert decided.decisions == Decisions(categories_off=("telemetry", "unknown"), bytes_per_day=10)
    check_decisions(decided, "suspicious")
    with pytest.raises(Forbidden, match="switched off unknown"):
        check_decisions(decided, "unknown")
    accounts.decide(customer, Decisions(off=True))
    with pytest.raises(Forbidden, match="switched off your uploads"):
        check_decisions(accounts.signed_in(token), "suspicious")
    accounts.revoke("kookaburra")
    with pytest.raises(NotSignedIn):
        accounts.decide(customer, Decisions())


def test_the_days_allowance(accounts: Accounts, clock: Clock) -> None:
    token = enrolled(accounts)
    accounts.decide(accounts.signed_in(token), Decisions(bytes_per_day=100))
    customer = accounts.signed_in(token)
    accounts.use(customer, 60)
    give_back = accounts.use(customer, 40)
    with pytest.raises(Forbidden, match="the 100 that you allow a day"):
        accounts.use(customer, 1)
    accounts.use(customer, 0)
    give_back()
    assert accounts.used(customer) == 60
    with pytest.raises(Forbidden):
        accounts.use(customer, 41)
    clock.now += DAY
    assert accounts.used(customer) == 0
    accounts.use(customer, 100)
    with pytest.raises(Forbidden):
        accounts.use(customer, 101)


def test_without_a_limit_nothing_is_counted(accounts: Accounts) -> None:
    customer = accounts.signed_in(enrolled(accounts))
    accounts.use(customer, 2**60)()
    assert accounts.used(customer) == 0


def test_the_allowance_holds_for_requests_at_once(accounts: Accounts) -> None:
    token = enrolled(accounts)
    accounts.decide(accounts.signed_in(token), Decisions(bytes_per_day=10))
    customer, taken = accounts.signed_in(token), []

    def use() -> None:
        try:
            accounts.use(customer, 3)
        except Forbidden:
            return
        taken.append(3)

    threads = [Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == accounts.used(customer) == 9


def test_pace() -> None:
    clock = Clock()
    pace = Pace(5.0, clock=clock)
    for _ in range(10):
        pace.take("kookaburra")
    with pytest.raises(TooManyRequests) as caught:
        pace.take("kookaburra")
    assert caught.value.retry_after_seconds == 1
    pace.take("emu")
    clock.now += 0.2
    pace.take("kookaburra")
    with pytest.raises(TooManyRequests):
        pace.take("kookaburra")
    clock.now += 3600
    for _ in range(10):
        pace.take("kookaburra")
    with pytest.raises(TooManyRequests):
        pace.take("kookaburra")


def test_a_slow_pace_says_how_long() -> None:
    pace = Pace(0.1, clock=Clock())
    pace.take("kookaburra")
    with pytest.raises(TooManyRequests) as caught:
        pace.take("kookaburra")
    assert caught.value.retry_after_seconds == 10
