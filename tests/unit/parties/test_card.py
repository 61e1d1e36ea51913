"""Cards: what `glasshouse init` makes of a node's settings, and how others read it."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.ed25519 import keyid
from glasshouse_verify.encoding import encode_base64, format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, parse_vkey

from glasshouse.parties.card import CARD_FILE, SCHEMA, Card, create_node, parse_card
from glasshouse.parties.errors import KeyUnavailable, SettingsError
from glasshouse.parties.keys import generate_custody_key, load_custody_key, load_key, raw_public
from glasshouse.parties.node import KEY_USES, Node, NodeSettings, open_node
from glasshouse.parties.signer import FileSigner
from glasshouse.storage.errors import ObjectConflict

SITE = {"id": "bern", "name": "Bern", "jurisdiction": "CH"}
SERVE = {"listen": "127.0.0.1:8471"}
ROLES: dict[str, dict[str, Any]] = {
    "ledger": {"ledger": {"origin": "ledger.example"}, "serve": SERVE},
    "witness": {"witness": {"name": "w.example"}, "serve": SERVE},
    "conveyor": {"conveyor": {}},
    "rebuilder": {"rebuilder": {}},
    "auditor": {"auditor": {}},
    "member": {"member": True},
    "intake": {"intake": {"region": "au", "peer_listen": "127.0.0.1:8472"}, "serve": SERVE},
    "custody": {"custody": {}, "serve": SERVE},
}


def create(directory: Path, **settings: Any) -> tuple[Node, Card]:
    node = Node(directory, NodeSettings.model_validate({"party": "lab", "name": "Lab", "site": SITE} | settings))
    return node, create_node(node)


def all_roles() -> dict[str, Any]:
    return {name: value for role in ROLES.values() for name, value in role.items()}


@pytest.mark.parametrize("role", ROLES)
def test_a_node_of_one_role(tmp_path: Path, role: str) -> None:
    node, card = create(tmp_path, **ROLES[role])
    assert (card.schema, card.party, card.name, card.site.jurisdiction) == (SCHEMA, "lab", "Lab", "CH")
    assert card.roles == {"conveyor": ("vendor",), "intake": (), "custody": ()}.get(role, (role,))
    assert [key.uses for key in card.keys] == [
        uses for path in made_keys(node) if (uses := KEY_USES[path.stem])
    ] or card.keys == ()
    assert (card.ledger is not None) == (role == "ledger")
    assert (card.witness is not None) == (role == "witness")
    assert (card.recipient is not None) == (role == "rebuilder")
    assert (card.intake is not None) == (role == "intake")
    assert (card.custody is not None) == (role == "custody")


def made_keys(node: Node) -> list[Path]:
    signing = [path for path in (node.directory / "keys").glob("*.key") if path.stem in KEY_USES]
    return sorted(signing, key=lambda path: list(KEY_USES).index(path.stem))


def test_a_node_of_every_role(tmp_path: Path) -> None:
    node, card = create(tmp_path, **all_roles(), acts_for="acme")
    assert {path.stem for path in made_keys(node)} == set(KEY_USES)
    assert card.acts_for == "acme"
    public = {name: raw_public(FileSigner.load(node.key_path(name))._key) for name in KEY_USES}
    assert {key.uses: bytes(key.public) for key in card.keys} == {
        KEY_USES[name]: public[name] for name in KEY_USES if KEY_USES[name]
    }
    assert len({keyid(raw) for raw in public.values()}) == len(KEY_USES)
    assert card.ledger is not None
    assert card.witness is not None
    log, witness = parse_vkey(card.ledger.key), parse_vkey(card.witness.key)
    assert (log.name, log.algorithm, log.public) == ("ledger.example", ED25519, public["log"])
    assert (witness.name, witness.algorithm, witness.public) == ("w.example", COSIGNATURE_V1, public["witness"])
    assert card.ledger.url == card.witness.url == "http://127.0.0.1:8471"


def test_the_custodians_key_is_on_the_card(tmp_path: Path) -> None:
    node, card = create(tmp_path, **ROLES["custody"])
    (path,) = node.custody_paths
    assert path == tmp_path / "keys" / "custody.x25519"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert card.custody is not None
    assert load_custody_key(path).public_key().public_bytes_raw() == card.custody.key
    assert card.custody.url == "http://127.0.0.1:8471"
    with pytest.raises(KeyUnavailable, match="no Ed25519 key"):
        load_key(path)
    with pytest.raises(KeyUnavailable, match="no X25519 key"):
        load_custody_key(node.key_path("custody"))
    generate_custody_key(node.keys / "custody-10.x25519")
    generate_custody_key(node.keys / "custody-2.x25519")
    assert [path.stem for path in node.custody_paths] == ["custody", "custody-2", "custody-10"]


def test_what_lies_on_the_disk(tmp_path: Path) -> None:
    node, card = create(tmp_path, **all_roles())
    assert open_node(tmp_path).settings == node.settings
    assert parse_card((tmp_path / CARD_FILE).read_bytes()) == card
    for name in ("keys", "data"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_private_key_is_on_the_card(tmp_path: Path) -> None:
    create(tmp_path, **all_roles())
    card = (tmp_path / CARD_FILE).read_bytes()
    for path in (tmp_path / "keys").iterdir():
        if path.stem == "peer":
            # Both files hold the public key too, which the card shows.
            continue
        for line in path.read_bytes().splitlines():
            assert line not in card


def test_a_node_is_never_laid_out_over_another(tmp_path: Path) -> None:
    _, card = create(tmp_path, **ROLES["auditor"])
    with pytest.raises(ObjectConflict):
        create(tmp_path, **ROLES["rebuilder"])
    with pytest.raises(ObjectConflict):
        create(tmp_path, **ROLES["auditor"])
    assert parse_card((tmp_path / CARD_FILE).read_bytes()) == card


def test_a_ledger_that_nobody_can_reach_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="serves nothing"):
        create(tmp_path, ledger={"origin": "ledger.example"})


def document(directory: Path) -> dict[str, Any]:
    _, card = create(directory, **all_roles(), acts_for="acme")
    value: dict[str, Any] = json.loads(format_json(encode(card)))
    return value


def test_cards_parse_strictly(tmp_path: Path) -> None:
    honest = document(tmp_path)
    assert encode(parse_card(format_json(honest))) == honest
    optional = {"recipient", "acts_for", "ledger", "witness", "intake", "custody"}
    for name in honest:
        less = {other: value for other, value in honest.items() if other != name}
        if name in optional:
            parse_card(format_json(less))
            continue
        with pytest.raises(FormatError, match=f"card.{name}: is missing"):
            parse_card(format_json(less))
    for place in ("", "site", "ledger", "witness", "intake", "custody"):
        changed = json.loads(format_json(honest))
        (changed[place] if place else changed)["stranger"] = 1
        with pytest.raises(FormatError, match="stranger: is not a known member"):
            parse_card(format_json(changed))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schema": "glasshouse.card/v2"}, "card.schema"),
        ({"party": "Lab"}, "card.party"),
        ({"roles": ["king"]}, "card.roles[0]"),
        ({"keys": [{"public": "AAAA", "uses": []}]}, "card.keys[0].public"),
        ({"keys": [{"public": encode_base64(bytes(32)), "uses": ["all"]}]}, "card.keys[0].uses[0]"),
        ({"site": {"id": "bern", "name": "Bern", "jurisdiction": "Bern"}}, "card.site.jurisdiction"),
        ({"ledger": {"origin": 1, "key": "", "url": ""}}, "card.ledger.origin"),
    ],
)
def test_the_member_that_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_card(format_json(document(tmp_path) | change))
    assert caught.value.field == field


def test_a_card_has_one_spelling(tmp_path: Path) -> None:
    data = format_json(document(tmp_path))
    assert parse_card(data) == parse_card(data + b"\n")
    for other in (data.replace(b":", b": ", 1), data[:-1], b"", b"[]"):
        with pytest.raises(FormatError):
            parse_card(other)
