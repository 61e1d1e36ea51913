"""Which of its keys a party signs with: the newest that the charter in force counts; and what a worker does without."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from glasshouse_verify.charter import Charter
from glasshouse_verify.statement import Use
from typer.testing import CliRunner
from world import World, charter_key

from glasshouse.cli.app import build
from glasshouse.cli.node import _loop
from glasshouse.cli.wiring import Session, open_session
from glasshouse.parties.card import create_key, create_node
from glasshouse.parties.drafting import draft_stop
from glasshouse.parties.errors import KeyUnavailable, PinRefused, SettingsError
from glasshouse.parties.node import Node, NodeSettings, is_entitled, open_node, purpose_of
from glasshouse.parties.signer import AgentSigner


@pytest.fixture
def lab(tmp_path: Path) -> Node:
    site = {"id": "bern", "name": "Bern", "jurisdiction": "CH"}
    settings = NodeSettings.model_validate({"party": "lab", "name": "Lab", "site": site, "auditor": {}, "member": True})
    create_node(Node(tmp_path / "lab", settings))
    return open_node(tmp_path / "lab")


@pytest.fixture
def session(lab: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The world's charter, which names the lab's first audit key; no ledger has more."""
    monkeypatch.setattr(Session, "follow", lambda session: session.history)
    world = World(parties={"lab": {"keys": named(lab, "audit")}})
    (lab.directory / "charter.json").write_bytes(world.pin)
    with open_session(lab.directory) as opened:
        opened.history = world.history
        yield opened


def named(node: Node, name: str, stops: int | None = None) -> dict[str, object]:
    signer = node.signer(name)
    key = charter_key(signer, "bern", ["status", "hold", "finding"]) | ({} if stops is None else {"stops": stops})
    return {signer.keyid: key}


def amend(session: Session, **keys: dict[str, object]) -> None:
    world = World(parties={"lab": {"keys": {kid: key for entry in keys.values() for kid, key in entry.items()}}})
    session.history = world.history


def test_a_key_that_no_charter_names_yet_is_not_used(session: Session, lab: Node) -> None:
    first = lab.signer("audit").keyid
    assert session.signer("audit").keyid == first
    create_key(lab, "audit", None)
    assert session.signer("audit").keyid == first
    amend(session, old=named(lab, "audit"), new=named(lab, "audit-2"))
    assert session.signer("audit").keyid == lab.signer("audit-2").keyid


def test_a_key_that_is_stopped_is_not_used(session: Session, lab: Node) -> None:
    create_key(lab, "audit", None)
    amend(session, old=named(lab, "audit"), new=named(lab, "audit-2", stops=1))
    assert session.signer("audit").keyid == lab.signer("audit").keyid
    amend(session, old=named(lab, "audit", stops=0), new=named(lab, "audit-2", stops=1))
    with pytest.raises(KeyUnavailable, match="of its keys audit, audit-2 none counts"):
        session.signer("audit")


def test_a_key_in_a_process_of_its_own_is_chosen_as_well(
    session: Session, lab: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_key(lab, "audit", None)
    closed: list[str] = []
    close = AgentSigner.close
    monkeypatch.setattr(AgentSigner, "close", lambda agent: (closed.append(agent.keyid), close(agent)))
    with session.agent("audit") as agent:
        assert agent.keyid == lab.signer("audit").keyid
        assert closed == [lab.signer("audit-2").keyid]


def test_a_party_without_such_a_key(session: Session) -> None:
    with pytest.raises(KeyUnavailable, match="cannot sign as release by charter 1: it has no such key"):
        session.signer("release")


def test_a_key_counts_for_its_uses_below_its_stop() -> None:
    world = World()
    charter: Charter = world.history.chain.newest.charter
    kid = world.keys["lab"].keyid
    assert is_entitled(charter, kid, [Use.STATUS], 10**9)
    assert not is_entitled(charter, kid, [Use.RELEASE], 0)
    assert not is_entitled(charter, world.keys["mallory"].keyid, list(Use), 0)
    world.amend(draft_stop(charter, kid[:8], 7))
    stopped = world.history.chain.newest.charter
    assert [is_entitled(stopped, kid, [Use.STATUS], index) for index in (6, 7)] == [True, False]


@pytest.mark.parametrize(("kid", "count"), [("", 0), ("zz", 0), ("0" * 64, 0)])
def test_only_a_key_of_the_charter_can_be_stopped(kid: str, count: int) -> None:
    with pytest.raises(SettingsError, match=f"has {count} keys"):
        draft_stop(World().history.chain.newest.charter, kid, 0)


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("release", "release"),
        ("release-2", "release"),
        ("release-10", "release"),
        ("release-1", None),
        ("release-02", None),
        ("codesign", None),
        ("Release", None),
        ("release-2\n", None),
    ],
)
def test_names_of_keys(name: str, purpose: str | None) -> None:
    assert purpose_of(name) == purpose


def test_keys_follow_each_other_by_number(lab: Node) -> None:
    for _ in range(10):
        create_key(lab, "audit", None)
    assert lab.key_names("audit") == ("audit", *(f"audit-{number}" for number in range(2, 12)))
    assert (lab.newest_key_name("audit"), lab.next_key_name("audit")) == ("audit-11", "audit-12")
    assert lab.key_names("member") == ("member",)


def test_a_key_that_no_role_asks_for_is_not_made(lab: Node) -> None:
    done = CliRunner().invoke(build("key"), ["key", "new", "log", "--node", str(lab.directory)])
    assert isinstance(done.exception, SettingsError)
    assert "Its roles ask for: audit, member" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--token", "acme"], "--module: is missing"),
        (["--module", "/bin/true"], "--token: is missing"),
        (["--module", "/bin/true", "--token", "acme"], "Give one of the two"),
        (["--module", "/bin/true", "--token", "acme", "--pin-file", "p", "--pin-variable", "P"], "Give one of the two"),
    ],
)
def test_a_token_is_described_whole(lab: Node, words: list[str], reason: str) -> None:
    done = CliRunner().invoke(build("key"), ["key", "new", "audit", "--node", str(lab.directory), *words])
    assert reason in str(done.exception)
    assert lab.key_names("audit") == ("audit",)


def test_a_worker_never_repeats_a_refused_pin(session: Session) -> None:
    """Every attempt brings the token nearer to its lock, so the worker ends instead of trying again."""
    attempts: list[int] = []

    def make(_: Session) -> Callable[[], bool]:
        attempts.append(1)
        raise PinRefused("the PIN is wrong")

    locked_out = threading.Event()
    _loop(session.node.directory, "auditor", 0.01, make, threading.Event(), False, locked_out)
    assert (len(attempts), locked_out.is_set()) == (1, True)
