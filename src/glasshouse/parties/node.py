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

Every private key has a file of its own in keys/, named for what it signs, or, with a table such as [keys.release], is
held by a token (`hardware`). A key that follows another has a number: release, release-2, release-3.
Nothing outside this module reads node.toml.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from glasshouse_verify.charter import Charter
from glasshouse_verify.statement import Use
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from glasshouse.parties.errors import KeyUnavailable, PinRefused, SettingsError
from glasshouse.parties.hardware import TokenKey
from glasshouse.parties.keys import AGE_FILE, CUSTODY_SUFFIX, KEY_SUFFIX
from glasshouse.parties.ring import KeyRing
from glasshouse.parties.signer import AgentSigner, Signer, open_key

SETTINGS_FILE = "node.toml"
_PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
# What a key is for, by its name without the number.
KEY_USES: dict[str, tuple[Use, ...]] = {
    "member": (Use.CHARTER, Use.TRAP, Use.RELOCATION),
    "conveyor": (Use.PROVENANCE,),
    "release": (Use.SOURCE, Use.RELEASE, Use.HOLD),
    "rebuild": (Use.COMMIT, Use.REBUILD, Use.PROVENANCE),
    "audit": (Use.STATUS, Use.HOLD, Use.FINDING, Use.INSPECTION, Use.RELOCATION),
    "intake": (Use.RECEIPT, Use.INVENTORY, Use.ACCESS, Use.RELOCATION),
    "custody": (Use.ACCESS,),
    "log": (),
    "witness": (),
}
ROLE_KEYS: dict[str, tuple[str, ...]] = {
    "ledger": ("log",),
    "witness": ("witness",),
    "conveyor": ("conveyor", "release"),
    "rebuilder": ("rebuild",),
    "auditor": ("audit",),
    "intake": ("intake",),
    "custody": ("custody",),
    "member": ("member",),
}

_KEY_NAME = rf"^({'|'.join(KEY_USES)})(-(?:[2-9]|[1-9][0-9]+))?$"

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
KeyName = Annotated[str, StringConstraints(pattern=_KEY_NAME)]


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

    listen: Annotated[str, StringConstraints(pattern=rf"^[^\s:]+:{_PORT}$")]
    url: str | None = None


class LedgerSettings(Settings):
    """The log: its origin, whether anybody may add, and how often it publishes."""

    origin: str
    open: bool = False
    publish_seconds: float = Field(default=0.5, gt=0, le=3600)
    max_blob_bytes: int = Field(default=64 * 2**20, gt=0)


class WitnessSettings(Settings):
    """The witness: its name, the vkeys of the logs it serves besides the charter's, how often it looks for new keys."""

    name: str
    logs: tuple[str, ...] = ()
    poll_seconds: float = Field(default=2.0, gt=0, le=3600)


class ConveyorSettings(Settings):
    """The conveyor: the URL of the RFC 3161 authority that dates the signatures of Windows files."""

    timestamps: str | None = None


class TimestampSettings(Settings):
    """A time-stamp authority, served at /timestamp; its key and certificate come from: glasshouse certificate."""


class RebuilderSettings(Settings):
    """The rebuilder: how often it looks at the ledger, and what isolates its builds."""

    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    executor: Literal["bubblewrap", "podman", "docker"] = "bubblewrap"


class AuditorSettings(Settings):
    """The auditor: how often it looks, and whether it proposes the status or waits for another's proposal."""

    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    proposes: bool = False


class IntakeSettings(Settings):
    """A site of a region: what it takes customers' data for, and where the region's other sites reach it.

    `peer` is their way to it where that is not https:// and `peer_listen`; `custody` what its operator counts on, which
    must be what the charter says; `indicators` a released list of hashes, with its evidence beside it.
    """

    region: Id
    peer_listen: Annotated[str, StringConstraints(pattern=rf"^[^\s:]+:{_PORT}$")]
    peer: str | None = None
    custody: Literal["dual", "site"] = "dual"
    indicators: str | None = None
    requests_per_second: float = Field(default=100.0, gt=0)
    scrub_hours: float = Field(default=24.0, gt=0)
    rekey_days: float = Field(default=14.0, gt=0)
    max_file_bytes: int = Field(default=64 * 2**30, gt=0)


class CustodySettings(Settings):
    """The custodian of regions in dual custody: the machines' jobs that it opens data keys for, by name.

    How often it looks for what it has to say, and how often it logs its tallies.
    """

    jobs: tuple[Id, ...] = ("analysis", "repair", "rewrap", "relocation", "relocation-sample")
    poll_seconds: float = Field(default=1.0, gt=0, le=3600)
    tally_seconds: int = Field(default=3_600, gt=0, le=86_400)


class DatabaseSettings(Settings):
    """PostgreSQL: a DSN, or none for the embedded one."""

    dsn: str | None = None


class ObjectSettings(Settings):
    """Where tiles and blobs are kept: an object store's URL (s3://…), or none for the node's own directory."""

    url: str | None = None


class MirrorSettings(Settings):
    """Where packages come from, as transport only. Default: what the host's own apt uses."""

    debian: str | None = None


class KeySettings(Settings):
    """A key in a PKCS#11 token. Its PIN stands in a private file or in a variable of the environment, never here."""

    module: Annotated[str, StringConstraints(pattern=r"^/")]
    token: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    label: Annotated[str, StringConstraints(min_length=1)]
    pin_file: str | None = None
    pin_variable: str | None = None

    @model_validator(mode="after")
    def _one_pin(self) -> Self:
        if (self.pin_file is None) == (self.pin_variable is None):
            raise ValueError("give either pin_file or pin_variable")
        return self


class TransitSettings(Settings):
    """A key in the transit engine of OpenBao or Vault. The token stands in a private file or in a variable."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://")]
    key: Id
    mount: Id = "transit"
    token_file: str | None = None
    token_variable: str | None = None

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if (self.token_file is None) == (self.token_variable is None):
            raise ValueError("give either token_file or token_variable")
        return self


class WrappingSettings(Settings):
    """What wraps a site's data keys: a token, or a transit key; files in keys/ where neither is named."""

    pkcs11: KeySettings | None = None
    transit: TransitSettings | None = None

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.pkcs11 is not None and self.transit is not None:
            raise ValueError("give pkcs11 or transit, not both")
        return self


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
    intake: IntakeSettings | None = None
    custody: CustodySettings | None = None
    wrapping: WrappingSettings = WrappingSettings()
    timestamp: TimestampSettings | None = None
    database: DatabaseSettings = DatabaseSettings()
    objects: ObjectSettings = ObjectSettings()
    mirrors: MirrorSettings = MirrorSettings()
    keys: dict[KeyName, KeySettings] = {}

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

    @property
    def archive(self) -> Path:
        """What old releases need in order to be rebuilt when nobody else has it any more."""
        return self.data / "archive"

    def key_path(self, name: str) -> Path:
        """The file of the key called `name`."""
        return self.directory / "keys" / f"{name}{KEY_SUFFIX}"

    @property
    def keys(self) -> Path:
        """Where private keys are, each in a file of its own, and certificates."""
        return self.directory / "keys"

    @property
    def identity_path(self) -> Path:
        """The age identity that opens source packs."""
        return self.directory / "keys" / AGE_FILE

    @property
    def custody_paths(self) -> tuple[Path, ...]:
        """The custodian's X25519 keys, in the order in which they followed each other."""
        found = self.keys.glob(f"custody*{CUSTODY_SUFFIX}")
        return tuple(sorted(found, key=lambda path: _generation(path.name.removesuffix(CUSTODY_SUFFIX))))

    def key_names(self, purpose: str) -> tuple[str, ...]:
        """The keys held for a purpose (a member of KEY_USES), in the order in which they followed each other."""
        files = {path.name.removesuffix(KEY_SUFFIX) for path in (self.directory / "keys").glob(f"*{KEY_SUFFIX}")}
        held = [name for name in files | set(self.settings.keys) if purpose_of(name) == purpose]
        return tuple(sorted(held, key=_generation))

    def newest_key_name(self, purpose: str) -> str:
        """The name of the key made last, whether or not a charter counts it; the first's where there is none."""
        return next(reversed(self.key_names(purpose)), purpose)

    def next_key_name(self, purpose: str) -> str:
        """The name of the key to be made next."""
        held = self.key_names(purpose)
        return f"{purpose}-{_generation(held[-1]) + 1}" if held else purpose

    def key_place(self, name: str) -> Path | TokenKey:
        """Where a key is: its file, or its place in a token."""
        held = self.settings.keys.get(name)
        return self.key_path(name) if held is None else self.token_place(held)

    def token_place(self, held: KeySettings) -> TokenKey:
        """The place in a token that a table of node.toml, present or future, describes."""
        pin_file = None if held.pin_file is None else str((self.directory / held.pin_file).absolute())
        return TokenKey(**held.model_dump(exclude={"pin_file"}), pin_file=pin_file)

    def signer(self, name: str) -> Signer:
        """The key called `name`, in this process; raises KeyUnavailable."""
        return open_key(self.key_place(name))

    def agent(self, name: str) -> AgentSigner:
        """The key called `name`, in a process of its own, which alone reads it or its PIN; raises KeyUnavailable."""
        return AgentSigner(self.key_place(name), KEY_USES[purpose_of(name) or name])

    def ring(self, purpose: str) -> KeyRing:
        """All keys of a purpose, for a process that goes on running; raises KeyUnavailable where one cannot be used."""
        opened: set[str] = set()

        def find() -> Iterator[Signer]:
            node = open_node(self.directory)
            for name in node.key_names(purpose):
                if name in opened:
                    continue
                try:
                    signer = node.signer(name)
                except PinRefused:
                    opened.add(name)
                    raise
                opened.add(name)
                yield signer

        ring = KeyRing(find=find)
        ring.refresh()
        if not ring.signers():
            fix = f"make one with: glasshouse key new {purpose}"
            raise KeyUnavailable(f"{self.directory} has no {purpose} key; {fix}")
        return ring

    @cached_property
    def url(self) -> str:
        """Where others reach the node."""
        serve = self.settings.serve
        if serve is None:
            raise SettingsError("serve", "the node serves nothing", 'Add [serve] listen = "127.0.0.1:8471".')
        return serve.url or f"http://{serve.listen}"

    @cached_property
    def peer_url(self) -> str:
        """Where the other sites of its region reach the node; raises SettingsError where it is no site."""
        intake = self.settings.intake
        if intake is None:
            raise SettingsError("intake", "the node is no site of a region", "Add a table [intake].")
        return intake.peer or f"https://{intake.peer_listen}"

    @cached_property
    def pin(self) -> bytes:
        """The payload of the pinned first charter; raises SettingsError where there is none yet."""
        path = self.directory / self.settings.pin
        try:
            return path.read_bytes().rstrip(b"\n")
        except OSError as error:
            raise SettingsError("pin", f"{path}: {error.strerror}", "Put the first charter there.") from error


def purpose_of(name: str) -> str | None:
    """What a key is for, by its name: "release" for release and release-2; None where no key has such a name."""
    match = re.fullmatch(_KEY_NAME, name)
    return match[1] if match else None


def is_entitled(charter: Charter, kid: str, uses: Iterable[Use], index: int) -> bool:
    """Whether the charter counts a key at an entry for any of the uses."""
    key = charter.key(kid)
    return key is not None and (key.stops is None or key.stops > index) and bool(set(uses) & set(key.uses))


def _generation(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 1


def open_node(directory: Path) -> Node:
    """Open a node directory; raises SettingsError naming the member of node.toml that is wrong."""
    path = directory / SETTINGS_FILE
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(str(path), str(error.strerror), "Make a node with: glasshouse init.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(str(path), f"is not TOML: {error}", "Mend the line named.") from error
    with named_fields(str(path)):
        return Node(directory, NodeSettings.model_validate(document))


@contextmanager
def named_fields(place: str) -> Iterator[None]:
    """Say which setting is wrong and why: SettingsError instead of pydantic's ValidationError."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{place}: {field}", first["msg"], "See the node.toml page of the documentation."
        ) from error
