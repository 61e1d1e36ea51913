"""A party's card: what it tells the others about itself before there is a charter, and about new keys later. Public.

`glasshouse init` makes it, `glasshouse key new` adds to it:

{"keys":[{"public":"…","uses":["rebuild"]}],"name":"Lab","party":"lab","recipient":"age1…","roles":["rebuilder"],
 "schema":"glasshouse.card/v1","site":{"id":"bern","jurisdiction":"CH","name":"Bern"},
 "witness":{"key":"w.example+…","url":"http://…"}}

The card of a custodian has "custody":{"key":"<base64 of 32 bytes>","url":"http://…"}, the card of a site of a region
"intake":{"certificate":"<base64 DER>","peer":"https://…","region":"au","url":"http://…"}
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from glasshouse_verify.charter import Role
from glasshouse_verify.codec import Country, Identifier, PublicKey, Text, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, VerifierKey, format_vkey
from glasshouse_verify.statement import Use

from glasshouse.parties.certificates import create_peer
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.hardware import generate_in_token
from glasshouse.parties.keys import (
    AGE_FILE,
    CUSTODY_SUFFIX,
    generate_custody_key,
    generate_identity,
    generate_key,
)
from glasshouse.parties.node import KEY_USES, ROLE_KEYS, SETTINGS_FILE, KeySettings, Node, NodeSettings
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict

CARD_FILE = "card.json"
SCHEMA = "glasshouse.card/v1"
MAX_CARD = 100_000
_CHARTER_ROLES: dict[str, tuple[Role, ...]] = {"conveyor": (Role.VENDOR,), "custody": (), "intake": ()}


@dataclass(frozen=True, kw_only=True)
class CardSite:
    """Where the keys are held."""

    id: Identifier
    name: Text
    jurisdiction: Country


@dataclass(frozen=True, kw_only=True)
class CardKey:
    """A public key and what it signs."""

    public: PublicKey
    uses: tuple[Use, ...]


@dataclass(frozen=True, kw_only=True)
class CardLedger:
    """The log that the party runs."""

    origin: str
    key: str
    url: str


@dataclass(frozen=True, kw_only=True)
class CardWitness:
    """The witness that the party runs."""

    name: Identifier
    key: str
    url: str


@dataclass(frozen=True, kw_only=True)
class CardIntake:
    """The region that the site is for, where customers and the other sites reach it, and what it shows to these."""

    region: Identifier
    url: str
    peer: str
    certificate: bytes


@dataclass(frozen=True, kw_only=True)
class CardCustody:
    """A custodian: the X25519 key that data keys are sealed to, and where sites ask it."""

    key: PublicKey
    url: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """The whole card."""

    schema: str
    party: Identifier
    name: Text
    roles: tuple[Role, ...]
    site: CardSite
    keys: tuple[CardKey, ...]
    recipient: str | None = None
    acts_for: Identifier | None = None
    ledger: CardLedger | None = None
    witness: CardWitness | None = None
    intake: CardIntake | None = None
    custody: CardCustody | None = None

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise FormatError("card.schema", f"must be {SCHEMA}")


def parse_card(data: bytes) -> Card:
    """Parse a card; raises FormatError naming the member."""
    card: Card = decode(Card, parse_json(data.rstrip(b"\n"), "card", MAX_CARD), "card")
    return card


def create_node(node: Node, *, with_keys: bool = True) -> Card:
    """Lay out a new node: node.toml, its card, its keys unless `create_key` makes them later, in tokens for example.

    It appears under its name only when it is complete. Raises ObjectConflict where something is there already.
    """
    if node.directory.exists() and any(node.directory.iterdir()):
        raise ObjectConflict(str(node.directory))
    place = node.directory.with_name(f".{node.directory.name}.new")
    shutil.rmtree(place, ignore_errors=True)
    try:
        card = _lay_out(Node(place, node.settings), with_keys=with_keys)
        place.replace(node.directory)
        files.sync_directory(node.directory.parent)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return card


def _lay_out(node: Node, *, with_keys: bool) -> Card:
    settings = node.settings
    files.make_directory(node.directory / "keys", mode=0o700)
    files.make_directory(node.data, mode=0o700)
    files.create(node.directory / SETTINGS_FILE, format_settings(settings).encode())
    recipient = generate_identity(node.directory / "keys" / AGE_FILE) if settings.rebuilder else None
    card = _blank_card(node, recipient)
    for purpose in purposes_of(node) if with_keys else ():
        card = _with_key(card, node, purpose, generate_key(node.key_path(purpose)))
    files.create(node.directory / CARD_FILE, format_json(encode(card)) + b"\n")
    return card


def purposes_of(node: Node) -> tuple[str, ...]:
    """What the roles of a node need keys for."""
    return tuple(purpose for role in node.settings.roles for purpose in ROLE_KEYS[role])


def create_key(node: Node, purpose: str, held: KeySettings | None) -> tuple[str, bytes]:
    """Make the next key of a purpose, in a file or in a token, and add it to node.toml and the card.

    Returns its name and raw public key. Raises SettingsError, KeyUnavailable; a key is never overwritten.
    """
    if purpose not in purposes_of(node):
        known = ", ".join(purposes_of(node)) or "none"
        raise SettingsError("key", f"no role of this node has a key called {purpose}", f"Its roles ask for: {known}.")
    card = parse_card((node.directory / CARD_FILE).read_bytes())
    name = node.next_key_name(purpose)
    if held is None:
        public = generate_key(node.key_path(name))
    else:
        public = generate_in_token(node.token_place(held))
        table = "\n".join(_toml(held.model_dump(exclude_none=True), f"keys.{name}"))
        settings = (node.directory / SETTINGS_FILE).read_text(encoding="utf-8")
        files.write(node.directory / SETTINGS_FILE, f"{settings.rstrip()}\n{table}\n".encode())
    files.write(node.directory / CARD_FILE, format_json(encode(_with_key(card, node, purpose, public))) + b"\n")
    return name, public


def key_text(node: Node, purpose: str, public: bytes) -> str | None:
    """The key as a charter's ledger table writes it, where it signs checkpoints (a vkey); None otherwise."""
    settings = node.settings
    if purpose == "log" and settings.ledger is not None:
        return format_vkey(VerifierKey(name=settings.ledger.origin, algorithm=ED25519, public=public))
    if purpose == "witness" and settings.witness is not None:
        return format_vkey(VerifierKey(name=settings.witness.name, algorithm=COSIGNATURE_V1, public=public))
    return None


def _with_key(card: Card, node: Node, purpose: str, public: bytes) -> Card:
    text = key_text(node, purpose, public)
    if text is not None and node.settings.ledger is not None and purpose == "log":
        return replace(card, ledger=CardLedger(origin=node.settings.ledger.origin, key=text, url=node.url))
    if text is not None:
        return replace(card, witness=CardWitness(name=Identifier(node.settings.party), key=text, url=node.url))
    return replace(card, keys=(*card.keys, CardKey(public=PublicKey(public), uses=KEY_USES[purpose])))


def _blank_card(node: Node, recipient: str | None) -> Card:
    settings = node.settings
    return Card(
        schema=SCHEMA,
        party=Identifier(settings.party),
        name=Text(settings.name),
        roles=tuple(named for role in settings.roles for named in _charter_roles(role)),
        site=CardSite(
            id=Identifier(settings.site.id),
            name=Text(settings.site.name),
            jurisdiction=Country(settings.site.jurisdiction),
        ),
        keys=(),
        recipient=recipient,
        acts_for=None if settings.acts_for is None else Identifier(settings.acts_for),
        intake=_intake(node),
        custody=_custody(node),
    )


def _custody(node: Node) -> CardCustody | None:
    if node.settings.custody is None:
        return None
    public = generate_custody_key(node.keys / f"custody{CUSTODY_SUFFIX}")
    return CardCustody(key=PublicKey(public), url=node.url)


def _charter_roles(role: str) -> tuple[Role, ...]:
    """What the charter calls a party with such a node; a site of a region is named by the region instead."""
    return _CHARTER_ROLES[role] if role in _CHARTER_ROLES else (Role(role),)


def _intake(node: Node) -> CardIntake | None:
    settings = node.settings
    if settings.intake is None:
        return None
    certificate = create_peer(node.keys, settings.name, node.peer_url, int(time.time()))
    return CardIntake(
        region=Identifier(settings.intake.region), url=node.url, peer=node.peer_url, certificate=certificate
    )


def format_settings(settings: NodeSettings) -> str:
    """The node.toml of settings; what has its default value is left out."""
    return "\n".join(_toml(settings.model_dump(exclude_defaults=True), "")) + "\n"


def _toml(table: dict[str, object], name: str) -> Iterator[str]:
    if name:
        yield f"\n[{name}]"
    for key, value in table.items():
        if not isinstance(value, dict):
            yield f"{key} = {_toml_value(value)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _toml(value, f"{name}.{key}" if name else key)


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    # A JSON string without lone surrogates is a TOML basic string.
    return format_json(value).decode() if isinstance(value, str) else str(value)
