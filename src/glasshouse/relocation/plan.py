"""What a node is told about its part in a move: moves/<id>.toml in its directory, each member for whom it is for.

    [scope]                              # the old site: its own word, shown as such
    replicas = []
    backups = ["tapes at moscow, weekly, kept for 90 days"]
    caches = []
    note = "Everything that the products of customers in Australia have sent."

    [store]                              # where a store is emptied: the old site, each destination, the supervisor
    url = "s3://archive?endpoint=https://s3.moscow.example"
    credentials = "keys/archive.toml"
    secret = "keys/au-2026.secret"       # 32 bytes in hex, the same for all of them, made by: relocate plan
    description = "au-2026.jsonl"        # the supervisor: the old site's newest list of what lies there
    writer = {url = "s3://archive", credentials = "keys/writer.toml"}    # the old site: those who wrote

    [copying]                            # destinations
    workers = 2
    bytes_per_second = 50000000

    [giving]                             # a site that everything may be read of, not the sample alone
    full = true

    [sites.zurich-1]                     # the supervisor: its own way to every site's store
    url = "file:///srv/zurich-1/vault"
    credentials = "keys/zurich-1.toml"

    [watch]                              # the supervisor: what it tries the old site with
    every = 3600                         # seconds
    token = "keys/canary.token"          # of a customer of its own, with the country and category of what it sends
    country = "AU"
    category = "suspicious"
    certificate = "keys/peer.pem"        # a certificate that other sites of the region had
    key = "keys/peer.key"
    writer = {url = "s3://archive", credentials = "keys/archive-writer.toml"}

Paths are relative to the node's directory. Addresses are as `stores.opening` has them.
"""

import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Country, Identifier, Text, decode, encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import SECRET_BYTES

from glasshouse.relocation.errors import InvalidInput
from glasshouse.relocation.stores.addresses import read_credentials
from glasshouse.relocation.stores.interface import Capabilities, Store
from glasshouse.relocation.stores.opening import open_store
from glasshouse.storage import files

SCHEMA = "glasshouse.relocation-scope/v1"


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a store is reached: its address, and a file of credentials where it wants any."""

    url: str
    credentials: str | None = None


@dataclass(frozen=True, kw_only=True)
class OldStore:
    """The store that is emptied. `secret` is a file: what handles and salts are made of (`foreign.store_handle`).

    `description` is the old site's list of what lies there, as it has handed it to the supervisor: the newest one.
    `writer` is how those came in who wrote there: the fence holds once they are refused.
    """

    url: str
    secret: str
    credentials: str | None = None
    description: str | None = None
    writer: Way | None = None


@dataclass(frozen=True, kw_only=True)
class Word:
    """What the old site says of copies that nobody else can see."""

    replicas: tuple[Text, ...]
    backups: tuple[Text, ...]
    caches: tuple[Text, ...]
    note: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Copying:
    """How a destination copies: processes at once, and at most so many bytes a second."""

    workers: int | None = None
    bytes_per_second: int | None = None


@dataclass(frozen=True, kw_only=True)
class Giving:
    """What a site gives the supervisor: what opens the sample, or, with `full`, what opens everything."""

    full: bool


@dataclass(frozen=True, kw_only=True)
class Watching:
    """What the supervisor tries the old site with; see above. `every` in seconds."""

    every: int | None = None
    token: str | None = None
    country: Country | None = None
    category: Identifier | None = None
    certificate: str | None = None
    key: str | None = None
    writer: Way | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parsed file."""

    scope: Word | None = None
    store: OldStore | None = None
    copying: Copying | None = None
    giving: Giving | None = None
    sites: Mapping[Identifier, Way] | None = None
    watch: Watching | None = None


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The scope document: a blob beside the ledger. `assertion` is always true: it is the old site's own word.

    `objects` and `size` (bytes) are what it counts now, `seconds` how long it expects the copy to take.
    """

    schema: str = SCHEMA
    assertion: bool
    relocation: Identifier
    region: Identifier
    source: Origin
    site: Identifier
    to: tuple[Identifier, ...]
    objects: int
    size: int
    seconds: int
    store: Capabilities | None = None
    replicas: tuple[Text, ...]
    backups: tuple[Text, ...]
    caches: tuple[Text, ...]
    note: Text | None = None


def plan_path(node: Path, relocation: str) -> Path:
    """Where a node's plan of a move is."""
    return node / "moves" / f"{relocation}.toml"


def read_plan(node: Path, relocation: str) -> Plan:
    """A node's plan; an empty one where it has none. Raises InvalidInput naming the member."""
    path = plan_path(node, relocation)
    try:
        members = tomllib.loads(path.read_text())
        plan: Plan = decode(Plan, members, path.name)
    except FileNotFoundError:
        return Plan()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), f"is no TOML: {error}", "See docs/howto/move-a-region.md.") from error
    except FormatError as error:
        raise InvalidInput(error.field, error.reason, "See docs/howto/move-a-region.md.") from error
    return plan


def open_way(node: Path, way: Way | OldStore) -> Store:
    """The store at an address, with the credentials that the node has for it. Raises InvalidInput, Unavailable."""
    return open_store(way.url, None if way.credentials is None else read_credentials(node / way.credentials))


def read_secret(node: Path, store: OldStore, *, make: bool = False) -> bytes:
    """The secret of a move; with `make` it is made where there is none. Raises InvalidInput."""
    path = node / store.secret
    if make and not path.exists():
        files.create(path, secrets.token_hex(SECRET_BYTES).encode(), mode=0o600)
    try:
        text = path.read_text().strip()
        secret = bytes.fromhex(text)
    except FileNotFoundError:
        fix = "Ask the old site for it; it makes it by: glasshouse relocate plan."
        raise InvalidInput("store.secret", f"{path} is not there", fix) from None
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise InvalidInput("store.secret", f"{path} has not {SECRET_BYTES} bytes in hex", "Copy the old site's file.")
    return secret


def format_scope(scope: Scope) -> bytes:
    """The canonical bytes of a scope document."""
    return format_json(encode(scope))
