"""Signers: in this process, and in one of their own that signs nothing but what its key is for."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import payloads
from glasshouse_verify import ed25519
from glasshouse_verify.dsse import pae, verify_envelope
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import ED25519, signed_bytes
from glasshouse_verify.statement import Use

from glasshouse.parties.agent import check_message, serve
from glasshouse.parties.errors import KeyUnavailable, SigningRefused
from glasshouse.parties.keys import generate_key
from glasshouse.parties.node import KEY_USES
from glasshouse.parties.signer import MAX_MESSAGE, AgentSigner, FileSigner, add_signature, sign_statement

PAYLOADS = payloads()
CHECKPOINT = signed_bytes(ED25519, "ledger.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 0)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "release.key"
    generate_key(path)
    return path


@pytest.fixture
def agent(key: Path) -> Iterator[AgentSigner]:
    with AgentSigner(key, [Use.SOURCE, Use.RELEASE]) as signer:
        yield signer


def holds(public: bytes, message: bytes, signature: bytes) -> None:
    ed25519.verify(public, message, signature, "the signer")


def test_file_signer(key: Path) -> None:
    signer = FileSigner.load(key)
    holds(signer.public, b"anything", signer.sign(b"anything"))
    assert signer.keyid == ed25519.keyid(signer.public)


def test_agent_signs_what_its_key_is_for(key: Path, agent: AgentSigner) -> None:
    here = FileSigner.load(key)
    assert (agent.public, agent.keyid) == (here.public, here.keyid)
    for use in (Use.SOURCE, Use.RELEASE):
        message = pae(PAYLOADS[use])
        assert agent.sign(message) == here.sign(message)


@pytest.mark.parametrize("use", [use for use in Use if use not in (Use.SOURCE, Use.RELEASE)])
def test_agent_refuses_statements_that_its_key_is_not_for(agent: AgentSigner, use: Use) -> None:
    with pytest.raises(SigningRefused, match=f"is a {use} statement, this key signs release, source only"):
        agent.sign(pae(PAYLOADS[use]))
    agent.sign(pae(PAYLOADS[Use.SOURCE]))


@pytest.mark.parametrize("name", KEY_USES)
def test_every_key_of_a_node_signs_its_own_kinds_only(name: str) -> None:
    for use, payload in PAYLOADS.items():
        if use in KEY_USES[name]:
            check_message(pae(payload), KEY_USES[name])
        else:
            with pytest.raises(FormatError, match=r"statement, this key signs"):
                check_message(pae(payload), KEY_USES[name])


def test_one_key_of_a_node_votes_and_one_releases() -> None:
    assert [name for name, uses in KEY_USES.items() if Use.CHARTER in uses] == ["member"]
    assert [name for name, uses in KEY_USES.items() if Use.RELEASE in uses] == ["release"]
    assert not set(KEY_USES["conveyor"]) & set(KEY_USES["release"])


PAYLOAD = PAYLOADS[Use.RELEASE]
NOT_A_STATEMENT: dict[str, bytes] = {
    "nothing": b"",
    "the bare payload": PAYLOAD,
    "a checkpoint": CHECKPOINT,
    "another payload type": b"DSSEv1 10 text/plain 2 {}",
    "another length": pae(PAYLOAD).replace(str(len(PAYLOAD)).encode(), str(len(PAYLOAD) - 1).encode(), 1),
    "a leading zero": pae(PAYLOAD).replace(b"+json ", b"+json 0", 1),
    "something behind it": pae(PAYLOAD) + b" ",
    "a space before it": b" " + pae(PAYLOAD),
    "no JSON": pae(b"{"),
    "JSON of another spelling": pae(PAYLOAD.replace(b":", b": ", 1)),
    "no statement": pae(b"{}"),
    "an unknown predicate": pae(PAYLOAD.replace(b"/release/v1", b"/release/v2", 1)),
}


@pytest.mark.parametrize("message", NOT_A_STATEMENT.values(), ids=NOT_A_STATEMENT.keys())
def test_agent_signs_statements_only(message: bytes) -> None:
    with pytest.raises(FormatError):
        check_message(message, list(Use))


def test_agent_goes_on_after_a_refusal(agent: AgentSigner) -> None:
    for message in NOT_A_STATEMENT.values():
        with pytest.raises(SigningRefused):
            agent.sign(message)
    holds(agent.public, pae(PAYLOAD), agent.sign(pae(PAYLOAD)))


def test_messages_have_a_longest_length(agent: AgentSigner) -> None:
    with pytest.raises(SigningRefused, match=f"at most {MAX_MESSAGE} bytes"):
        agent.sign(b"x" * (MAX_MESSAGE + 1))


def talk(key: Path, requests: bytes) -> bytes:
    answers = io.BytesIO()
    serve(FileSigner.load(key), [Use.RELEASE], io.BytesIO(requests), answers)
    return answers.getvalue()


def test_the_wire(key: Path) -> None:
    """First the public key; then for each request a status byte, a length and a body."""
    public, message = FileSigner.load(key).public, pae(PAYLOAD)
    hello = b"\x00\x00\x20" + public
    assert talk(key, b"") == talk(key, b"\x00\x00") == hello
    answer = talk(key, len(message).to_bytes(4, "big") + message)
    assert answer[: len(hello) + 3] == hello + b"\x00\x00\x40"
    holds(public, message, answer[len(hello) + 3 :])
    refusal = talk(key, b"\x00\x00\x00\x01x")[len(hello) :]
    assert refusal[0] == 1
    assert len(refusal) == 3 + int.from_bytes(refusal[1:3], "big")
    assert talk(key, b"\xff\xff\xff\xff")[len(hello)] == 1


@pytest.mark.parametrize("cut", [1, 10, 500])
def test_a_request_cut_short_is_never_signed(key: Path, cut: int) -> None:
    message = pae(PAYLOAD)
    answer = talk(key, len(message).to_bytes(4, "big") + message[:-cut])
    assert answer[35] == 1


def test_a_key_that_others_can_read_is_not_served(key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        AgentSigner(key, [Use.RELEASE])


def test_a_missing_key(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="No such file"):
        AgentSigner(tmp_path / "missing.key", [Use.RELEASE])


def test_a_file_that_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "release.key"
    path.write_bytes(b"not a key\n")
    path.chmod(0o600)
    with pytest.raises(KeyUnavailable, match=str(path)):
        AgentSigner(path, [Use.RELEASE])


def test_an_agent_that_dies(agent: AgentSigner) -> None:
    os.kill(agent._process.pid, signal.SIGKILL)
    agent._process.wait()
    with pytest.raises(KeyUnavailable, match="has ended"):
        agent.sign(pae(PAYLOAD))


def test_the_agent_ends_with_its_owner(key: Path) -> None:
    with AgentSigner(key, [Use.RELEASE]) as signer:
        process = signer._process
    assert process.returncode == 0


def test_the_agents_private_key_never_crosses_the_pipe(key: Path) -> None:
    command = [sys.executable, "-m", "glasshouse.parties.agent", str(key), "release"]
    message = pae(PAYLOAD)
    request = len(message).to_bytes(4, "big") + message
    run = subprocess.run(command, input=request, capture_output=True, check=True)
    assert len(run.stdout) == 35 + 67
    assert run.stderr == b""


def test_statements_signed_by_several(tmp_path: Path, key: Path) -> None:
    other = tmp_path / "other.key"
    generate_key(other)
    one, two = FileSigner.load(key), FileSigner.load(other)
    envelope = sign_statement(PAYLOAD, one)
    both = add_signature(envelope, two)
    assert verify_envelope(both, {s.keyid: s.public for s in (one, two)}) == {one.keyid, two.keyid}
    assert add_signature(both, one) == both
    assert both.payload == envelope.payload == PAYLOAD
