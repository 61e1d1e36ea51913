"""A region as its customers meet it: two real sites with their public interface, a charter that names them."""

import base64
import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.charter import Link
from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.region import Category, Kind, Region, RegionSite
from gotools import free_port
from initiative import until
from sites import REGION, Ground, Site, running_region
from world import World, charter_key

from glasshouse.parties.signer import FileSigner
from glasshouse.regions.client import SiteClient
from glasshouse.regions.customers.accounts import Accounts
from glasshouse.regions.customers.holdings import Holdings
from glasshouse.regions.customers.pace import Pace
from glasshouse.regions.destination import Destination, destination_of
from glasshouse.regions.placing import SiteRules
from glasshouse.regions.reception import Site as Reception
from glasshouse.regions.reputation import Indicators, ListSource
from glasshouse.regions.server import create_site_app
from glasshouse.regions.site import Configured
from glasshouse.regions.web import Tempo
from glasshouse.storage.db import Database

USES = ["receipt", "inventory", "access"]
LISTED = "ba4e063472a2559b4baa82d5272304a1cdae6968145c5ef221295c90e88458e2"
INDICATORS = Indicators(
    {bytes.fromhex(LISTED): "Dark Caracal"}, ListSource(sha256="0" * 64, product="acme/signature-base", version="1")
)
KEY = FileSigner(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"kookaburra").digest()))


@dataclass
class Territory(Ground):
    """Two sites for Australia, and elsewhere one for Europe, which is a server of the test's."""

    elsewhere: str = "http://127.0.0.1:9"
    countries: tuple[str, ...] = ("AU", "NZ")
    public_ports: dict[str, int] = field(default_factory=dict)
    _world: World | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.names:
            self.public_ports.setdefault(name, free_port())

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.public_ports[name]}"

    def region(self) -> Region:
        region = super().region()
        sites = {name: replace(site, url=self.url(name)) for name, site in region.sites.items()}
        more = {"unknown": Category(kind=Kind.FILE, retention=86_400)}
        categories = {**region.categories, **more}
        return replace(region, sites=sites, categories=categories, countries=self.countries)

    def rules(self, name: str) -> SiteRules:
        return replace(super().rules(name), charter=self.link.id)

    @property
    def world(self) -> World:
        """A charter that says all of this."""
        if self._world is None:
            self._world = World(**self._changes())
        return self._world

    @property
    def link(self) -> Link:
        return self.world.history.chain.newest

    def _changes(self) -> dict[str, Any]:
        keys = {s.keyid: charter_key(s, name, USES) for name, s in self.signers.items()}
        europe = RegionSite(party="acme", url=self.elsewhere, peer="https://127.0.0.1:9", certificate=b"DER")
        regions = {
            REGION: self.region(),
            "eu": replace(self.region(), name="Europe", countries=("DE",), sites={"geneva": europe}, replicas=1),
        }
        return {
            "parties": {"acme": {"keys": keys}, "council": {"name": "Council", "roles": [], "keys": {}}},
            "sites": {name: {"name": name, "jurisdiction": "CH"} for name in (*self.names, "geneva")},
            "regions": {name: encode(region) for name, region in regions.items()},
        }


def honest(territory: Territory, name: str = "zurich-1") -> Configured:
    """A site configured as the charter has it."""
    shown = territory.region().sites[name]
    return Configured(
        party="acme",
        site=name,
        jurisdiction="CH",
        region=REGION,
        url=shown.url,
        peer=shown.peer,
        certificate=shown.certificate,
        custody="dual",
        keyids=(territory.signers[name].keyid,),
    )


@dataclass(frozen=True, kw_only=True)
class Counter:
    """One site with its public interface."""

    site: Site
    accounts: Accounts
    reception: Reception
    url: str

    def ask(self, method: str, path: str, token: str | None, **more: Any) -> httpx.Response:
        headers = {**({} if token is None else {"authorization": f"Bearer {token}"}), **more.pop("headers", {})}
        return httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, **more)

    def send(self, content: bytes, token: str | None, **metadata: Any) -> httpx.Response:
        sha256 = metadata.pop("sha256", hashlib.sha256(content).hexdigest())
        headers = {"glasshouse-metadata": header({"category": "suspicious", **metadata})}
        return self.ask("PUT", f"/intake/v1/files/{sha256}", token, headers=headers, content=content)

    def objects(self) -> int:
        """How many objects the site's database has, and whether as many lie in its vault."""
        ((rows,),) = self.site.rows("select count(*) from regions.object where state = 'held'")
        assert len(list(self.site.place.vault.handles())) == rows
        return int(rows)

    def counts(self) -> tuple[int, int]:
        """Received and refused at this site, once what is counted is written down."""
        ((received, refused),) = self.site.rows(
            "select received, refused from regions.journal where site = %s", self.site.name
        )
        return int(received), int(refused)


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Both sites, and one customer that both know."""

    territory: Territory
    counters: Mapping[str, Counter]
    token: str
    destination: Destination

    @property
    def first(self) -> Counter:
        return self.counters["zurich-1"]

    @property
    def second(self) -> Counter:
        return self.counters["zurich-2"]

    def client(self, token: str | None = None) -> SiteClient:
        return SiteClient(self.destination, token or self.token, key=KEY)

    def enrol(self, name: str, country: str = "AU") -> str:
        """A customer that both sites know; its token."""
        token = f"gh_token_of_{name}_{len(name)}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        for counter in self.counters.values():
            counter.accounts.enrol(name, country, KEY.public, digest)
        return token


def header(metadata: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(format_json(dict(metadata))).decode().rstrip("=")


@contextlib.contextmanager
def serving(app: Any, port: int) -> Iterator[None]:
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()


@contextlib.contextmanager
def counter_of(territory: Territory, site: Site, **changes: Any) -> Iterator[Counter]:
    with site.place.database.transaction() as connection:
        connection.execute("drop schema if exists customers cascade")
        connection.execute("delete from public.glasshouse_migration where room = 'customers'")
    accounts = Accounts(site.place.database)
    usual = Reception(
        rules=site.place.rules,
        charter=lambda: territory.link.charter,
        intake=site.intake,
        accounts=accounts,
        holdings=Holdings(site.place.database, REGION),
        pace=Pace(1_000.0),
        indicators=INDICATORS,
        tempo=Tempo(silence_seconds=1.0, grace_seconds=1.0),
    )
    reception = replace(usual, **changes)
    with serving(create_site_app(reception), territory.public_ports[site.name]):
        yield Counter(site=site, accounts=accounts, reception=reception, url=territory.url(site.name))


@contextlib.contextmanager
def counters(
    directory: Path, *databases: Database, elsewhere: str = "http://127.0.0.1:9", **changes: Any
) -> Iterator[Counters]:
    """Both sites of Australia, open to customers; `changes` are to what their interfaces stand on."""
    territory = Territory(directory, elsewhere=elsewhere)
    with running_region(territory, *databases) as sites, contextlib.ExitStack() as stack:
        open_ = {site.name: stack.enter_context(counter_of(territory, site, **changes)) for site in sites}
        destination = destination_of(territory.link, "AU")
        made = Counters(territory=territory, counters=open_, token="", destination=destination)
        yield replace(made, token=made.enrol("kookaburra"))
