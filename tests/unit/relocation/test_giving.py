"""What a site gives the supervisor of a move, and what it refuses."""

import logging
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from glasshouse_verify.codec import Digest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.relocation import Step
from ledgers import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from supervised import MOVE, Supervised, Supervisor
from world import digest

from glasshouse.parties.signer import FileSigner
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import InvalidInput, NotGiven, Unavailable
from glasshouse.relocation.giving import Refusal
from glasshouse.relocation.lists import keep_list
from glasshouse.relocation.openings import (
    PATH,
    Opening,
    OpeningsRequest,
    format_request,
    new_id,
    parse_request,
    seal_answer,
    sign_answer,
    sign_request,
)

HERE = "zurich-1"


@pytest.fixture
def world(tmp_path: Path) -> Supervised:
    made = Supervised(tmp_path, count=40)
    made.draws = 12
    made.arrive()
    return made


def other_handle(world: Supervised) -> str:
    return next(handle for handle in world.rows if handle not in world.drawn(HERE))


def refused(supervisor: Supervisor) -> dict[Refusal, int]:
    return supervisor.givers[HERE].refused()


def post(supervisor: Supervisor, signer: FileSigner | None = None, **changes: object) -> httpx.Response:
    """A request as the supervisor makes it, or changed, or signed by another."""
    world = supervisor.world
    key = X25519PrivateKey.generate().public_key().public_bytes_raw()
    fields: dict[str, object] = {
        "region": "au",
        "relocation": MOVE,
        "site": HERE,
        "handles": (world.drawn(HERE)[0],),
        "answer_key": key,
        "time": world.now,
        "id": new_id(),
    }
    body = format_request(OpeningsRequest(**(fields | changes)))  # type: ignore[arg-type]
    headers = sign_request(body, signer or world.keys["lab"])
    return httpx.post(supervisor.urls[HERE] + PATH, content=body, headers=headers)


def test_what_the_seed_draws_is_given_and_counted(world: Supervised, caplog: pytest.LogCaptureFixture) -> None:
    drawn = world.drawn(HERE)
    with world.serving() as supervisor, caplog.at_level(logging.INFO):
        found = supervisor.asks(HERE).open(drawn)
        assert found == {handle: world.held[HERE].openings[handle] for handle in drawn}
        assert supervisor.givers[HERE].given() == {(MOVE, ""): len(drawn)}
        supervisor.asks(HERE).open(drawn[:2])
        assert supervisor.givers[HERE].given() == {(MOVE, ""): len(drawn)}
    assert f"what opens {len(drawn)} objects" in caplog.text
    # The book outlives the process.
    again = world.giver(HERE)
    assert again.given() == {(MOVE, ""): len(drawn)}
    again.close()


def test_another_object_is_not_given(world: Supervised) -> None:
    with world.serving() as supervisor:
        with pytest.raises(NotGiven, match="does not draw"):
            supervisor.asks(HERE).open([world.drawn(HERE)[0], other_handle(world)])
        with pytest.raises(NotGiven, match="does not draw"):
            supervisor.asks(HERE).open([digest(b"nobody's")])
        assert refused(supervisor) == {Refusal.NOT_DRAWN: 2}
        assert supervisor.givers[HERE].given() == {}
    assert not world.held[HERE].asked


def test_a_full_rescan_is_given_where_the_site_agrees_to_it(world: Supervised) -> None:
    world.draws = None
    with world.serving() as supervisor:
        handle = other_handle(world)
        assert supervisor.asks(HERE).open([handle])[handle] == world.held[HERE].openings[handle]
        with pytest.raises(NotGiven, match="does not draw"):
            supervisor.asks(HERE).open([digest(b"nobody's")])


def test_nobody_else_is_given_anything(world: Supervised) -> None:
    with world.serving() as supervisor:
        for name in ("ngo", "acme", "moscow", "mallory", "second"):
            answer = post(supervisor, world.keys[name])
            assert (answer.status_code, answer.json()["reason"]) == (403, "stranger"), name
        assert post(supervisor, site="zurich-2").json()["reason"] == "stranger"
        assert post(supervisor, region="eu").json()["reason"] == "stranger"
        assert post(supervisor, relocation="eu-2026").json()["reason"] == "stranger"
        assert refused(supervisor) == {Refusal.STRANGER: 8}
        assert post(supervisor).status_code == 200


def test_a_signature_has_to_be_the_supervisors(world: Supervised) -> None:
    with world.serving() as supervisor:
        body = format_request(_request(world))
        headers = sign_request(body, world.keys["lab"])
        other = format_request(_request(world))
        answer = httpx.post(supervisor.urls[HERE] + PATH, content=other, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (403, "signature")
        assert httpx.post(supervisor.urls[HERE] + PATH, content=b"{}", headers=headers).status_code == 400
        headers["glasshouse-signature"] = "?"
        assert httpx.post(supervisor.urls[HERE] + PATH, content=body, headers=headers).status_code == 400


def _request(world: Supervised) -> OpeningsRequest:
    return OpeningsRequest(
        region="au",  # type: ignore[arg-type]
        relocation=MOVE,  # type: ignore[arg-type]
        site=HERE,  # type: ignore[arg-type]
        handles=(Digest(world.drawn(HERE)[0]),),
        answer_key=X25519PrivateKey.generate().public_key().public_bytes_raw(),  # type: ignore[arg-type]
        time=world.now,
        id=new_id(),
    )


def test_a_request_is_taken_once_and_in_its_time(world: Supervised) -> None:
    with world.serving() as supervisor:
        same = new_id()
        assert post(supervisor, id=same).status_code == 200
        answer = post(supervisor, id=same)
        assert (answer.status_code, answer.json()["reason"]) == (409, "replay")
        assert len(world.held[HERE].asked) == 1
        for time in (world.now - 301, world.now + 301):
            assert post(supervisor, time=time).json()["reason"] == "time"
        assert post(supervisor, time=world.now - 299).status_code == 200


def test_a_key_that_was_stopped_is_given_nothing(world: Supervised) -> None:
    with world.serving() as supervisor:
        keyid = world.keys["lab"].keyid
        world.amend({"parties": {"lab": {"keys": {keyid: {"stops": world.history.size}}}}})
        assert post(supervisor).json()["reason"] == "stranger"


def test_between_the_samples_nothing_is_given(world: Supervised) -> None:
    with world.serving() as supervisor:
        supervisor.log(supervisor.sample())
        assert post(supervisor).json()["reason"] == "not-open"
        erasure = world.erase()
        assert post(supervisor).json()["reason"] == "not-open"
        handle = world.drawn(HERE, erasure)[0]
        assert post(supervisor, after=digest(b"another"), handles=(handle,)).json()["reason"] == "not-open"
        assert post(supervisor, after=erasure, handles=(handle,)).status_code == 200
        supervisor.log(supervisor.resample())
        assert post(supervisor, after=erasure, handles=(handle,)).json()["reason"] == "not-open"


def test_the_answer_is_for_the_supervisor_alone_and_of_the_site_alone(world: Supervised) -> None:
    """Whoever carries it reads nothing of it, and cannot put another in its place."""
    handle = world.drawn(HERE)[0]
    with world.serving() as supervisor:
        answer, honest = post(supervisor), supervisor.urls[HERE]
        key = world.held[HERE].openings[handle].data_key or b""
        assert key not in answer.content
        assert b"kookaburra" not in answer.content

        async def forged(request: Request) -> Response:
            body = await request.body()
            there = httpx.post(honest + PATH, content=body, headers=dict(request.headers))
            changed = there.content[:-1] + bytes([there.content[-1] ^ 1])
            return Response(changed, headers={k: v for k, v in there.headers.items() if k.startswith("glasshouse")})

        async def signed_by_another(request: Request) -> Response:
            body = await request.body()
            sealed = seal_answer((Opening(handle=Digest(handle)),), parse_request(body), body)
            return Response(sealed, headers=sign_answer(sealed, body, world.keys["zurich-2"]))

        for endpoint in (forged, signed_by_another):
            with served(Starlette(routes=[Route(PATH, endpoint, methods=["POST"])])) as url:
                supervisor.urls[HERE] = url
                client = supervisor.asks(HERE)
                with pytest.raises(Unavailable, match=r"not its interface|does not count at zurich-1"):
                    client.open([handle])


def test_lists_are_for_the_supervisor_and_have_their_root(world: Supervised) -> None:
    with world.serving() as supervisor:
        arrival = world.course.arrivals[HERE].predicate  # type: ignore[index]
        found = supervisor.asks(HERE).list("rows", arrival.rows)
        assert sorted(str(row["key"]) for row in found) == sorted(world.rows)
        with pytest.raises(NotGiven, match="nothing to ask"):
            supervisor.asks(HERE, signer=world.keys["ngo"]).list("sealed", arrival.sealed)
        with pytest.raises(NotGiven, match="seconds from"):
            supervisor.asks(HERE, clock=lambda: world.now - 1_000).list("sealed", arrival.sealed)
        with pytest.raises(NotGiven, match="nothing to ask"):
            supervisor.asks(HERE).list("given", arrival.sealed)
        held = world.held[HERE]
        held.lists["sealed"] = keep_list(held.directory / "sealed", [])
        with pytest.raises(InvalidInput, match="the ledger has 40"):
            supervisor.asks(HERE).list("sealed", arrival.sealed)
        # A list that was refused is fetched again.
        held.lists["sealed"] = held.lists["rows"]
        with pytest.raises(Unavailable, match="more than"):
            supervisor.asks(HERE).list("sealed", keep_list(held.directory / "none", []).sharded)


def test_a_custodian_that_does_not_open_keeps_everything_back(
    world: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> tuple[Opening, ...]:
        raise CustodyUnavailable("the custodian is away")

    def refuses(_: object) -> tuple[Opening, ...]:
        raise CustodyRefused("job", "opens nothing for a job of this name")

    with world.serving() as supervisor:
        for opens, words in ((away, "is away"), (refuses, "custodian refuses")):
            monkeypatch.setattr(world.held[HERE], "open", opens)
            with pytest.raises(Unavailable, match=words):
                supervisor.asks(HERE).open(world.drawn(HERE))


def test_a_site_of_another_move_gives_nothing(tmp_path: Path) -> None:
    world = Supervised(tmp_path, count=3)
    giver = world.giver(HERE)
    try:
        request = _unsampled(world)
        body = format_request(request)
        with pytest.raises(NotGiven):
            giver.give(body, world.keys["lab"].keyid, sign_request(body, world.keys["lab"])["glasshouse-signature"])
    finally:
        giver.close()
    assert Course(world.history, MOVE).last(Step.OPEN) is None


def _unsampled(world: Supervised) -> OpeningsRequest:
    return OpeningsRequest(
        region="au",  # type: ignore[arg-type]
        relocation=MOVE,  # type: ignore[arg-type]
        site=HERE,  # type: ignore[arg-type]
        handles=(Digest(next(iter(world.rows))),),
        answer_key=bytes(32),  # type: ignore[arg-type]
        time=world.now,
        id=new_id(),
    )


def test_openings_are_what_they_can_be(world: Supervised) -> None:
    handle = Digest(next(iter(world.rows)))
    with pytest.raises(FormatError, match="has content"):
        Opening(handle=handle, data_key=bytes(32))
    with pytest.raises(FormatError, match="32 bytes"):
        Opening(handle=handle, data_key=bytes(31))
    assert Opening(handle=handle).erased
    unordered = tuple(map(Digest, sorted(world.rows, reverse=True)[:2]))
    with pytest.raises(FormatError, match="sorted"):
        OpeningsRequest(**{**vars(_request(world)), "handles": unordered})
