"""The supervisor's sample: what the seed draws, read at each destination, and said in public as it was found.

    seed         from the rows that the fence left and every secret revealed after the arrivals: nobody chose it
    draws        at each destination others, 4,603 of them; or every object, a full rescan
    one bad      a refusal that names site and object; nothing is countersigned
    none         the countersignature, and after the erasure, with the old site cut off, the same again

What a sample can find is a matter of its size (`finds`); that nothing is bad, only a full rescan shows. A sample whose
seed was known before everything had arrived, or that has been refused once, counts for nothing: then read everything.
"""

import contextlib
import itertools
import os
import socket
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from glasshouse_verify.codec import Digest, Identifier
from glasshouse_verify.encoding import JSON, format_json
from glasshouse_verify.relocation import Fault, Relocation, Step, draw
from glasshouse_verify.relocation_check import SAMPLE
from glasshouse_verify.shards import Sharded

from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import InvalidInput, NotYet
from glasshouse.relocation.examining import PAUSE_SECONDS, Ciphertexts, Examiner, Expected, Found
from glasshouse.relocation.giving import ROWS, SEALED
from glasshouse.relocation.lists import RowList
from glasshouse.relocation.openings import MAX_HANDLES, Opening

SCHEMA = "glasshouse.relocation-sample/v1"
MAX_FAULTS = 50
THREADS = 8
_AT_ONCE = 4 * THREADS
CUT_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}


class Asks(Protocol):
    """A destination's own word: `opening_client.OpeningClient`."""

    def list(self, name: str, said: Sharded) -> RowList:
        """One of its lists, found to be what `said` commits to. Raises Unavailable, NotGiven, InvalidInput."""

    def open(self, handles: Sequence[str], after: str = "") -> dict[str, Opening]:
        """What opens these objects. Raises Unavailable, NotGiven."""


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A site to be sampled: its store, reached by the supervisor's own credentials, and the site to ask."""

    site: str
    vault: Ciphertexts
    asks: Asks


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to read. `draws` None: everything. `old`: the old site's vault, where it is one and still there.

    `secret` is that of the move where a store is emptied. `buried` tells whether an inventory since the fence shows the
    tombstone of a handle. `notes` go into the document. `progress` is told of each object read.
    """

    draws: int | None = SAMPLE
    old: Ciphertexts | None = None
    secret: bytes | None = None
    buried: Callable[[str], bool] = lambda _: False
    notes: Mapping[str, JSON] = field(default_factory=dict)
    progress: Callable[[str, Found], object] = lambda _site, _found: None
    pause_seconds: float = PAUSE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What is to be logged, and the blob that it names: the list of what was read. `faults` where it is a refusal."""

    statement: Relocation
    document: bytes

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What was found wrong."""
        return self.statement.faults or ()


def finds(draws: int | None, size: int) -> str:
    """In words, what reading so many draws, or everything, of `size` rows can find."""
    if draws is None:
        return f"all {size} objects are read at each destination: what is right here is right everywhere"
    share = 100 * (1 - 0.01 ** (1 / draws))
    return (
        f"{draws} draws from {size} objects at each destination: where {share:.2g} % of them or more are bad, they find"
        " one with a probability of 99 %. That none is bad, only a full rescan shows"
    )


def sample(course: Course, destinations: Sequence[Destination], *, party: str, now: int, how: Sampling) -> Sampled:
    """Read the sample, or everything, at every destination, and say what was found: `countersign` or `refusal`.

    Raises NotYet where a step has to come before or the sample does not count any more, Unavailable, NotGiven.
    """
    previous = course.before(Step.COUNTERSIGN, party)
    if how.draws is not None:
        _check_fresh(course)
    return _read(course, destinations, Step.COUNTERSIGN, previous, party=party, now=now, how=how)


def resample(
    course: Course, destinations: Sequence[Destination], cut: Iterable[str], *, party: str, now: int, how: Sampling
) -> Sampled:
    """The same after the erasure, from another seed and with the old site cut off: `resample`, or `refusal`.

    `cut` are the addresses of the old site and of its store; raises NotYet where one of them can still be reached.
    """
    previous = course.before(Step.RESAMPLE, party)
    check_cut(cut)
    if how.draws is not None:
        _check_fresh(course)
    return _read(course, destinations, Step.RESAMPLE, previous, party=party, now=now, how=how)


def check_cut(addresses: Iterable[str]) -> None:
    """Raise NotYet where something still answers at one of these addresses (http, https, s3, file)."""
    for address in addresses:
        if _reached(address):
            raise NotYet(f"{address} can still be reached; cut the old site off, then read the sample again")


def _reached(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme == "s3":
        return _reached(parse_qs(parts.query).get("endpoint", ["https://s3.amazonaws.com"])[0])
    if parts.scheme == "file":
        return os.path.lexists(unquote(parts.path))
    if parts.scheme not in _PORTS or parts.hostname is None:
        raise InvalidInput("cut", f"{address} is no address of a site or a store", "Name those of the old site.")
    try:
        with socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), CUT_SECONDS):
            return True
    except OSError:
        return False


def _check_fresh(course: Course) -> None:
    """Raise NotYet where the seed was known before what is to be sampled was fixed."""
    arrived = {record.id for record in course.arrivals.values()}
    for party, record in course.reveals.items():
        if arrived - set(record.predicate.previous):
            raise NotYet(f"{party} revealed its secret before the newest arrivals: only a full rescan counts now")
    refused, erased = course.last(Step.REFUSAL), course.last(Step.ERASURE)
    if refused is not None and (erased is None or erased.index < refused.index):
        raise NotYet("this sample was refused, and everybody knows what is in it: only a full rescan counts now")


def _read(
    course: Course,
    destinations: Sequence[Destination],
    step: Step,
    previous: tuple[Digest, ...],
    *,
    party: str,
    now: int,
    how: Sampling,
) -> Sampled:
    if {one.site for one in destinations} != set(course.destinations):
        raise InvalidInput("sites", "are not the destinations of the move", f"Name {', '.join(course.destinations)}.")
    after = course.need(Step.ERASURE).id if step == Step.RESAMPLE else ""
    seed, rows = course.seed(after), destinations[0].asks.list(ROWS, course.rows)
    told = _Told(course, seed, how, rows.sharded.size)
    for one in destinations:
        if len(told.faults) >= MAX_FAULTS:
            break
        with contextlib.closing(_read_one(course, one, destinations, seed, rows, after, how)) as found:
            told.take(one.site, found, how.draws or rows.sharded.size, how.progress)
    members = {
        "party": Identifier(party),
        "region": course.need(Step.OPEN).predicate.region,
        "relocation": Identifier(course.id),
        "time": now,
    }
    # An empty region is read to its end by no draw at all.
    full = how.draws is None or rows.sharded.size == 0
    document = told.document()
    if told.faults:
        refusal = Relocation(
            step=Step.REFUSAL, previous=course.before(Step.REFUSAL, party), faults=tuple(told.faults), **members
        )
        return Sampled(statement=refusal, document=document)
    said = Relocation(
        step=step,
        previous=previous,
        seed=seed,
        read=told.read,
        full=full,
        document=Digest(sha256(document).hexdigest()),
        **members,
    )
    return Sampled(statement=said, document=document)


def _read_one(
    course: Course,
    one: Destination,
    all_of_them: Sequence[Destination],
    seed: Digest,
    rows: RowList,
    after: str,
    how: Sampling,
) -> Generator[tuple[Found, Fault | None], None, None]:
    """Every object to be read at one destination, and what is wrong with it."""
    site = Identifier(one.site)
    sealed = one.asks.list(SEALED, course.arrivals[site].predicate.sealed)
    others = {other.site: other.vault for other in all_of_them if other.site != site}
    examiner = Examiner(
        site=site,
        region=course.region or "",
        here=one.vault,
        others=others if how.old is None else {**others, course.moving.site: how.old},
        secret=how.secret,
        buried=how.buried,
        pause_seconds=how.pause_seconds,
    )
    expected = _everything(rows, sealed) if how.draws is None else _drawn(rows, sealed, seed, site, how.draws)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="sample") as threads:
        while batch := list(itertools.islice(expected, MAX_HANDLES)):
            openings = one.asks.open([each.handle for each in batch], after)
            for start in range(0, len(batch), _AT_ONCE):
                few = batch[start : start + _AT_ONCE]
                for found in threads.map(examiner.examine, few, [openings[each.handle] for each in few]):
                    yield found, examiner.fault(found) if found.fault else None


def _drawn(rows: RowList, sealed: RowList, seed: str, site: str, draws: int) -> Iterator[Expected]:
    """What the seed draws at a site; what is drawn twice is read once."""
    for place in sorted(set(draw(seed, site, rows.sharded.size, draws))):
        row = rows.at(place)
        yield Expected(row=row, sealed=sealed.find(str(row["key"])))


def _everything(rows: RowList, sealed: RowList) -> Iterator[Expected]:
    """Every row, with its ciphertext in the destination's list: both ascend."""
    waiting = iter(sealed)
    one = next(waiting, None)
    for row in rows:
        while one is not None and one["key"] < row["key"]:
            one = next(waiting, None)
        yield Expected(row=row, sealed=one if one is not None and one["key"] == row["key"] else None)


class _Told:
    """What was read and found, for the statement and its document."""

    def __init__(self, course: Course, seed: Digest, how: Sampling, size: int) -> None:
        self._head: dict[str, JSON] = {
            "schema": SCHEMA,
            "relocation": course.id,
            "seed": seed,
            "finds": finds(how.draws, size),
            "notes": dict(how.notes),
        }
        self._lists = how.draws is not None
        self._sites: dict[str, JSON] = {}
        self._objects: list[JSON] = []
        self.read: dict[Identifier, int] = {}
        self.faults: list[Fault] = []

    def take(
        self,
        site: str,
        found: Iterable[tuple[Found, Fault | None]],
        count: int,
        progress: Callable[[str, Found], object],
    ) -> None:
        """Take in a destination, at which `count` objects were to be read."""
        counts = Counter[str]()
        for one, fault in found:
            counts.update(objects=1, bytes=one.size, erased=int(one.erased), markers=int(one.marker))
            if fault is not None:
                counts["bad"] += 1
                self.faults.append(fault)
            if self._lists:
                said = {"at": site, "handle": one.handle, "sealed": one.sealed, "fault": one.fault}
                self._objects.append({name: text for name, text in said.items() if text})
            progress(site, one)
            if len(self.faults) >= MAX_FAULTS:
                # More of them would say nothing more, and what does not answer takes long.
                break
        self.read[Identifier(site)] = count
        self._sites[site] = {"draws": count, "bad": 0, **counts}

    def document(self) -> bytes:
        """Canonical JSON: what was read at each site, and for a sample each object."""
        return format_json({**self._head, "sites": self._sites, "objects": self._objects})
