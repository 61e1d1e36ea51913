"""Keys in hardware, on SoftHSM: made in the token, used by this process or by the signing process, never read out."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from examples import payloads
from glasshouse_verify import ed25519
from glasshouse_verify.dsse import pae, verify_envelope
from glasshouse_verify.errors import FormatError
from glasshouse_verify.statement import Use
from tokens import MODULE, PIN, make_token, needs_softhsm, pin_file, token_store

from glasshouse.parties import hardware
from glasshouse.parties.card import CARD_FILE, create_key, create_node, parse_card
from glasshouse.parties.errors import KeyUnavailable, PinRefused, SettingsError, SigningRefused
from glasshouse.parties.hardware import (
    HardwareSigner,
    TokenKey,
    format_place,
    generate_in_token,
    is_never_extractable,
    parse_place,
)
from glasshouse.parties.node import KeySettings, Node, NodeSettings, open_node
from glasshouse.parties.signer import AgentSigner, FileSigner, open_key, sign_statement

TOKENS = ("acme", "other", "twin")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All tokens are made before the module is loaded: it looks for them once."""
    directory = tmp_path_factory.mktemp("hsm")
    with token_store(directory):
        for label in TOKENS:
            make_token(label)
        pin_file(directory)
        yield directory


@pytest.fixture
def place(store: Path, request: pytest.FixtureRequest) -> TokenKey:
    """A place of its own for each test."""
    return TokenKey(module=str(MODULE), token="acme", label=request.node.name[:60], pin_file=str(store / "pin"))


@needs_softhsm
def test_a_key_signs_inside_its_token(place: TokenKey) -> None:
    public = generate_in_token(place)
    signer = HardwareSigner(place)
    assert (signer.public, signer.keyid) == (public, ed25519.keyid(public))
    for message in (b"", b"anything", b"x" * 100_000):
        ed25519.verify(public, message, signer.sign(message), "the token")
    assert HardwareSigner(place).sign(b"again") == signer.sign(b"again")


@needs_softhsm
def test_the_key_cannot_be_read_out(place: TokenKey) -> None:
    import pkcs11

    generate_in_token(place)
    assert is_never_extractable(place)
    key: Any = hardware._find_key(hardware.open_session(place), place)[0]
    assert key[pkcs11.Attribute.SENSITIVE]
    assert not key[pkcs11.Attribute.EXTRACTABLE]
    with pytest.raises(pkcs11.AttributeSensitive):
        _ = key[pkcs11.Attribute.VALUE]


@needs_softhsm
def test_a_key_is_never_overwritten(place: TokenKey) -> None:
    public = generate_in_token(place)
    with pytest.raises(KeyUnavailable, match="the label is taken"):
        generate_in_token(place)
    assert HardwareSigner(place).public == public


@needs_softhsm
def test_statements_signed_in_hardware_verify(place: TokenKey) -> None:
    public = generate_in_token(place)
    signer = open_key(place)
    envelope = sign_statement(payloads()[Use.RELEASE], signer)
    assert verify_envelope(envelope, {signer.keyid: public}) == {signer.keyid}


@needs_softhsm
def test_several_threads_share_a_signer(place: TokenKey) -> None:
    public = generate_in_token(place)
    signer = HardwareSigner(place)
    messages = [b"%d" % number for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for message, signature in zip(messages, pool.map(signer.sign, messages), strict=True):
            ed25519.verify(public, message, signature, "the token")


@needs_softhsm
def test_a_lost_session_is_opened_again(place: TokenKey) -> None:
    public = generate_in_token(place)
    signer = HardwareSigner(place)
    signer._key.session.close()
    ed25519.verify(public, b"later", signer.sign(b"later"), "the token")


@needs_softhsm
def test_a_public_key_of_another_pair_is_found_out(place: TokenKey) -> None:
    generate_in_token(place)
    signer = HardwareSigner(place)
    signer.public = public_of_another()
    with pytest.raises(KeyUnavailable, match="another's"):
        signer.sign(b"anything")


def public_of_another() -> bytes:
    return FileSigner(Ed25519PrivateKey.generate()).public


# --- what can be wrong ---------------------------------------------------------------------------------------------


@needs_softhsm
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"module": "/usr/lib/none-such.so"}, "there is no PKCS#11 library /usr/lib/none-such.so"),
        ({"module": "/bin/true"}, "is no PKCS#11 library that works here"),
        ({"token": "none-such"}, "there is no token 'none-such'"),
        ({"label": "none-such"}, "there is no key 'none-such' in token 'acme'"),
        ({"pin_file": "/none/such"}, "/none/such: No such file or directory"),
        ({"pin_file": None, "pin_variable": "GLASSHOUSE_NO_PIN"}, "variable GLASSHOUSE_NO_PIN with the token's PIN"),
    ],
)
def test_what_is_missing_is_named(place: TokenKey, changes: dict[str, str | None], reason: str) -> None:
    with pytest.raises(KeyUnavailable, match=reason):
        HardwareSigner(replace(place, **changes))


@needs_softhsm
def test_a_pin_that_others_can_read_is_not_used(place: TokenKey, tmp_path: Path) -> None:
    path = pin_file(tmp_path)
    path.chmod(0o640)
    with pytest.raises(KeyUnavailable, match="chmod 600"):
        HardwareSigner(replace(place, pin_file=str(path)))


@needs_softhsm
def test_a_pin_from_the_environment(place: TokenKey, monkeypatch: pytest.MonkeyPatch) -> None:
    public = generate_in_token(place)
    monkeypatch.setenv("ACME_PIN", PIN)
    assert HardwareSigner(replace(place, pin_file=None, pin_variable="ACME_PIN")).public == public


@needs_softhsm
def test_a_wrong_pin_is_tried_once(place: TokenKey, tmp_path: Path) -> None:
    """Nobody has signed in to this token before, so that the PIN is looked at."""
    wrong = replace(place, token="other", pin_file=str(pin_file(tmp_path, "9999")))
    with pytest.raises(PinRefused, match="the PIN is wrong for token 'other'"):
        HardwareSigner(wrong)
    with pytest.raises(PinRefused, match="it is not tried again"):
        HardwareSigner(wrong)
    generate_in_token(replace(place, token="other"))


@needs_softhsm
def test_two_tokens_of_one_label(store: Path, place: TokenKey) -> None:
    make_token("twin")
    program = (
        "import sys; from glasshouse.parties.hardware import *\n"
        "try: HardwareSigner(parse_place(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    command = [sys.executable, "-c", program, format_place(replace(place, token="twin"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("KeyUnavailable there are several tokens 'twin'")


def test_a_place_as_text() -> None:
    place = TokenKey(module="/m.so", token="acme", label="release", pin_variable="PIN")
    assert parse_place(format_place(place)) == place
    with pytest.raises(FormatError):
        parse_place('{"label":"release"}')


# --- in a process of its own ---------------------------------------------------------------------------------------


@needs_softhsm
def test_the_signing_process_opens_the_token(place: TokenKey) -> None:
    public = generate_in_token(place)
    with AgentSigner(place, [Use.RELEASE]) as agent:
        assert agent.public == public
        message = pae(payloads()[Use.RELEASE])
        ed25519.verify(public, message, agent.sign(message), "the agent")
        with pytest.raises(SigningRefused, match="is a source statement"):
            agent.sign(pae(payloads()[Use.SOURCE]))


@needs_softhsm
def test_the_asking_process_reads_no_pin(place: TokenKey, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_in_token(place)

    def caught(*_: object) -> str:
        raise AssertionError("the PIN was read here")

    monkeypatch.setattr(TokenKey, "read_pin", caught)
    with AgentSigner(place, [Use.RELEASE]) as agent:
        agent.sign(pae(payloads()[Use.RELEASE]))


@needs_softhsm
def test_the_signing_process_says_what_is_wrong(place: TokenKey, tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="there is no key"):
        AgentSigner(place, [Use.RELEASE])
    with pytest.raises(PinRefused, match="the PIN is wrong"):
        AgentSigner(replace(place, pin_file=str(pin_file(tmp_path, "0000"))), [Use.RELEASE])


# --- a node's keys -------------------------------------------------------------------------------------------------


def node_at(directory: Path, store: Path) -> Node:
    """A conveyor with files for keys and a PIN for its token."""
    site = {"id": "bern", "name": "Bern", "jurisdiction": "CH"}
    settings = NodeSettings.model_validate({"party": "acme", "name": "Acme", "site": site, "conveyor": {}})
    create_node(Node(directory, settings))
    pin_file(directory / "keys")
    return open_node(directory)


def held(label: str) -> KeySettings:
    return KeySettings(module=str(MODULE), token="acme", label=label, pin_file="keys/pin")


@needs_softhsm
def test_a_node_goes_from_a_file_to_a_token(tmp_path: Path, store: Path) -> None:
    node = node_at(tmp_path / "acme", store)
    before = parse_card((node.directory / CARD_FILE).read_bytes())
    name, public = create_key(node, "release", held("from-file-to-token"))
    assert name == "release-2"
    node = open_node(node.directory)
    assert node.key_names("release") == ("release", "release-2")
    assert PIN not in (node.directory / "node.toml").read_text()
    assert node.signer("release-2").public == public
    with node.agent("release-2") as agent:
        assert agent.public == public
    after = parse_card((node.directory / CARD_FILE).read_bytes())
    assert after.keys[:-1] == before.keys
    assert (bytes(after.keys[-1].public), after.keys[-1].uses[1]) == (public, Use.RELEASE)


@needs_softhsm
def test_a_node_without_a_key_in_any_file(tmp_path: Path, store: Path) -> None:
    site = {"id": "bern", "name": "Bern", "jurisdiction": "CH"}
    settings = NodeSettings.model_validate({"party": "lab", "name": "Lab", "site": site, "member": True})
    assert create_node(Node(tmp_path / "lab", settings), with_keys=False).keys == ()
    pin_file(tmp_path / "lab" / "keys")
    name, public = create_key(open_node(tmp_path / "lab"), "member", held("only-in-the-token"))
    node = open_node(tmp_path / "lab")
    assert (name, node.signer("member").public) == ("member", public)
    assert [bytes(key.public) for key in parse_card((node.directory / CARD_FILE).read_bytes()).keys] == [public]
    assert list((node.directory / "keys").glob("*.key")) == []


@needs_softhsm
def test_a_ring_finds_the_key_that_another_process_made(tmp_path: Path, store: Path) -> None:
    node = node_at(tmp_path / "acme", store)
    create_key(node, "release", held("ring-first"))
    ring = node.ring("release")
    assert len(ring.signers()) == 2
    command = [sys.executable, "-m", "glasshouse", "key", "new", "release", "--node", str(node.directory)]
    command += ["--module", str(MODULE), "--token", "acme", "--label", "ring-second", "--pin-file", "keys/pin"]
    subprocess.run(command, check=True, capture_output=True)
    public = bytes(parse_card((node.directory / CARD_FILE).read_bytes()).keys[-1].public)
    ed25519.verify(public, b"new", ring.holding(public).sign(b"new"), "the ring")
    with pytest.raises(KeyUnavailable, match="is not among this node's keys"):
        ring.holding(bytes(32))


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ('[keys.release]\nmodule = "/m"\ntoken = "t"\nlabel = "l"', "either pin_file or pin_variable"),
        ('[keys.release]\nmodule = "/m"\ntoken = "t"\nlabel = "l"\npin_file = "p"\npin_variable = "P"', "either"),
        ('[keys.release]\nmodule = "/m"\ntoken = "t"\nlabel = "l"\npin = "1234"', "keys.release.pin"),
        ('[keys.release]\nmodule = "m"\ntoken = "t"\nlabel = "l"\npin_file = "p"', "keys.release.module"),
        ('[keys.secret]\nmodule = "/m"\ntoken = "t"\nlabel = "l"\npin_file = "p"', "keys.secret"),
        ('[keys.release-1]\nmodule = "/m"\ntoken = "t"\nlabel = "l"\npin_file = "p"', "keys.release-1"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, table: str, reason: str) -> None:
    text = 'party = "acme"\nname = "Acme"\n[site]\nid = "bern"\nname = "Bern"\njurisdiction = "CH"\n'
    (tmp_path / "node.toml").write_text(text + table + "\n")
    with pytest.raises(SettingsError, match=reason):
        open_node(tmp_path)
