"""The custodian over HTTP, and the client that sites ask it with."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from custodians import (
    ANALYSIS,
    CUSTODIAN,
    INTAKE,
    REGION,
    SITE,
    Guarded,
    Moment,
    asking,
    guarded,
    items_counted,
    request_of,
)
from glasshouse_verify.codec import Digest
from ledgers import served
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from glasshouse.regions.custody import Refusal
from glasshouse.regions.custody_client import CustodyClient
from glasshouse.regions.custody_request import MAX_ITEMS, PATH, Item, format_request, sign_request
from glasshouse.regions.custody_server import create_custody_app
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable, InvalidInput


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def guard(tmp_path: Path, moment: Moment) -> Iterator[Guarded]:
    with guarded(tmp_path, clock=moment) as made:
        yield made


def test_a_site_asks_over_http(guard: Guarded) -> None:
    handle, wrapping = guard.wrapping()
    with asking(guard) as client:
        (inner,) = client.unwrap([Item(handle=handle, blob=wrapping.blob)], ANALYSIS)  # type: ignore[arg-type]
        assert len(guard.wrapper.unwrap(wrapping, handle=handle, region=REGION, opened=inner)) == 32
        assert client.unwrap([], ANALYSIS) == ()
        with pytest.raises(InvalidInput):
            client.unwrap([guard.item()] * 2, ANALYSIS)
    assert items_counted(guard.custodian) == {"analysis": 1}


def test_large_batches_go_in_several_requests(guard: Guarded) -> None:
    wrap, handles = guard.wrapper.group(), [f"{number:064x}" for number in range(MAX_ITEMS + 1)]
    wrappings = [wrap(bytes.fromhex(handle), handle, REGION) for handle in handles]
    items = [Item(handle=Digest(h), blob=wrapping.blob) for h, wrapping in zip(handles, wrappings, strict=True)]
    with asking(guard) as client:
        opened = client.unwrap(items, ANALYSIS)
    for handle, wrapping, inner in zip(handles, wrappings, opened, strict=True):
        assert guard.wrapper.unwrap(wrapping, handle=handle, region=REGION, opened=inner) == bytes.fromhex(handle)
    (count,) = guard.custodian.counts()
    assert (count.requests, count.items) == (2, MAX_ITEMS + 1)


def test_refusals_reach_the_client_with_their_reason(guard: Guarded, moment: Moment) -> None:
    with asking(guard) as client:
        moment.now += 1_000
        with pytest.raises(CustodyRefused, match="answers 403: the time is more than 300 seconds") as raised:
            client.unwrap([guard.item()], ANALYSIS)
    assert (raised.value.reason, raised.value.field) == (Refusal.TIME, "request.time")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [(b"", 400, "not JSON"), (b"{}", 400, "is missing"), (b"x" * (2 << 20) + b"x", 413, "the request has")],
)
def test_what_is_no_request_is_told_so(guard: Guarded, body: bytes, status: int, words: str) -> None:
    with served(create_custody_app(guard.custodian)) as url, httpx.Client(base_url=url) as http:
        answer = http.post(PATH, content=body)
        assert (answer.status_code, answer.json()["schema"]) == (status, "glasshouse.error/v1")
        assert words in answer.text
        assert http.get(PATH).status_code == 405


def test_a_replay_over_http_is_a_conflict(guard: Guarded) -> None:
    body = format_request(request_of(guard.item()))
    with served(create_custody_app(guard.custodian)) as url, httpx.Client(base_url=url) as http:
        statuses = [http.post(PATH, content=body, headers=sign_request(body, INTAKE)).status_code for _ in range(3)]
    assert statuses == [200, 409, 409]


def test_a_custodian_that_is_away_is_unavailable(guard: Guarded) -> None:
    client = CustodyClient("http://127.0.0.1:1", custodian=CUSTODIAN, region=REGION, site=SITE, signer=INTAKE)
    with client, pytest.raises(CustodyUnavailable, match="does not answer"):
        client.unwrap([guard.item()], ANALYSIS)


def test_a_custodian_without_its_ledger_asks_for_patience(guard: Guarded) -> None:
    guard.world.amend({"regions": {"au": {"replicas": 9}}})
    with asking(guard) as client, pytest.raises(CustodyUnavailable, match="answers 503"):
        client.unwrap([guard.item()], ANALYSIS)


@pytest.mark.parametrize(
    "answer", [b"", b"{}", b'{"opened":[],"schema":"glasshouse.custody/v1"}', b'{"opened":["AA=="],"schema":"x"}']
)
def test_an_answer_of_another_form_is_unavailable(guard: Guarded, answer: bytes) -> None:
    app = Starlette(routes=[Route(PATH, lambda _: Response(answer), methods=["POST"])])
    with (
        served(app) as url,
        CustodyClient(url, custodian=CUSTODIAN, region=REGION, site=SITE, signer=INTAKE) as client,
        pytest.raises(CustodyUnavailable, match="not its interface"),
    ):
        client.unwrap([guard.item()], ANALYSIS)
