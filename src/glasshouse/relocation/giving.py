"""What a site gives the supervisor of a move, and nobody else: what opens the objects of the sample.

Given is what all of these allow: the charter that opened the move names the supervisor, whose key counts and has signed
the request; everybody who committed to a secret has revealed it, so that the seed stands in the ledger; and the seed
draws the object for this site, which draws by itself. A request is taken once. Everything given is counted, by move and
sample, on disk (SQLite, one transaction, flushed) before it leaves, and what is refused is recorded too. In dual
custody the custodian has opened its layer of each data key, and counts it in public.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, Protocol

from glasshouse_verify.errors import SignatureError
from glasshouse_verify.relocation import Step, draw
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.statement import Use

from glasshouse.ledger.history import History
from glasshouse.parties.node import is_entitled
from glasshouse.parties.signer import Signer
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotGiven, NotYet
from glasshouse.relocation.lists import RowList
from glasshouse.relocation.openings import (
    Opening,
    OpeningsRequest,
    check_list_request,
    check_request,
    parse_request,
    seal_answer,
    sign_answer,
)
from glasshouse.storage.errors import StorageUnavailable

_LOG = logging.getLogger(__name__)
WINDOW_SECONDS = 300
_BUSY_SECONDS = 10.0
ROWS, SEALED, SOURCE = "rows", "sealed", "source"
_SCHEMA = """
create table if not exists taken (id text primary key, time integer not null) strict, without rowid;
create table if not exists given (
    relocation text not null,
    after text not null,
    handle text not null,
    times integer not null,
    primary key (relocation, after, handle)
) strict, without rowid;
create table if not exists refused (refusal text primary key, requests integer not null) strict, without rowid;
"""


class Refusal(StrEnum):
    """Why a site gives nothing."""

    STRANGER = "stranger"
    SIGNATURE = "signature"
    TIME = "time"
    REPLAY = "replay"
    NOT_OPEN = "not-open"
    NOT_DRAWN = "not-drawn"


_TOLD: dict[Refusal, tuple[str, str, str]] = {
    Refusal.STRANGER: (
        "the move's charter gives this key nothing to ask here",
        "relocation",
        "sign with a key of the supervisor that the charter counts, and ask a site of the move",
    ),
    Refusal.SIGNATURE: ("the signature is not that of the key over this request", "signature", "sign it as sent"),
    Refusal.TIME: (
        f"the time is more than {WINDOW_SECONDS} seconds from this site's",
        "request.time",
        "set the clock, and make a new request",
    ),
    Refusal.REPLAY: ("a request of this id was taken before", "request.id", "make a new request, with another id"),
    Refusal.NOT_OPEN: (
        "no sample is open",
        "request.after",
        "ask after all reveals and before the countersignature, or after the erasure and before the second one",
    ),
    Refusal.NOT_DRAWN: (
        "the seed does not draw an object of this request",
        "request.handles",
        "ask for what the seed in the ledger draws",
    ),
}


class Holdings(Protocol):
    """What a site has of one move. Threads may share it."""

    def list(self, name: str) -> RowList:
        """`rows`: the fence's; `sealed`: this site's ciphertexts as of its arrival; `source`: the old site's at first.

        Raises NotYet for what it has not said yet.
        """

    def open(self, handles: Sequence[str]) -> tuple[Opening, ...]:
        """What opens these objects, in their order. Raises RegionError where keys or custodian do not answer."""


class Giver:
    """A site's answers to the supervisor. Threads may share it; close it.

    `follow` gives this party's verified history of the ledger, brought up to date; `holdings` what the site has of a
    move. `draws` tells how many draws of a move it answers for, at each destination; None for every object, a full
    rescan. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        site: str,
        signer: Signer,
        follow: Callable[[], History],
        holdings: Callable[[Course], Holdings],
        draws: Callable[[str], int | None] = lambda _: SAMPLE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._site, self._signer, self._follow, self._holdings = site, signer, follow, holdings
        self._draws, self._clock = draws, clock
        self._lock = threading.Lock()
        self._drawn: dict[str, frozenset[str]] = {}
        with _storage():
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._database.execute("pragma journal_mode = wal")
            # In WAL mode only FULL flushes the log before a commit returns.
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)

    def give(self, body: bytes, keyid: str, signature: str) -> tuple[bytes, dict[str, str]]:
        """The sealed answer to a request, and the headers that sign it.

        Raises FormatError for what is no request, NotGiven, and RegionError or StorageError where this site cannot.
        """
        request = parse_request(body)
        course = Course(self._follow(), request.relocation)
        public = self._supervisor(course, keyid)
        if public is None or self._site not in course.destinations:
            self._refuse(Refusal.STRANGER)
        if (request.site, request.region) != (self._site, course.region):
            self._refuse(Refusal.STRANGER)
        try:
            check_request(body, public, signature)
        except SignatureError:
            self._refuse(Refusal.SIGNATURE)
        now = int(self._clock())
        if abs(now - request.time) > WINDOW_SECONDS:
            self._refuse(Refusal.TIME)
        holdings = self._holdings(course)
        self._check_drawn(course, request, holdings)
        # Counted first: what a crash or an absent custodian keeps back was counted, never the reverse.
        self._count(request, now)
        opened = holdings.open(request.handles)
        _LOG.info("gave the supervisor of %s what opens %d objects", course.id, len(opened))
        answer = seal_answer(opened, request, body)
        return answer, sign_answer(answer, body, self._signer)

    def list(self, relocation: str, name: str, time: int, keyid: str, signature: str) -> Path:
        """The file of a list that the supervisor asks for. Raises FormatError, NotGiven, NotYet."""
        course = Course(self._follow(), relocation)
        public = self._supervisor(course, keyid)
        if public is None or name not in (ROWS, SEALED, SOURCE):
            self._refuse(Refusal.STRANGER)
        try:
            check_list_request(self._site, relocation, name, time, public, signature)
        except SignatureError:
            self._refuse(Refusal.SIGNATURE)
        if abs(self._clock() - time) > WINDOW_SECONDS:
            self._refuse(Refusal.TIME)
        return self._holdings(course).list(name).path

    def given(self) -> dict[tuple[str, str], int]:
        """How many objects the supervisor was given what opens them, by move and by the erasure before the sample."""
        with self._lock, _storage():
            rows = self._database.execute(
                "select relocation, after, count(*) from given group by relocation, after"
            ).fetchall()
        return {(relocation, after): count for relocation, after, count in rows}

    def refused(self) -> dict[Refusal, int]:
        """How many requests were refused, by why."""
        with self._lock, _storage():
            rows = self._database.execute("select refusal, requests from refused").fetchall()
        return {Refusal(refusal): requests for refusal, requests in rows}

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _supervisor(self, course: Course, keyid: str) -> bytes | None:
        """The supervisor's public key of this id, where it counts and this site takes part in the move."""
        try:
            moving, places = course.moving, course.terms.places
        except NotYet:
            return None
        charter = course.history.chain.newest.charter
        key = charter.key(keyid)
        if self._site not in places or key is None or charter.owners[keyid] != moving.supervisor:
            return None
        return key.public if is_entitled(charter, keyid, (Use.RELOCATION,), course.history.size) else None

    def _check_drawn(self, course: Course, request: OpeningsRequest, holdings: Holdings) -> None:
        try:
            drawn = self._sample(course, request.after or "", holdings)
        except NotYet as error:
            self._refuse(Refusal.NOT_OPEN, f": {error}")
        if drawn is None:
            rows = holdings.list(ROWS)
            missing = [handle for handle in request.handles if rows.find(handle) is None]
        else:
            missing = [handle for handle in request.handles if handle not in drawn]
        if missing:
            self._refuse(Refusal.NOT_DRAWN)

    def _sample(self, course: Course, after: str, holdings: Holdings) -> frozenset[str] | None:
        """The handles that the seed draws for this site; None for all. Raises NotYet where no sample is open."""
        if after and after != course.need(Step.ERASURE).id:
            raise NotYet("the newest erasure is another one")
        if course.last(Step.RESAMPLE if after else Step.COUNTERSIGN) is not None:
            raise NotYet("it was read, and countersigned")
        seed = course.seed(after)
        draws = self._draws(course.id)
        if draws is None:
            return None
        if seed not in self._drawn:
            rows = holdings.list(ROWS)
            places = set(draw(seed, self._site, rows.sharded.size, draws))
            self._drawn = {seed: frozenset(str(rows.at(place)["key"]) for place in sorted(places))}
        return self._drawn[seed]

    def _count(self, request: OpeningsRequest, now: int) -> None:
        """Take the request's id and count what it is given, durably; a request that was taken is refused."""
        with self._writing() as database:
            database.execute("delete from taken where time < ?", (now - 2 * WINDOW_SECONDS,))
            fresh = database.execute("insert or ignore into taken values (?, ?)", (request.id, request.time)).rowcount
            if fresh:
                database.executemany(
                    "insert into given values (?, ?, ?, 1) on conflict do update set times = times + 1",
                    [(request.relocation, request.after or "", handle) for handle in request.handles],
                )
        if not fresh:
            self._refuse(Refusal.REPLAY)

    def _refuse(self, refusal: Refusal, more: str = "") -> NoReturn:
        with self._writing() as database:
            database.execute(
                "insert into refused values (?, 1) on conflict do update set requests = requests + 1", (refusal,)
            )
        _LOG.warning("gave nothing: %s%s", refusal, more)
        text, field, fix = _TOLD[refusal]
        raise NotGiven(refusal, text + more, field=field, fix=fix)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on disk when it has ended."""
        with self._lock, _storage():
            self._database.execute("begin immediate")
            try:
                yield self._database
                self._database.execute("commit")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("rollback")
                raise


@contextlib.contextmanager
def _storage() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StorageUnavailable(f"the book of what the supervisor was given refuses: {error}") from error
