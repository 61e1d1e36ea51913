"""Collecting cosignatures from witnesses that are slow, wrong, behind or ahead."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from glasshouse_verify.errors import QuorumError
from glasshouse_verify.note import Note, format_note, verify_note
from glasshouse_verify.policy import witness_policy
from glasshouse_verify.tree import consistency_proof
from ledgers import MemoryTree, RunningWitness, served, witness_node
from notary import Notary
from notary import witness as witness_notary
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from glasshouse.ledger.cosign import Cosigner, WitnessEndpoint, Witnessing
from glasshouse.ledger.errors import LogAlarm

LOG = Notary("cosigned.example/log")
TREE = MemoryTree(LOG.key.name, [b"%d" % n for n in range(40)])
NAMES = ["w1.example", "w2.example", "w3.example", "w4.example"]


@pytest.fixture
def witnesses(tmp_path: Path) -> Iterator[list[RunningWitness]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(witness_node(tmp_path / name, name, [LOG.key])) for name in NAMES[:3]]


@contextlib.contextmanager
def hostile(answer: Callable[[Request], Response]) -> Iterator[WitnessEndpoint]:
    """A fourth witness that answers as it likes."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return await run_in_threadpool(answer, request)

    app = Starlette(routes=[Route("/{path:path}", endpoint, methods=["GET", "POST"])])
    with served(app) as url:
        yield WitnessEndpoint(key=witness_notary(NAMES[3]).key, url=url)


def rule(*endpoints: WitnessEndpoint, faulty: int = 0) -> Witnessing:
    policy = witness_policy(LOG.key, {e.key.name: [e.key] for e in endpoints}, faulty)
    return Witnessing(policies=(policy,), endpoints=endpoints)


def collect(witnessing: Witnessing, size: int, cosigner: Cosigner) -> set[str]:
    text = TREE.text(size)
    note = Note(text=text, signatures=(LOG.sign(text),))
    found = cosigner.collect(note, witnessing, lambda old: consistency_proof(old, size, TREE.read))
    keys = [LOG.key, *(endpoint.key for endpoint in witnessing.endpoints)]
    return {key.name for key, _ in verify_note(found, keys)} - {LOG.key.name}


@pytest.fixture
def cosigner() -> Iterator[Cosigner]:
    opened = Cosigner(LOG.key, timeout_seconds=1.0)
    yield opened
    opened.close()


def test_all_are_asked_and_their_memory_is_respected(witnesses: list[RunningWitness], cosigner: Cosigner) -> None:
    everybody = rule(*(witness.endpoint for witness in witnesses))
    for size in (0, 3, 3, 17):
        assert collect(everybody, size, cosigner) == set(NAMES[:3])
    with contextlib.closing(Cosigner(LOG.key, timeout_seconds=1.0)) as restarted:
        assert collect(everybody, 30, restarted) == set(NAMES[:3])
    # The first one does not know that the witnesses went on without it.
    assert collect(everybody, 40, cosigner) == set(NAMES[:3])


def hang(_: Request) -> Response:
    time.sleep(3)
    return PlainTextResponse("")


def test_a_slow_witness_delays_nobody_once_there_are_enough(
    witnesses: list[RunningWitness], cosigner: Cosigner
) -> None:
    with hostile(hang) as slow:
        start = time.monotonic()
        assert collect(rule(*(w.endpoint for w in witnesses), slow, faulty=1), 5, cosigner) == set(NAMES[:3])
        # It is still being asked, so it is not asked again.
        assert collect(rule(*(w.endpoint for w in witnesses), slow, faulty=1), 6, cosigner) == set(NAMES[:3])
        assert time.monotonic() - start < 0.9
        with pytest.raises(QuorumError):
            collect(rule(*(w.endpoint for w in witnesses[:2]), slow), 7, cosigner)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: PlainTextResponse("", 500),
        lambda _: PlainTextResponse("", 409),
        lambda _: PlainTextResponse("+3\n", 409),
        lambda _: PlainTextResponse("3\n", 409),
        lambda _: PlainTextResponse("999\n", 409),
        lambda _: PlainTextResponse("nonsense\n", 200),
        lambda _: PlainTextResponse("", 200),
        lambda _: PlainTextResponse("x" * 100_000, 200),
        lambda _: PlainTextResponse(f"— {NAMES[3]} AAAAAAAA\n"),
        lambda _: Response(_line(witness_notary(NAMES[2]))),
        lambda _: Response(_line(witness_notary(NAMES[3]), b"other")),
    ],
)
def test_what_is_no_cosignature_does_not_count(
    witnesses: list[RunningWitness], cosigner: Cosigner, answer: Callable[[Request], Response]
) -> None:
    with hostile(answer) as bad:
        assert collect(rule(*(w.endpoint for w in witnesses), bad, faulty=1), 5, cosigner) == set(NAMES[:3])
        with pytest.raises(QuorumError):
            collect(rule(*(w.endpoint for w in witnesses[:2]), bad), 6, cosigner)


def _line(notary: Notary, other: bytes = b"") -> bytes:
    text = TREE.text(5)
    signature = notary.sign(text + other.decode(), 1_700_000_000)
    return format_note(Note(text=text, signatures=(signature,))).removeprefix(text.encode() + b"\n")


def test_a_witness_that_shows_a_larger_signed_tree_stops_the_log(
    witnesses: list[RunningWitness], cosigner: Cosigner
) -> None:
    everybody = rule(*(witness.endpoint for witness in witnesses))
    assert collect(everybody, 30, cosigner) == set(NAMES[:3])
    with (
        contextlib.closing(Cosigner(LOG.key, timeout_seconds=1.0)) as rolled_back,
        pytest.raises(LogAlarm, match="a tree of 30 entries signed by this log's key"),
    ):
        collect(everybody, 20, rolled_back)


def test_a_larger_tree_that_somebody_else_signed_stops_nothing(
    witnesses: list[RunningWitness], cosigner: Cosigner
) -> None:
    text = TREE.text(30)
    forged = format_note(Note(text=text, signatures=(Notary(LOG.key.name, salt="forger").sign(text),)))

    def answer(request: Request) -> Response:
        return PlainTextResponse("30\n", 409) if request.method == "POST" else Response(forged)

    with hostile(answer) as liar:
        assert collect(rule(*(w.endpoint for w in witnesses), liar, faulty=1), 5, cosigner) == set(NAMES[:3])
