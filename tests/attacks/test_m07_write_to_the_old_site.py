"""M7 Write to the old site afterwards.

Cheat: the old site takes a product's data after its fence: by its honest program, by one that has forgotten the fence,
    or by one whose database has been rid of it; or it sends the product somewhere that the charter does not name.
Noticed by: the old site's program, its database, the new sites, which have its journal up to the fence; the product,
    which goes by the charter alone.
Seen: 421, error moved, nothing kept; an error of the database; 409 and an alarm, while the new sites have no such
    object; no request at the address that the charter does not name.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from customers import serving
from gotools import free_port
from ledgers import until
from moves import NEW, OLD, Move, moving
from sites import receipt_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from glasshouse.regions.errors import Moved, Short, SiteUnavailable
from glasshouse.regions.keeping.fencing import fence_of
from glasshouse.regions.placing import State
from glasshouse.storage.db import Database


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        found.old.upload(b"before the fence")
        found.open()
        found.wait()
        found.fence()
        until(lambda: found.old.place.rules().state == State.LEFT)
        yield found


def objects(move: Move) -> list[int]:
    query = "select count(*) from regions.object"
    return [int(site.rows(query)[0][0]) for site in (move.old, *move.new)]


def forgets_its_fence(move: Move) -> None:
    """The old site's program goes by rules of before."""
    place = move.old.place
    before = replace(place.rules(), state=State.LEAVING)
    object.__setattr__(place, "rules", lambda: before)


def test_attack_a_product_writes_to_the_old_site(move: Move) -> None:
    token = move.enrol()
    answer = move.counters[OLD].send(b"after the fence", token)
    assert answer.status_code == 421
    said = answer.json()
    assert said["error"].startswith("moved: zurich-1, zurich-2 take the data")
    assert said["moved"] == {name: move.counters[name].url for name in NEW}
    assert objects(move) == [1, 1, 1]
    until(lambda: (found := fence_of(move.old.place, "au-2026")) is not None and found.refused == 1)


def test_attack_a_program_that_has_forgotten_the_fence(move: Move) -> None:
    forgets_its_fence(move)
    with pytest.raises(Moved):
        move.old.upload(b"after the fence")
    assert objects(move) == [1, 1, 1]


def test_attack_a_program_that_does_not_ask_its_journal(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    forgets_its_fence(move)
    committer = move.old.intake.committer
    honest = committer._read_head
    monkeypatch.setattr(committer, "_read_head", lambda connection: replace(honest(connection), fenced=False))
    with pytest.raises(Short, match="is fenced"):
        move.old.upload(b"after the fence")
    assert objects(move) == [1, 1, 1]


def test_attack_a_database_rid_of_the_fence(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    forgets_its_fence(move)
    committer = move.old.intake.committer
    honest = committer._read_head
    monkeypatch.setattr(committer, "_read_head", lambda connection: replace(honest(connection), fenced=False))
    with move.old.place.database.transaction() as connection:
        connection.execute("drop trigger stays_fenced on regions.event")
    taken = move.old.upload(b"after the fence")
    assert receipt_of(taken.receipt).site == OLD
    replicators = move.old.intake.replication.replicators
    until(lambda: all(replicator.alarm is not None for replicator in replicators), timeout_seconds=60)
    assert all("is fenced" in str(replicator.alarm) for replicator in replicators)
    assert objects(move) == [2, 1, 1]


def test_attack_the_old_site_names_another_address(move: Move, tmp_path: Path) -> None:
    asked: list[str] = []

    async def lie(_: Request) -> Response:
        there = {"schema": "glasshouse.error/v1", "error": "moved", "field": "site", "fix": f"Send it to {trap}."}
        return JSONResponse({**there, "sites": [trap], "moved": {"zurich-1": trap}}, 421, {"location": trap})

    async def catch(request: Request) -> Response:
        asked.append(str(request.url))
        return Response(status_code=500)

    token = move.enrol()
    port = move.ground.public_ports[OLD]
    trap_port = free_port()
    trap = f"http://127.0.0.1:{trap_port}"
    move.stop(OLD)
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    methods = ["GET", "PUT", "POST", "PATCH", "HEAD"]
    with (
        serving(Starlette(routes=[Route("/{rest:path}", lie, methods=methods)]), port),
        serving(Starlette(routes=[Route("/{rest:path}", catch, methods=methods)]), trap_port),
        move.client(token) as client,
    ):
        assert client.send_file(path, {"category": "suspicious"}).site == NEW[0]
    assert asked == []


def test_attack_the_old_site_takes_and_tells_nobody(move: Move, tmp_path: Path) -> None:
    """Closed as the move is, no product asks the old site any more, whatever it would answer."""
    move.ground.close()
    token = move.enrol()
    move.stop(NEW[0])
    move.stop(NEW[1])
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with move.client(token) as client, pytest.raises(SiteUnavailable) as error:
        client.send_file(path, {"category": "suspicious"})
    assert OLD not in str(error.value)
    with pytest.raises(httpx.HTTPError):
        httpx.get(move.counters[NEW[0]].url)


def test_control_products_write_to_the_new_sites(move: Move, tmp_path: Path) -> None:
    token = move.enrol()
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    with move.client(token) as client:
        assert client.send_file(path, {"category": "suspicious"}).site == NEW[0]
    until(lambda: objects(move) == [1, 2, 2])
