"""The client against servers that are slow, wrong or hostile."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.tile import format_bundle
from ledgers import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from glasshouse.ledger import client as client_module
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import NotThere, Refused, Unavailable


@contextlib.contextmanager
def against(answer: Callable[[Request], Response], *, patience_seconds: float = 2.0) -> Iterator[LedgerClient]:
    async def endpoint(request: Request) -> Response:
        await request.body()
        return answer(request)

    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST", "PUT"])])
    with served(app) as url, LedgerClient(url, patience_seconds=patience_seconds, timeout_seconds=1.0) as client:
        yield client


@pytest.mark.parametrize("status", [429, 503, 502])
def test_a_busy_server_is_asked_again(status: int) -> None:
    calls: list[str] = []

    def answer(request: Request) -> Response:
        calls.append(request.url.path)
        return PlainTextResponse("7\n") if len(calls) == 3 else PlainTextResponse("busy", status)

    with against(answer) as client:
        assert client.add(b"entry") == 7
    assert calls == ["/add"] * 3


def test_patience_ends() -> None:
    with (
        against(lambda _: PlainTextResponse("busy", 503), patience_seconds=0.3) as client,
        pytest.raises(Unavailable, match="answers 503: busy"),
    ):
        client.add(b"entry")
    with (
        against(lambda _: PlainTextResponse("", 503, {"retry-after": "60"}), patience_seconds=1) as client,
        pytest.raises(Unavailable),
    ):
        client.checkpoint()
    with (
        LedgerClient("http://127.0.0.1:9", patience_seconds=0.3) as client,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        client.checkpoint()


def test_a_refusal_carries_field_and_fix() -> None:
    told = {"schema": "glasshouse.error/v1", "error": "the entry is empty", "field": "entry", "fix": "send bytes"}
    with against(lambda _: JSONResponse(told, 400)) as client, pytest.raises(Refused, match="is empty") as caught:
        client.add(b"")
    assert (caught.value.status, caught.value.field, caught.value.fix) == (400, "entry", "send bytes")
    with against(lambda _: PlainTextResponse("<html>", 400)) as client, pytest.raises(Refused, match="<html>"):
        client.add(b"")
    with against(lambda _: PlainTextResponse("", 404)) as client, pytest.raises(NotThere):
        client.checkpoint()


@pytest.mark.parametrize("text", ["", "+7\n", " 7\n", "07\n", "7\n\n", "seven", "7", "-1\n", "٧\n"])
def test_an_index_has_one_spelling(text: str) -> None:
    with against(lambda _: PlainTextResponse(text)) as client:
        if text == "7":
            assert client.add(b"entry") == 7
        else:
            with pytest.raises(Unavailable, match="not its interface"):
                client.add(b"entry")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[1, 2, 3]", '["1", 2]', "[true, 2]", "[1.0, 2]", "nonsense"])
def test_a_batch_is_answered_by_as_many_indexes(text: str) -> None:
    with against(lambda _: PlainTextResponse(text)) as client, pytest.raises(Unavailable):
        client.add_batch([b"a", b"b"])


@pytest.mark.parametrize("value", [{}, [], {"indexes": "1"}, {"indexes": [1.5]}, {"indexes": [-1]}])
def test_a_lookup_is_a_list_of_indexes(value: object) -> None:
    with against(lambda _: PlainTextResponse(json.dumps(value))) as client, pytest.raises(Unavailable):
        client.lookup("0" * 64)


def test_an_endless_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BLOB_BYTES", 100_000)

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 10_000

    with against(lambda _: StreamingResponse(endless())) as client, pytest.raises(Unavailable, match="more than"):
        client.blob("0" * 64)
    with against(lambda _: StreamingResponse(endless(), 400)) as client, pytest.raises(Unavailable, match="more than"):
        client.blob("0" * 64)


def test_a_bundle_that_is_too_short() -> None:
    with against(lambda _: Response(format_bundle([b"a", b"b"]))) as client:
        assert client.bundle(0, 2) == [b"a", b"b"]
        with pytest.raises(FormatError, match="2 entries, expected 3"):
            client.bundle(0, 3)


def test_a_partial_tile_may_be_gone() -> None:
    def answer(request: Request) -> Response:
        return PlainTextResponse("", 404) if ".p/" in request.url.path else Response(bytes(8192))

    with against(answer) as client:
        assert client.tile(0, 0, 3) == bytes(96)


def test_content_is_streamed_from_a_file(tmp_path: Path) -> None:
    sizes: list[int] = []

    async def endpoint(request: Request) -> Response:
        sizes.append(len(await request.body()))
        return PlainTextResponse("", 503 if len(sizes) == 1 else 201)

    (tmp_path / "blob").write_bytes(b"x" * 3_000_000)
    app = Starlette(routes=[Route("/blob/{digest}", endpoint, methods=["PUT"])])
    with served(app) as url, LedgerClient(url) as client:
        client.put_blob("0" * 64, tmp_path / "blob")
    assert sizes == [3_000_000] * 2
