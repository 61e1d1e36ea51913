"""Two real sites of a region in the test's process: own PostgreSQL, own vault, own keys, TLS between them."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from glasshouse_verify.dsse import Envelope, parse_envelope, verify_envelope
from glasshouse_verify.receipt import Receipt
from glasshouse_verify.region import Category, Custody, Kind, Mode, Region, RegionSite, Shortage
from glasshouse_verify.statement import parse_statement
from gotools import free_port
from ledgers import until
from world import digest

from glasshouse.parties.certificates import create_peer, load_certificates
from glasshouse.parties.signer import FileSigner
from glasshouse.regions.errors import AlreadyStored
from glasshouse.regions.intake import Declared, Intake, Stored
from glasshouse.regions.journal import heads
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.peer_server import peer_config
from glasshouse.regions.peers import Credentials
from glasshouse.regions.placing import Place, SiteRules
from glasshouse.regions.seal import Opener
from glasshouse.regions.vault import DirectoryVault, Vault
from glasshouse.regions.wrapping import Wrapping, open_custody
from glasshouse.storage.db import Database

REGION = "au"
CHARTER = digest(b"charter")
CUSTODIAN = X25519PrivateKey.from_private_bytes(bytes(range(32)))
T = TypeVar("T")


def clear(database: Database) -> None:
    """As if no site had ever used this database."""
    with database.transaction() as connection:
        connection.execute("drop schema if exists regions cascade")
        if connection.execute("select to_regclass('public.glasshouse_migration')").fetchone() != (None,):
            connection.execute("delete from public.glasshouse_migration where room = 'regions'")


@dataclass
class Ground:
    """What two sites have before they start: keys, certificates, ports, and the rules that name them."""

    directory: Path
    when_short: Shortage = Shortage.REFUSE
    custody: Mode = Mode.DUAL
    replicas: int = 2
    names: tuple[str, ...] = ("zurich-1", "zurich-2")
    ports: dict[str, int] = field(default_factory=dict)
    signers: dict[str, FileSigner] = field(default_factory=dict)
    certificates: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            keys = self.keys(name)
            keys.mkdir(parents=True, exist_ok=True)
            self.ports.setdefault(name, free_port())
            seed = hashlib.sha256(name.encode()).digest()
            self.signers[name] = FileSigner(Ed25519PrivateKey.from_private_bytes(seed))
            if (keys / "peer.pem").is_file():
                (shown,) = load_certificates(keys / "peer.pem")
                self.certificates[name] = shown.public_bytes(Encoding.DER)
                continue
            peer = f"https://127.0.0.1:{self.ports[name]}"
            # One vendor, as with real nodes: the names in the certificates do not tell the sites apart.
            self.certificates[name] = create_peer(keys, "Acme", peer, int(time.time()))
            FileKeyring(keys).next_epoch()

    def keys(self, name: str) -> Path:
        return self.directory / name / "keys"

    def credentials(self, name: str) -> Credentials:
        return Credentials(certificate=self.keys(name) / "peer.pem", key=self.keys(name) / "peer.key")

    def region(self) -> Region:
        dual = {
            "party": "council",
            "url": "https://custody.council.example",
            "key": CUSTODIAN.public_key().public_bytes_raw(),
        }
        return Region(
            name="Australia",
            countries=("AU",),
            epoch=1,
            sites={
                name: RegionSite(
                    party="acme",
                    url=f"http://127.0.0.1/{name}",
                    peer=f"https://127.0.0.1:{self.ports[name]}",
                    certificate=self.certificates[name],
                )
                for name in self.names
            },
            replicas=self.replicas,
            when_short=self.when_short,
            custody=Custody(mode=self.custody, **(dual if self.custody == Mode.DUAL else {})),
            categories={
                "suspicious": Category(kind=Kind.FILE, retention=31_536_000),
                "telemetry": Category(kind=Kind.TELEMETRY, retention=7_776_000),
            },
            interval=86_400,
        )

    def rules(self, name: str) -> SiteRules:
        return SiteRules(
            region=REGION,
            site=name,
            party="acme",
            charter=CHARTER,
            rules=self.region(),
            signers={site: frozenset([self.signers[site].public]) for site in self.names},
        )

    def place(self, name: str, database: Database, vault: Vault | None = None) -> Place:
        rules = self.rules(name)
        return Place(
            database=database,
            vault=vault or DirectoryVault(self.directory / name / "vault"),
            keys=FileKeyring(self.keys(name)),
            signer=self.signers[name],
            rules=lambda: rules,
        )


class Loop:
    """An event loop in a thread, for tests that are not coroutines themselves."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@dataclass
class Site:
    name: str
    ground: Ground
    place: Place
    intake: Intake
    loop: Loop

    def upload(self, content: bytes, *, customer: str = "kookaburra", **changes: Any) -> Stored:
        return self.loop.run(put(self.intake, declared(content, customer=customer, **changes), content))

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.place.database.transaction() as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def content(self, handle: str) -> bytes:
        """What the site and the custodian together make of the object as it is stored here."""
        query = "select wrapped_by, encode(custodian, 'hex'), wrapped from regions.object where handle = %s"
        ((key_id, custodian, blob),) = self.rows(query, bytes.fromhex(handle))
        wrapping = Wrapping(key_id=key_id, blob=blob, custodian=custodian)
        opened = open_custody((CUSTODIAN,), blob, handle=handle, region=REGION) if custodian else None
        key = self.place.wrapper().unwrap(wrapping, handle=handle, region=REGION, opened=opened)
        opener = Opener(key, handle=handle, region=REGION)
        return b"".join(opener.open(self.place.vault.stream(handle)))


def declared(content: bytes, **changes: Any) -> Declared:
    usual = Declared(
        customer="kookaburra",
        country="AU",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        category="suspicious",
        metadata={"name": "sample.bin"},
    )
    return replace(usual, **changes)


async def put(intake: Intake, what: Declared, content: bytes, *, piece: int = 1 << 16) -> Stored:
    """Upload; content that was stored before is answered alike, whenever that is found out."""
    try:
        upload = await intake.begin(what)
    except AlreadyStored as error:
        return Stored(receipt=error.receipt, handle=receipt_of(error.receipt).handle, created=False)
    async with upload:
        for start in range(0, len(content), piece):
            await upload.write(content[start : start + piece])
        return await upload.finish()


@contextlib.contextmanager
def running_site(ground: Ground, name: str, database: Database, vault: Vault | None = None) -> Iterator[Site]:
    place = ground.place(name, database, vault)
    loop = Loop()
    try:
        intake = Intake(place, ground.credentials(name))
        with intake:
            config = peer_config(
                place, intake.replicas, ground.credentials(name), host="127.0.0.1", port=ground.ports[name]
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            until(lambda: server.started)
            try:
                yield Site(name=name, ground=ground, place=place, intake=intake, loop=loop)
            finally:
                server.should_exit = True
                thread.join()
    finally:
        loop.close()


@contextlib.contextmanager
def running_region(
    ground: Ground, *databases: Database, vaults: tuple[Vault | None, ...] = (None, None)
) -> Iterator[tuple[Site, Site]]:
    """Both sites, each knowing that the other is there."""
    for database in databases:
        clear(database)
    with (
        running_site(ground, ground.names[0], databases[0], vaults[0]) as one,
        running_site(ground, ground.names[1], databases[1], vaults[1]) as other,
    ):
        until(lambda: one.intake.replication.able and other.intake.replication.able)
        yield one, other


def receipt_of(envelope: bytes) -> Receipt:
    parsed = parse_statement(parse_envelope(envelope).payload).predicate
    assert isinstance(parsed, Receipt)
    return parsed


def signing_sites(ground: Ground, envelope: bytes) -> set[str]:
    """The sites whose valid signatures a receipt bears."""
    parsed: Envelope = parse_envelope(envelope)
    keys = {signer.keyid: signer.public for signer in ground.signers.values()}
    signed = verify_envelope(parsed, keys)
    return {name for name, signer in ground.signers.items() if signer.keyid in signed}


def honoured(receipt: bytes, *sites: Site) -> bool:
    """Whether every site holds, under its receipt, the content that the receipt names."""
    said = receipt_of(receipt)
    assert signing_sites(sites[0].ground, receipt) >= {site.name for site in sites}
    return all(hashlib.sha256(site.content(said.handle)).hexdigest() == said.sha256 for site in sites)


def same_journals(*sites: Site) -> bool:
    one, *others = (heads(site.place.database) for site in sites)
    return all(
        {name: (head.position, head.chain) for name, head in one.items()}
        == {name: (head.position, head.chain) for name, head in other.items()}
        for other in others
    )
