"""The watch: what canaries find at ways in that are closed, open or gone, and what is said of it, and when."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.foreign import store_handle
from glasshouse_verify.region import Mode, Origin
from glasshouse_verify.relocation import Relocation, Step
from gotools import free_port
from leaving import SECRET, WATCH, Leaving, fenced_rows
from ledgers import served
from sites import REGION, Ground, clear, running_site
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from world import DAY, digest

from glasshouse.parties.certificates import create_peer
from glasshouse.regions.peers import Credentials
from glasshouse.regions.shards import ShardTree
from glasshouse.regions.vault import DirectoryVault
from glasshouse.relocation.canaries import (
    REFUSED,
    UNREACHED,
    Attempt,
    Canary,
    Outcome,
    intake_canaries,
    of_store,
    of_vault,
    peer_canaries,
    store_canaries,
)
from glasshouse.relocation.descriptions import Described
from glasshouse.relocation.erasing import Emptied, erase_store
from glasshouse.relocation.errors import Forbidden, InvalidInput, NotYet, Unavailable
from glasshouse.relocation.lists import in_order, keep_list
from glasshouse.relocation.stores.directory import DirectoryTree
from glasshouse.relocation.watching import Turn, Watch
from glasshouse.storage.db import Database

OPEN = Attempt(outcome=Outcome.SUCCEEDED, text="it was given", handle="ab" * 32)
HOUR = 3_600


@dataclass
class Watched:
    """A world whose old site was erased, and a watch with two ways in, `read` and `write`, as the test has them."""

    place: Path
    world: Leaving = field(default_factory=lambda: Leaving(Origin.STORE))
    ways: dict[str, Attempt] = field(default_factory=lambda: {"read": REFUSED, "write": REFUSED})
    said: list[Relocation] = field(default_factory=list)

    def __post_init__(self) -> None:
        store = self.place / "store"
        store.mkdir()
        rows = fenced_rows(DirectoryTree(store), self.place / "rows")
        self.world.come_to_erasure(rows.sharded)
        there = DirectoryTree(store)
        emptied = Emptied(store=there, checking=there, fenced=rows, secret=SECRET, place=self.place / "state")
        self.world.log(erase_store(emptied, self.world.permit, clock=lambda: self.world.now))

    def watch(self, **changes: Any) -> Watch:
        canaries = [Canary(kind=kind, attempt=lambda kind=kind: self.ways[kind]) for kind in self.ways]
        return Watch(canaries, self.place / "watch" / "state", party="lab", **changes)

    def say(self, says: Relocation) -> None:
        self.said.append(says)
        self.world.log(says, "lab")

    def turn(self, watch: Watch, after: int = 0) -> Turn:
        self.world.later(after)
        return watch.turn(lambda: self.world.course, self.say, self.world.now)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_it_says_once_a_day_what_was_refused_until_it_ends(watched: Watched) -> None:
    watch = watched.watch()
    for _ in range(WATCH // HOUR):
        assert not watched.turn(watch, HOUR).faults
    days = WATCH // DAY
    assert [says.step for says in watched.said] == [Step.WATCH] * days
    assert [dict(says.tried or {}) for says in watched.said[:2]] == [
        {"read": 24, "write": 24},
        {"read": 48, "write": 48},
    ]
    last = watched.said[-1]
    assert last.until == last.time == watched.world.now
    assert watched.world.course.is_watched
    assert watched.turn(watch, HOUR) == Turn(tried=False, faults=(), said=(), ended=True)
    assert len(watched.said) == days


def test_between_its_hours_nothing_is_tried(watched: Watched) -> None:
    watch = watched.watch()
    assert [watched.turn(watch, after).tried for after in (HOUR, 60, 60, HOUR)] == [True, False, False, True]


def test_what_cannot_be_tried_is_told_apart(watched: Watched) -> None:
    watch = watched.watch()
    watched.ways["read"] = UNREACHED
    watched.turn(watch, HOUR)
    watched.ways["read"] = REFUSED
    watched.turn(watch, DAY)
    (said,) = watched.said
    assert said.tried == {"read": 1, "read-unreached": 1, "write": 2}


def test_a_success_is_an_alarm_at_once_and_once(watched: Watched) -> None:
    watch = watched.watch()
    watched.turn(watch, HOUR)
    watched.ways["read"] = OPEN
    turn = watched.turn(watch, HOUR)
    assert (turn.said, [fault.text for fault in turn.faults]) == ((Step.ALARM,), ["read: it was given"])
    (alarm,) = watched.said
    assert (alarm.faults or ())[0].handle == OPEN.handle
    assert (alarm.faults or ())[0].site == "moscow"
    for _ in range(3):
        assert watched.turn(watch, HOUR).faults == ()
    watched.ways["read"] = REFUSED
    watched.turn(watch, HOUR)
    watched.ways["read"] = OPEN
    assert watched.turn(watch, HOUR).said == (Step.ALARM,)
    # The next word on the watch names both.
    assert Step.WATCH in watched.turn(watch, DAY).said
    assert set(watched.said[-1].previous) >= {record.id for record in watched.world.course.records(Step.ALARM)}
    assert watched.said[-1].tried == {"read": 2, "write": 8}


def test_it_goes_on_after_a_crash(watched: Watched) -> None:
    """A success is said although the process ended between finding it and saying it; counts go on, and without a state
    they go on from the ledger.
    """
    watched.turn(watched.watch(), HOUR)
    watched.ways["read"] = OPEN

    class Crash(Exception):
        pass

    def crashing(says: Relocation) -> None:
        raise Crash(says.step)

    watched.world.later(HOUR)
    with pytest.raises(Crash):
        watched.watch().turn(lambda: watched.world.course, crashing, watched.world.now)
    watched.ways["read"] = REFUSED
    assert watched.turn(watched.watch(), 1).said == (Step.ALARM,)
    watched.turn(watched.watch(), DAY)
    before = dict(watched.said[-1].tried or {})
    (watched.place / "watch" / "state").unlink()
    watched.turn(watched.watch(), DAY)
    assert watched.said[-1].tried == {kind: count + 1 for kind, count in before.items()}
    (watched.place / "watch" / "state").write_bytes(b"{]")
    with pytest.raises(InvalidInput, match="no state of a watch"):
        watched.turn(watched.watch(), DAY)


def test_who_watches_and_when(tmp_path: Path) -> None:
    world = Leaving(Origin.STORE)
    world.come_to_erasure(ShardTree().sharded)
    canary = Canary(kind="read", attempt=lambda: REFUSED)
    for party, error in (("lab", NotYet), ("ngo", InvalidInput)):
        with pytest.raises(error):
            Watch([canary], tmp_path / "state", party=party).turn(lambda: world.course, print, world.now)
    with pytest.raises(InvalidInput, match="there are none"):
        Watch([], tmp_path / "state", party="lab")


# --- canaries -------------------------------------------------------------------------------------------------------


def outcomes(canaries: list[Canary]) -> dict[str, str]:
    return {canary.kind: canary.attempt().outcome.value for canary in canaries}


def test_canaries_at_a_store(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"held")
    store = DirectoryTree(tmp_path)
    (version,) = store.list()
    versions = [(version, store_handle(SECRET, version.key, 0))]
    there = outcomes(store_canaries(store, store, versions, fenced_ms=version.modified))
    assert there == {"store-list": "succeeded", "store-read": "succeeded", "store-write": "succeeded"}
    # What a lock keeps may be listed, and nothing that is newer.
    for fenced_ms, found in ((version.modified, "refused"), (version.modified - 1, "succeeded")):
        assert outcomes(store_canaries(store, None, [], fenced_ms=fenced_ms, remains=1)) == {"store-list": found}
    (tmp_path / "one").unlink()

    class Refusing(DirectoryTree):
        error: Exception = Forbidden("the store", "writing")

        def write(self, key: bytes, data: bytes, **terms: Any) -> None:
            assert (key[:11], data, terms) == (b"glasshouse-", b"first", {})
            raise self.error

    store = Refusing(tmp_path)
    for error, found in ((store.error, "refused"), (Unavailable("nobody answers"), "unreached")):
        store.error = error
        assert outcomes(store_canaries(store, store, versions, fenced_ms=0)) == {
            "store-list": "refused",
            "store-read": "refused",
            "store-write": found,
        }
    assert list(tmp_path.iterdir()) == []


def test_what_a_supervisor_knows_to_ask_for(tmp_path: Path) -> None:
    """Of a store by its description, of a vault by its rows; a vault's own directories are nobody's objects."""
    described = [
        Described(key=b"marked", ordinal=0, size=3, content=digest(b"old")),
        Described(key=b"marked", ordinal=1, size=0),
        Described(key=b"one", ordinal=0, size=3, content=digest(b"one")),
        Described(key=b"small", ordinal=0, size=0, content=digest(b"")),
    ]
    ((version, handle),) = of_store(described, SECRET)
    assert (version.key, version.version, handle) == (b"one", None, store_handle(SECRET, b"one", 0))
    many = [Described(key=b"%06d" % n, ordinal=0, size=1, content=digest(b"x")) for n in range(500)]
    drawn = {found.key for found, _ in of_store(many, SECRET)}
    assert len(drawn) == 200
    assert max(drawn) > b"000300"
    vault = DirectoryVault(tmp_path / "vault")
    handles = [digest(b"%d" % number) for number in range(4)]
    rows = keep_list(tmp_path / "rows", in_order(({"key": h, "commitment": h} for h in handles), tmp_path))
    asked = of_vault(rows)
    assert {handle for _, handle in asked} <= set(handles)
    canaries = store_canaries(DirectoryTree(tmp_path / "vault"), None, asked, fenced_ms=0)
    assert outcomes(canaries) == {"store-list": "refused", "store-read": "refused"}
    vault.keep_all(dict.fromkeys(handles, b"restored"))
    assert outcomes(canaries) == {"store-list": "succeeded", "store-read": "succeeded"}


def test_canaries_at_an_intake() -> None:
    answers = [200, 201, 307, 401, 421, 503]
    seen: list[tuple[str, str, str]] = []

    async def answer(request: Request) -> Response:
        seen.append((request.method, request.url.path, request.headers.get("authorization", "")))
        status = answers[(len(seen) - 1) // 2]
        return RedirectResponse("http://127.0.0.1:1/", 307) if status == 307 else Response(status_code=status)

    asked = {"country": "AU", "category": "suspicious", "handles": ["ab" * 32]}
    with served(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "PUT"])])) as url:
        canaries = intake_canaries(url, "token", **asked)
        for status in list(answers):
            found = "succeeded" if status < 300 else "refused"
            assert outcomes(canaries) == {"intake-upload": found, "intake-read": found}
    assert {(method, path.rpartition("/")[0]) for method, path, _ in seen} == {
        ("PUT", "/intake/v1/files"),
        ("GET", f"/intake/v1/objects/{'ab' * 32}"),
    }
    assert {token for _, _, token in seen} == {"Bearer token"}
    dead = intake_canaries(f"http://127.0.0.1:{free_port()}", "token", **asked)
    assert outcomes(dead) == {"intake-upload": "unreached", "intake-read": "unreached"}


def test_canaries_among_sites(database: Database, tmp_path: Path) -> None:
    clear(database)
    ground = Ground(tmp_path, custody=Mode.SITE, replicas=1, names=("moscow", "zurich-1"))
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    create_peer(stranger, "stranger", "https://127.0.0.1:1", 1_800_000_000)
    unknown = Credentials(certificate=stranger / "peer.pem", key=stranger / "peer.key")

    def found(own: Credentials) -> dict[str, str]:
        return outcomes(peer_canaries(REGION, "moscow", ground.region(), own, "zurich-1"))

    with running_site(ground, "moscow", database):
        assert found(ground.credentials("zurich-1")) == {"peer-read": "succeeded", "peer-write": "succeeded"}
        assert found(unknown) == {"peer-read": "refused", "peer-write": "refused"}
    assert found(ground.credentials("zurich-1")) == {"peer-read": "unreached", "peer-write": "unreached"}
