"""A region that moves: moscow takes for Australia, zurich-1 and zurich-2 are to; real sites, and a charter that it.

Everything that one process may hold: each site has its own database, vault and keys, goes by the charter in force and
by the fences that it knows of, and learns of both while it runs. The custodian is one that counts, without a server.
"""

import contextlib
import hashlib
from collections import Counter as Counting
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from customers import KEY, Counter, Territory, counter_of
from glasshouse_verify.charter import Link
from glasshouse_verify.codec import encode
from glasshouse_verify.region import Moving, Origin, Region
from ledgers import until
from sites import CUSTODIAN, REGION, Site, clear, running_site
from world import DAY, NOW

from glasshouse.regions import journal
from glasshouse.regions.client import SiteClient
from glasshouse.regions.custody_request import Item, Reason
from glasshouse.regions.destination import Destination, destination_of
from glasshouse.regions.errors import CustodyUnavailable
from glasshouse.regions.fences import Fence, Fences
from glasshouse.regions.journal import Kind, Note
from glasshouse.regions.keeping.fencing import fence_of
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.placing import Place
from glasshouse.regions.site import Configured, SiteStanding
from glasshouse.regions.vault import DirectoryVault, Vault
from glasshouse.regions.wrapping import open_custody
from glasshouse.storage.db import Database

OLD, NEW, MOVE = "moscow", ("zurich-1", "zurich-2"), "au-2026"


@dataclass
class Desk:
    """The custodian: opens its layer and counts, by job."""

    opened: Counting[str] = field(default_factory=Counting)
    away: bool = False

    def unwrap(self, items: Sequence[Item], reason: Reason) -> tuple[bytes, ...]:
        if self.away:
            raise CustodyUnavailable("the custodian is away")
        self.opened[str(reason.job)] += len(items)
        return tuple(open_custody((CUSTODIAN,), item.blob, handle=item.handle, region=REGION) for item in items)


@dataclass
class Departure(Territory):
    """The charter: Australia at moscow; `open` says that it moves to Zurich, `close` that it has."""

    names: tuple[str, ...] = (OLD, *NEW)
    desk: Desk = field(default_factory=Desk)
    standings: dict[str, SiteStanding] = field(default_factory=dict)

    def everywhere(self) -> Region:
        return super().region()

    def region(self) -> Region:
        region = self.everywhere()
        return replace(region, sites={OLD: region.sites[OLD]}, replicas=1)

    def moving(self, **changes: Any) -> Moving:
        sites = self.everywhere().sites
        usual = Moving(
            id=MOVE,
            source=Origin.SITE,
            site=OLD,
            to={name: sites[name] for name in NEW},
            replicas=2,
            due=NOW + 90 * DAY,
            quarantine=7 * DAY,
            watch=30 * DAY,
            supervisor="lab",
        )
        return replace(usual, **changes)

    def open(self, **changes: Any) -> Link:
        return self.amend({"moving": encode(self.moving(**changes))})

    def close(self) -> Link:
        to = encode(self.moving())["to"]
        return self.amend({"moving": None, "replicas": 2, "sites": {OLD: None, **to}})

    def amend(self, region: dict[str, Any]) -> Link:
        """Every running site learns of it."""
        self.world.amend({"regions": {REGION: region}})
        for standing in self.standings.values():
            standing.renew(self.link)
        return self.link

    def configured(self, name: str) -> Configured:
        shown = self.everywhere().sites[name]
        return Configured(
            party="acme",
            site=name,
            jurisdiction="CH",
            region=REGION,
            url=shown.url,
            peer=shown.peer,
            certificate=shown.certificate,
            custody=self.custody,
            keyids=(self.signers[name].keyid,),
        )

    def place(self, name: str, database: Database, vault: Vault | None = None) -> Place:
        fences = Fences()
        journal.update_schema(database)
        fences.refresh(database, name)
        standing = SiteStanding(self.configured(name), self.link, fences)
        self.standings[name] = standing
        return Place(
            database=database,
            vault=vault or DirectoryVault(self.directory / name / "vault"),
            keys=FileKeyring(self.keys(name)),
            signer=self.signers[name],
            rules=standing.rules,
            fences=fences,
            custodian=lambda: self.desk,
        )


@dataclass
class Move:
    """The sites by name, as far as they run, with their counters for customers."""

    ground: Departure
    databases: dict[str, Database]
    stack: contextlib.ExitStack
    sites: dict[str, Site] = field(default_factory=dict)
    counters: dict[str, Counter] = field(default_factory=dict)
    running: dict[str, contextlib.ExitStack] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        for name in names:
            stack = self.stack.enter_context(contextlib.ExitStack())
            self.sites[name] = stack.enter_context(running_site(self.ground, name, self.databases[name]))
            self.counters[name] = stack.enter_context(counter_of(self.ground, self.sites[name]))
            self.running[name] = stack

    def stop(self, name: str) -> None:
        self.running.pop(name).close()
        self.ground.standings.pop(name, None)

    @property
    def old(self) -> Site:
        return self.sites[OLD]

    @property
    def new(self) -> tuple[Site, Site]:
        return self.sites[NEW[0]], self.sites[NEW[1]]

    def open(self) -> None:
        """The charter opens the move, and the new sites begin to serve."""
        self.ground.open()
        self.start(*NEW)

    def caught_up(self) -> bool:
        head = journal.heads(self.old.place.database)[OLD]
        return all(
            (there := journal.heads(site.place.database).get(OLD)) is not None
            and (there.position, there.chain) == (head.position, head.chain)
            for site in self.new
        )

    def wait(self) -> None:
        until(self.caught_up, timeout_seconds=60)

    def fence(self) -> Fence:
        """The old site takes nothing more; returns once the new ones take."""
        note = Note(kind=Kind.FENCED, body={"relocation": MOVE})
        self.old.intake.committer.append(note).result(60)
        until(lambda: all(site.place.rules().state == "taking" for site in self.new), timeout_seconds=60)
        found = fence_of(self.old.place, MOVE)
        assert found is not None
        return found

    def enrol(self, name: str = "kookaburra") -> str:
        """A customer that every running site knows; its token."""
        token = f"gh_token_of_{name}_{len(name)}"
        for counter in self.counters.values():
            counter.accounts.enrol(name, "AU", KEY.public, hashlib.sha256(token.encode()).hexdigest())
        return token

    @property
    def destination(self) -> Destination:
        *earlier, link = self.ground.world.history.chain.links
        return destination_of(link, "AU", earlier)

    def client(self, token: str, **changes: Any) -> SiteClient:
        return SiteClient(self.destination, token, **changes)


@contextlib.contextmanager
def moving(
    directory: Path, *databases: Database, ground: type[Departure] = Departure, **changes: Any
) -> Iterator[Move]:
    """Moscow takes; the new sites have not been started, nor is the move open."""
    for database in databases:
        clear(database)
    with contextlib.ExitStack() as stack:
        made = ground(directory, replicas=2, **changes)
        move = Move(made, dict(zip(made.names, databases, strict=True)), stack)
        move.start(OLD)
        yield move
