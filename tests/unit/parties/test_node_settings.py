"""node.toml: what it says, what it may say, and the name of whatever is wrong in it."""

from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.statement import Use

from glasshouse.parties.card import format_settings
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.keys import generate_key
from glasshouse.parties.node import KEY_USES, ROLE_KEYS, Node, NodeSettings, open_node

MINIMAL = """
party = "acme"
name = "Acme Security"

[site]
id = "zurich-1"
name = "Zurich"
jurisdiction = "CH"
"""
FULL = (
    """
acts_for = "beta"
member = true
pin = "pinned.json"
cache = "~/cache"
"""
    + MINIMAL
    + """
[serve]
listen = "127.0.0.1:8471"
url = "https://ledger.acme.example"

[ledger]
origin = "ledger.acme.example"
open = true
publish_seconds = 2.5
max_blob_bytes = 1000

[witness]
name = "w.acme.example"
logs = ["example.com/log+fa7d0f47+ASaL"]

[conveyor]

[rebuilder]
poll_seconds = 5.0

[auditor]
proposes = true

[intake]
region = "au"
peer_listen = "127.0.0.1:8472"

[custody]

[wrapping.transit]
url = "http://127.0.0.1:8200"
key = "lab"
token_variable = "LAB_BAO_TOKEN"

[database]
dsn = "postgresql://localhost/acme"

[mirrors]
debian = "http://mirror.example/debian"
"""
)


def opened(directory: Path, text: str) -> Node:
    (directory / "node.toml").write_text(text)
    return open_node(directory)


def test_the_least_that_a_node_must_say(tmp_path: Path) -> None:
    node = opened(tmp_path, MINIMAL)
    assert node.settings.party == "acme"
    assert node.settings.roles == ()
    assert node.data == tmp_path / "data"
    assert node.cache == tmp_path / "cache"
    assert node.key_path("release") == tmp_path / "keys" / "release.key"


def test_everything_that_a_node_can_say(tmp_path: Path) -> None:
    node = opened(tmp_path, FULL)
    settings = node.settings
    assert settings.roles == tuple(ROLE_KEYS)
    assert (settings.acts_for, settings.pin) == ("beta", "pinned.json")
    assert settings.ledger is not None
    assert (settings.ledger.open, settings.ledger.publish_seconds, settings.ledger.max_blob_bytes) == (True, 2.5, 1000)
    assert node.url == "https://ledger.acme.example"
    assert node.cache == Path("~/cache").expanduser()


def test_settings_are_written_as_they_are_read(tmp_path: Path) -> None:
    for text in (MINIMAL, FULL):
        settings = opened(tmp_path, text).settings
        assert opened(tmp_path, format_settings(settings)).settings == settings


WRONG: list[tuple[str, str, str]] = [
    ('party = "acme"', "", "party"),
    ('party = "acme"', 'party = "Acme"', "party"),
    ('party = "acme"', 'party = "a b"', "party"),
    ('party = "acme"', 'party = ""', "party"),
    ('party = "acme"', "party = 5", "party"),
    ('party = "acme"', 'party = "acme"\nstranger = 1', "stranger"),
    ('name = "Acme Security"', "", "name"),
    ('jurisdiction = "CH"', "", "site.jurisdiction"),
    ('jurisdiction = "CH"', 'jurisdiction = "Switzerland"', "site.jurisdiction"),
    ('jurisdiction = "CH"', 'jurisdiction = "ch"', "site.jurisdiction"),
    ('jurisdiction = "CH"', 'jurisdiction = "CH"\nstranger = 1', "site.stranger"),
    ('id = "zurich-1"', 'id = "Zurich 1"', "site.id"),
    ('listen = "127.0.0.1:8471"', 'listen = "8471"', "serve.listen"),
    ('listen = "127.0.0.1:8471"', 'listen = "host:port"', "serve.listen"),
    ('listen = "127.0.0.1:8471"', 'listen = "a b:1"', "serve.listen"),
    ('listen = "127.0.0.1:8471"', "", "serve.listen"),
    ('origin = "ledger.acme.example"', "", "ledger.origin"),
    ("publish_seconds = 2.5", "publish_seconds = 0", "ledger.publish_seconds"),
    ("publish_seconds = 2.5", "publish_seconds = 4000", "ledger.publish_seconds"),
    ("max_blob_bytes = 1000", "max_blob_bytes = 0", "ledger.max_blob_bytes"),
    ("max_blob_bytes = 1000", 'max_blob_bytes = "many"', "ledger.max_blob_bytes"),
    ("open = true", 'open = "perhaps"', "ledger.open"),
    ("poll_seconds = 5.0", "poll_seconds = -1", "rebuilder.poll_seconds"),
    ("proposes = true", "proposes = 7", "auditor.proposes"),
    ('name = "w.acme.example"', "", "witness.name"),
    ("[conveyor]", "[conveyor]\nstranger = 1", "conveyor.stranger"),
    ('acts_for = "beta"', 'acts_for = "Beta"', "acts_for"),
    ("[custody]", "[custody]\njobs = ['Not a name']", "custody.jobs.0"),
    ('token_variable = "LAB_BAO_TOKEN"', "", "wrapping.transit"),
    ('token_variable = "LAB_BAO_TOKEN"', 'token_variable = "A"\ntoken_file = "b"', "wrapping.transit"),
    ('url = "http://127.0.0.1:8200"', 'url = "127.0.0.1:8200"', "wrapping.transit.url"),
]


@pytest.mark.parametrize(("before", "after", "member"), WRONG)
def test_the_member_that_is_wrong_is_named(tmp_path: Path, before: str, after: str, member: str) -> None:
    assert before in FULL
    with pytest.raises(SettingsError) as caught:
        opened(tmp_path, FULL.replace(before, after, 1))
    assert caught.value.field == f"{tmp_path / 'node.toml'}: {member}"
    assert caught.value.fix


@pytest.mark.parametrize("text", ["party", "[site", "party = 'a'\nparty = 'b'", "\x00"])
def test_a_file_that_is_no_toml(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="is not TOML"):
        opened(tmp_path, text)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not TOML"):
        open_node(tmp_path)


def test_a_directory_that_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="glasshouse init"):
        open_node(tmp_path)


def test_the_pin(tmp_path: Path) -> None:
    node = opened(tmp_path, MINIMAL)
    with pytest.raises(SettingsError, match="Put the first charter there"):
        _ = node.pin
    (tmp_path / "charter.json").write_bytes(b"{}\n")
    assert node.pin == b"{}"


def test_the_address_of_a_node(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Add \[serve\]"):
        _ = opened(tmp_path, MINIMAL).url
    assert opened(tmp_path, MINIMAL + '[serve]\nlisten = "127.0.0.1:8471"\n').url == "http://127.0.0.1:8471"


def test_every_role_has_its_keys_and_every_key_its_uses() -> None:
    named = [name for names in ROLE_KEYS.values() for name in names]
    assert sorted(named) == sorted(KEY_USES)
    assert set(ROLE_KEYS) <= set(NodeSettings.model_fields)
    covered = {use for uses in KEY_USES.values() for use in uses}
    assert covered == set(Use)
    assert KEY_USES["log"] == KEY_USES["witness"] == ()


def test_signers_of_a_node(tmp_path: Path) -> None:
    node = opened(tmp_path, MINIMAL)
    node.key_path("release").parent.mkdir()
    public = generate_key(node.key_path("release"))
    assert node.signer("release").public == public
    with node.agent("release") as agent:
        assert agent.public == public


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings: Any = opened(tmp_path, MINIMAL).settings
    with pytest.raises(ValueError, match="frozen"):
        settings.party = "other"
