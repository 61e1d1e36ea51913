"""A party's card: what it tells the others about itself before there is a charter. Public; made by `glasshouse init`.

{"keys":[{"public":"…","uses":["rebuild"]}],"name":"Lab","party":"lab","recipient":"age1…","roles":["rebuilder"],
 "schema":"glasshouse.card/v1","site":{"id":"bern","jurisdiction":"CH","name":"Bern"},
 "witness":{"key":"w.example+…","url":"http://…"}}
"""

from collections.abc import Iterator
from dataclasses import dataclass

from glasshouse_verify.charter import Role
from glasshouse_verify.codec import Country, Identifier, PublicKey, Text, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, VerifierKey, format_vkey
from glasshouse_verify.statement import Use

from glasshouse.parties.keys import AGE_FILE, generate_identity, generate_key
from glasshouse.parties.node import KEY_USES, ROLE_KEYS, SETTINGS_FILE, Node, NodeSettings
from glasshouse.storage import files

CARD_FILE = "card.json"
SCHEMA = "glasshouse.card/v1"
MAX_CARD = 100_000
_CHARTER_ROLES = {"conveyor": Role.VENDOR}


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

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise FormatError("card.schema", f"must be {SCHEMA}")


def parse_card(data: bytes) -> Card:
    """Parse a card; raises FormatError naming the member."""
    card: Card = decode(Card, parse_json(data.rstrip(b"\n"), "card", MAX_CARD), "card")
    return card


def create_node(node: Node) -> Card:
    """Lay out a new node: node.toml, its keys, its card. Raises ObjectConflict where something is there already."""
    settings = node.settings
    files.make_directory(node.directory / "keys", mode=0o700)
    files.make_directory(node.data, mode=0o700)
    files.create(node.directory / SETTINGS_FILE, format_settings(settings).encode())
    public = {name: generate_key(node.key_path(name)) for role in settings.roles for name in ROLE_KEYS[role]}
    recipient = generate_identity(node.directory / "keys" / AGE_FILE) if settings.rebuilder else None
    card = _card(node, public, recipient)
    files.create(node.directory / CARD_FILE, format_json(encode(card)) + b"\n")
    return card


def _card(node: Node, public: dict[str, bytes], recipient: str | None) -> Card:
    settings = node.settings
    ledger, witness = None, None
    if settings.ledger is not None:
        key = VerifierKey(name=settings.ledger.origin, algorithm=ED25519, public=public["log"])
        ledger = CardLedger(origin=settings.ledger.origin, key=format_vkey(key), url=node.url)
    if settings.witness is not None:
        key = VerifierKey(name=settings.witness.name, algorithm=COSIGNATURE_V1, public=public["witness"])
        name = Identifier(settings.party)
        witness = CardWitness(name=name, key=format_vkey(key), url=node.url)
    return Card(
        schema=SCHEMA,
        party=Identifier(settings.party),
        name=Text(settings.name),
        roles=tuple(_CHARTER_ROLES.get(role) or Role(role) for role in settings.roles),
        site=CardSite(
            id=Identifier(settings.site.id),
            name=Text(settings.site.name),
            jurisdiction=Country(settings.site.jurisdiction),
        ),
        keys=tuple(
            CardKey(public=PublicKey(raw), uses=KEY_USES[name]) for name, raw in public.items() if KEY_USES[name]
        ),
        recipient=recipient,
        acts_for=None if settings.acts_for is None else Identifier(settings.acts_for),
        ledger=ledger,
        witness=witness,
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
