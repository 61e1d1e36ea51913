"""A node: one party's running instance, a directory with node.toml, keys/ and data/.

    party = "acme"
    name = "Acme Security"
    pin = "charter.json"            # the first charter, as this party pins it

    [site]
    id = "moscow"
    name = "Moscow"
    jurisdiction = "RU"

    [serve]
    listen = "127.0.0.1:8471"

    [ledger]                        # a table switches its role on
    origin = "ledger.acme.example"

Every private key has a file of its own in keys/, named for what it signs. Nothing outside this module reads node.toml.
"""

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated

from glasshouse_verify.statement import Use
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from glasshouse.parties.errors import SettingsError
from glasshouse.parties.keys import AGE_FILE, KEY_SUFFIX
from glasshouse.parties.signer import AgentSigner, FileSigner

SETTINGS_FILE = "node.toml"
# What a key file is for. The name of a key is the name of its file.
KEY_USES: dict[str, tuple[Use, ...]] = {
    "member": (Use.CHARTER,),
    "conveyor": (Use.PROVENANCE,),
    "release": (Use.SOURCE, Use.RELEASE, Use.HOLD),
    "rebuild": (Use.REBUILD, Use.PROVENANCE),
    "audit": (Use.STATUS, Use.HOLD, Use.FINDING),
    "log": (),
    "witness": (),
}
ROLE_KEYS: dict[str, tuple[str, ...]] = {
    "ledger": ("log",),
    "witness": ("witness",),
    "conveyor": ("conveyor", "release"),
    "rebuilder": ("rebuild",),
    "auditor": ("audit",),
    "member": ("member",),
}

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Settings(BaseModel):
    """A table of node.toml; unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SiteSettings(Settings):
    """Where the node and its keys stand."""

    id: Id
    name: str
    jurisdiction: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class ServeSettings(Settings):
    """The HTTP side. `url` is what others reach it by, where that differs from `listen`."""

    listen: Annotated[str, StringConstraints(pattern=r"^[^\s:]+:[0-9]{1,5}$")]
    url: str | None = None


class LedgerSettings(Settings):
    """The log: its origin, whether anybody may add, and how often it publishes."""

    origin: str
    open: bool = False
    publish_seconds: float = Field(default=0.5, gt=0, le=3600)
    max_blob_bytes: int = Field(default=64 * 2**20, gt=0)


class WitnessSettings(Settings):
    """The witness: its name, and the vkeys of the logs it serves besides the charter's."""

    name: str
    logs: tuple[str, ...] = ()


class ConveyorSettings(Settings):
    """The conveyor."""


class RebuilderSettings(Settings):
    """The rebuilder: how often it looks at the ledger."""

    poll_seconds: float = Field(default=1.0, gt=0, le=3600)


class AuditorSettings(Settings):
    """The auditor: how often it looks, and whether it proposes the status or waits for another's proposal."""

    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    proposes: bool = False


class DatabaseSettings(Settings):
    """PostgreSQL: a DSN, or none for the embedded one."""

    dsn: str | None = None


class ObjectSettings(Settings):
    """Where tiles and blobs are kept: an object store's URL (s3://…), or none for the node's own directory."""

    url: str | None = None


class MirrorSettings(Settings):
    """Where packages come from, as transport only. Default: what the host's own apt uses."""

    debian: str | None = None


class NodeSettings(Settings):
    """The whole of node.toml."""

    party: Id
    name: str
    site: SiteSettings
    pin: str = "charter.json"
    acts_for: Id | None = None
    member: bool = False
    cache: str | None = None
    serve: ServeSettings | None = None
    ledger: LedgerSettings | None = None
    witness: WitnessSettings | None = None
    conveyor: ConveyorSettings | None = None
    rebuilder: RebuilderSettings | None = None
    auditor: AuditorSettings | None = None
    database: DatabaseSettings = DatabaseSettings()
    objects: ObjectSettings = ObjectSettings()
    mirrors: MirrorSettings = MirrorSettings()

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles switched on, by name."""
        return tuple(role for role in ROLE_KEYS if getattr(self, role))


class Node:
    """An opened node directory."""

    def __init__(self, directory: Path, settings: NodeSettings) -> None:
        self.directory, self.settings = directory, settings

    @property
    def data(self) -> Path:
        """Everything the node can lose only by breaking a promise."""
        return self.directory / "data"

    @property
    def cache(self) -> Path:
        """What can be fetched or made again."""
        if self.settings.cache is not None:
            return Path(self.settings.cache).expanduser()
        return self.directory / "cache"

    def key_path(self, name: str) -> Path:
        """The file of the key called `name`."""
        return self.directory / "keys" / f"{name}{KEY_SUFFIX}"

    @property
    def identity_path(self) -> Path:
        """The age identity that opens source packs."""
        return self.directory / "keys" / AGE_FILE

    def signer(self, name: str) -> FileSigner:
        """The key called `name`, in this process."""
        return FileSigner.load(self.key_path(name))

    def agent(self, name: str) -> AgentSigner:
        """The key called `name`, in a process of its own."""
        return AgentSigner(self.key_path(name), KEY_USES[name])

    @cached_property
    def url(self) -> str:
        """Where others reach the node."""
        serve = self.settings.serve
        if serve is None:
            raise SettingsError("serve", "the node serves nothing", 'Add [serve] listen = "127.0.0.1:8471".')
        return serve.url or f"http://{serve.listen}"

    @cached_property
    def pin(self) -> bytes:
        """The payload of the pinned first charter; raises SettingsError where there is none yet."""
        path = self.directory / self.settings.pin
        try:
            return path.read_bytes().rstrip(b"\n")
        except OSError as error:
            raise SettingsError("pin", f"{path}: {error.strerror}", "Put the first charter there.") from error


def open_node(directory: Path) -> Node:
    """Open a node directory; raises SettingsError naming the member of node.toml that is wrong."""
    path = directory / SETTINGS_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(str(path), str(error.strerror), "Make a node with: glasshouse init.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"is not TOML: {error}", "Mend the line named.") from error
    try:
        return Node(directory, NodeSettings.model_validate(document))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{path}: {field}", first["msg"], "See the node.toml page of the documentation.") from error
