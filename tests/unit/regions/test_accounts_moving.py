"""Accounts that move with their region: everything in pages, again and again, and the later word counts."""

import pytest
from glasshouse_verify.errors import FormatError
from world import seeded

from glasshouse.regions.customers import moving
from glasshouse.regions.customers.accounts import Accounts, Decisions
from glasshouse.regions.customers.moving import Follower, Page, format_page, page_of, parse_page, take_all, take_over
from glasshouse.regions.errors import Forbidden, JournalConflict, NotSignedIn, PeerUnavailable
from glasshouse.storage.db import Database

NOW = 1_800_000_000


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Left:
    """The site that is left, over its database."""

    def __init__(self, database: Database) -> None:
        self.database, self.asked, self.closed = database, list[str](), 0

    def customers(self, after: str) -> Page:
        self.asked.append(after)
        return parse_page(format_page(page_of(self.database, after)))

    def close(self) -> None:
        self.closed += 1


class Two:
    def __init__(self, old: Database, new: Database) -> None:
        self.clock = Clock()
        self.old, self.new = Accounts(old, clock=self.clock), Accounts(new, clock=self.clock)
        self.left, self.database = Left(old), new
        for database in (old, new):
            with database.transaction() as connection:
                connection.execute("truncate customers.customer cascade")

    def later(self, seconds: float = 1) -> None:
        self.clock.now += seconds

    def move(self) -> int:
        return take_all(self.database, self.left)


@pytest.fixture
def two(database: Database, other_database: Database) -> Two:
    return Two(database, other_database)


def token_of(accounts: Accounts, name: str = "kookaburra", key: bytes | None = None) -> str:
    token = accounts.enrol(name, "AU", key)
    assert token is not None
    return token


def test_a_token_a_key_limits_and_what_was_used_of_the_day(two: Two) -> None:
    key = seeded("kookaburra").public
    token = token_of(two.old, key=key)
    decisions = Decisions(categories_off=("telemetry",), bytes_per_day=1_000)
    two.old.decide(two.old.signed_in(token), decisions)
    two.old.use(two.old.signed_in(token), 700)
    assert two.move() == 1
    here = two.new.signed_in(token)
    assert here == two.old.signed_in(token)
    assert (here.public_key, here.decisions, two.new.used(here)) == (key, decisions, 700)
    with pytest.raises(Forbidden, match="do not fit"):
        two.new.use(here, 301)


def test_what_was_carried_over_before_is_counted_once(two: Two) -> None:
    token = token_of(two.old)
    two.old.decide(two.old.signed_in(token), Decisions(bytes_per_day=1_000))
    two.old.use(two.old.signed_in(token), 100)
    two.move()
    here = two.new.signed_in(token)
    two.new.use(here, 50)
    two.old.use(two.old.signed_in(token), 200)
    for _ in range(3):
        two.move()
        assert two.new.used(here) == 350


def test_a_revocation_moves_too_and_a_new_token_after_it(two: Two) -> None:
    token = token_of(two.old)
    two.move()
    two.old.revoke("kookaburra")
    assert two.new.signed_in(token).id == "kookaburra"
    two.move()
    with pytest.raises(NotSignedIn):
        two.new.signed_in(token)
    another = token_of(two.old)
    two.move()
    assert two.new.signed_in(another).id == "kookaburra"
    with pytest.raises(NotSignedIn):
        two.new.signed_in(token)


def test_what_is_decided_at_the_new_site_stays_decided(two: Two) -> None:
    token = token_of(two.old)
    two.old.decide(two.old.signed_in(token), Decisions(off=True))
    two.move()
    two.later()
    two.new.decide(two.new.signed_in(token), Decisions(bytes_per_day=7))
    two.move()
    assert two.new.signed_in(token).decisions == Decisions(bytes_per_day=7)
    two.later()
    two.old.decide(two.old.signed_in(token), Decisions(categories_off=("telemetry",)))
    two.move()
    assert two.new.signed_in(token).decisions == Decisions(categories_off=("telemetry",))


def test_a_clock_that_goes_back_makes_nothing_older(two: Two) -> None:
    token = token_of(two.old)
    two.old.decide(two.old.signed_in(token), Decisions(bytes_per_day=1))
    two.move()
    two.later(-3_600)
    two.old.decide(two.old.signed_in(token), Decisions(bytes_per_day=2))
    two.move()
    assert two.new.signed_in(token).decisions.bytes_per_day == 2


def test_nobody_is_let_in_by_the_token_of_another(two: Two) -> None:
    mine = token_of(two.new, "kea")
    digest = page_of(two.database, "").customers[0].token_sha256
    two.old.enrol("kookaburra", "AU", None, digest)
    two.move()
    assert two.new.signed_in(mine).id == "kea"
    assert [customer.id for customer in two.new.all()] == ["kea"]


def test_a_country_is_for_good(two: Two) -> None:
    token_of(two.new, "kea")
    two.later()
    assert two.old.enrol("kea", "NZ") is not None
    two.move()
    assert [(customer.id, customer.country) for customer in two.new.all()] == [("kea", "AU")]


def test_pages_in_order(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "PAGE", 3)
    names = [f"customer-{number:02}" for number in range(8)]
    tokens = [token_of(two.old, name) for name in reversed(names)]
    assert two.move() == 8
    assert two.left.asked == ["", "customer-02", "customer-05"]
    assert [two.new.signed_in(token).id for token in tokens] == names[::-1]


def test_a_site_that_goes_round_in_circles(two: Two) -> None:
    class Circling(Left):
        def customers(self, after: str) -> Page:
            return Page(customers=(), next=after or "kea")  # type: ignore[arg-type]

    with pytest.raises(JournalConflict, match="lists kea after kea"):
        take_all(two.database, Circling(two.left.database))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"customers":[{"id":"UPPER"}]}', b'{"customers":[],"next":7}', b'{"customers":[],"more":1}'],
)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(FormatError):
        parse_page(body)


def test_an_empty_page_changes_nothing(two: Two) -> None:
    take_over(two.database, Page(customers=()))
    assert two.new.all() == []


def test_the_follower_asks_once_more_after_the_fence(two: Two) -> None:
    fenced = False
    follower = Follower(two.database, lambda: two.left, lambda: fenced)
    token_of(two.old)
    assert (follower.step(), follower.step()) == (1, 1)
    fenced = True
    late = token_of(two.old, "kea")
    assert (follower.step(), follower.step()) == (2, 0)
    assert two.new.signed_in(late).id == "kea"
    assert two.left.closed == 3


def test_the_follower_where_nothing_moves_or_nobody_answers(two: Two) -> None:
    assert Follower(two.database, lambda: None, lambda: True).step() == 0

    class Dead(Left):
        def customers(self, after: str) -> Page:
            raise PeerUnavailable(f"moscow does not say what follows on {after}")

    dead = Dead(two.left.database)
    follower = Follower(two.database, lambda: dead, lambda: True)
    for _ in range(2):
        with pytest.raises(PeerUnavailable):
            follower.step()
    assert dead.closed == 2
