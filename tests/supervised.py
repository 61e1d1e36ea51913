"""A move in a ledger in memory whose objects really lie in the vaults of two destinations, and its supervisor, `lab`.

Each destination is a directory vault with lists of its own and an interface of its own, served over HTTP; what a cheat
changes is what they hold, or what they say, before or after `arrive`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glasshouse_verify.codec import Digest
from glasshouse_verify.foreign import store_row
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Step, draw
from glasshouse_verify.row import Row
from leaving import MOVE, SECRET, TO, Leaving
from ledgers import served
from world import digest

from glasshouse.regions.inventory_tables import commitment_of
from glasshouse.regions.seal import Sealer
from glasshouse.relocation.examining import Ciphertexts, Found
from glasshouse.relocation.giving import ROWS, SEALED, Giver
from glasshouse.relocation.lists import RowList, ciphertext_row, in_order, keep_list
from glasshouse.relocation.opening_client import OpeningClient
from glasshouse.relocation.opening_server import create_opening_app
from glasshouse.relocation.openings import ObjectFacts, Opening, VersionFacts
from glasshouse.relocation.sampling import Destination, Sampled, Sampling, resample, sample
from glasshouse.relocation.stores.interface import Source
from glasshouse.relocation.stores.opening import open_store

RETENTION = 31_536_000
MARKED = b"deleted/once"


@dataclass
class Held:
    """What a destination holds of a move: its vault, and what opens it. See giving.Holdings."""

    site: str
    directory: Path
    openings: dict[str, Opening] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lists: dict[str, RowList] = field(default_factory=dict)

    @property
    def vault(self) -> Path:
        return self.directory / "vault"

    def path(self, handle: str) -> Path:
        return self.vault / handle[0] / handle

    def seal(self, handle: str, content: bytes, **facts: Any) -> None:
        """Keep an object under a data key of its own."""
        sealer = Sealer(handle=handle, region="au", metadata={"name": handle[:8]})
        self.path(handle).parent.mkdir(parents=True, exist_ok=True)
        self.path(handle).write_bytes(sealer.update(content) + sealer.finish())
        self.openings[handle] = Opening(
            handle=Digest(handle), data_key=sealer.key, sealed=Digest(sealer.sealed.sealed_sha256), **facts
        )

    def sealed(self) -> Iterator[Row]:
        for path in self.vault.glob("?/*"):
            data = path.read_bytes()
            yield ciphertext_row(path.name, digest(data), len(data))

    def list(self, name: str) -> RowList:
        return self.lists[name]

    def open(self, handles: Sequence[str]) -> tuple[Opening, ...]:
        self.asked += handles
        return tuple(self.openings[handle] for handle in handles)


class Supervised(Leaving):
    """`count` objects of the region on their way to Zurich; of a store, with a version that is a delete marker."""

    def __init__(self, directory: Path, *, count: int = 40, source: Origin = Origin.SITE) -> None:
        super().__init__(source)
        self.directory = directory
        self.held = {site: Held(site, directory / site) for site in TO}
        self.contents = [b"content %d" % number * (1 + number % 3 * 10_000) for number in range(count)]
        self.rows: dict[str, Row] = {}
        self.draws: int | None = 400
        for number, content in enumerate(self.contents):
            self.take(number, content)
        if source == Origin.STORE:
            row = store_row(SECRET, MARKED, 1, None, 0)
            self.rows[row["key"]] = row
            for held in self.held.values():
                version = VersionFacts(key=MARKED, ordinal=1, marker=True)
                held.openings[row["key"]] = Opening(handle=row["key"], version=version)

    def take(self, number: int, content: bytes) -> None:
        if self.source == Origin.STORE:
            key = b"a//%d" % number
            row = store_row(SECRET, key, 0, digest(content), len(content))
            facts: dict[str, Any] = {"version": VersionFacts(key=key, ordinal=0, marker=False)}
        else:
            says = ObjectFacts(
                category="suspicious", customer="kookaburra", retention=RETENTION, salt=digest(b"salt %d" % number)
            )
            told = (says.customer, says.category, says.retention, bytes.fromhex(digest(content)), len(content))
            commitment = commitment_of("au", (*told, bytes.fromhex(says.salt)))
            row = {"commitment": commitment, "key": digest(b"handle %d" % number)}
            facts = {"object": says}
        self.rows[row["key"]] = row
        for held in self.held.values():
            held.seal(row["key"], content, **facts)

    # The course

    def arrive(self, *, until: Step = Step.REVEAL) -> None:
        """Everything that comes before the sample; each destination lists what it has."""
        for name, step in self.steps_to_sample():
            self.later(600)
            step()
            if name == until:
                return

    def steps_to_sample(self) -> list[tuple[Step, Callable[[], object]]]:
        rows = self.row_list(self.directory).sharded
        size = sum(map(len, self.contents))
        here = {"site": "moscow"}
        told = {**here, "epoch": 1, "rows": rows, "size": size}
        scope = {**here, "to": TO, "source": self.source, "document": digest(b"scope")}

        def opened() -> None:
            self.say(Step.OPEN, **here, epoch=1, charter=self.history.chain.newest.id)

        return [
            (Step.SCOPE, lambda: self.say(Step.SCOPE, **scope)),
            (Step.PROGRAMME, self.open),
            (Step.COMMITMENT, lambda: (self.commit("lab"), self.commit("ngo"))),
            (Step.OPEN, opened),
            (Step.SOURCE, lambda: self.say(Step.SOURCE, **told)),
            (Step.LISTING, lambda: self.say(Step.LISTING, "lab", "lab", **here, rows=rows)),
            (Step.FENCE, lambda: self.say(Step.FENCE, **told, refused=0, at_ms=self.now * 1_000)),
            (Step.ARRIVAL, lambda: [self.say_arrival(site) for site in TO]),
            (Step.REVEAL, lambda: (self.reveal("lab"), self.reveal("ngo"))),
        ]

    def say_arrival(self, site: str) -> None:
        held = self.held[site]
        held.lists[ROWS] = self.row_list(held.directory)
        held.lists[SEALED] = keep_list(held.directory / SEALED, in_order(held.sealed(), held.directory))
        rows, sealed = (held.lists[name].sharded for name in (ROWS, SEALED))
        size = sum(map(len, self.contents))
        self.say(Step.ARRIVAL, "acme", site, site=site, rows=rows, sealed=sealed, size=size, at_ms=self.now * 1_000)

    def row_list(self, directory: Path) -> RowList:
        return keep_list(directory / ROWS, in_order(self.rows.values(), directory))

    def erase(self) -> str:
        """All that follows on the countersignature, up to the erasure; its statement."""
        self.say(Step.QUARANTINE, site="moscow", until=self.now + 8 * 86_400)
        self.later(9 * 86_400)
        self.amend(self.closing())
        empty = keep_list(self.directory / "empty", []).sharded
        members = {"charter": self.history.chain.newest.id, "erased": {"objects": 1}, "remains": ()}
        return self.say(Step.ERASURE, site="moscow", rows=empty, **members)

    def drawn(self, site: str, after: str = "") -> list[str]:
        """The handles that the seed draws at a site."""
        places = set(draw(self.course.seed(after), site, len(self.rows), self.draws or 0))
        return [handle for place, handle in enumerate(sorted(self.rows)) if place in places]

    # The supervisor

    @contextlib.contextmanager
    def serving(self, stores: dict[str, Source] | None = None) -> Iterator["Supervisor"]:
        """Every destination served; `stores` are those that the supervisor reaches in another way."""
        with contextlib.ExitStack() as stack:
            givers = {site: stack.enter_context(contextlib.closing(self.giver(site))) for site in TO}
            urls = {site: stack.enter_context(served(create_opening_app(giver))) for site, giver in givers.items()}
            yield Supervisor(self, urls, givers, stores or {}, stack)

    def giver(self, site: str, **changes: Any) -> Giver:
        fields: dict[str, Any] = {
            "site": site,
            "signer": self.keys[site],
            "follow": lambda: self.history,
            "holdings": lambda _: self.held[site],
            "draws": lambda _: self.draws,
            "clock": lambda: self.now,
        }
        self.held[site].directory.mkdir(parents=True, exist_ok=True)
        return Giver(self.held[site].directory / "given.sqlite3", **(fields | changes))


@dataclass
class Supervisor:
    """`lab` at work, with its own way to every store."""

    world: Supervised
    urls: dict[str, str]
    givers: dict[str, Giver]
    stores: dict[str, Source]
    stack: contextlib.ExitStack
    seen: list[tuple[str, Found]] = field(default_factory=list)

    def asks(self, site: str, **changes: Any) -> OpeningClient:
        fields: dict[str, Any] = {
            "course": self.world.course,
            "site": site,
            "signer": self.world.keys["lab"],
            "directory": self.world.directory / "lab",
            "clock": lambda: self.world.now,
        }
        return self.stack.enter_context(OpeningClient(self.urls[site], **(fields | changes)))

    def destinations(self) -> list[Destination]:
        return [Destination(site=site, vault=Ciphertexts(store=self.store(site)), asks=self.asks(site)) for site in TO]

    def store(self, site: str) -> Source:
        return self.stores.get(site) or open_store(self.world.held[site].vault.as_uri())

    def how(self, **changes: Any) -> Sampling:
        fields: dict[str, Any] = {
            "draws": self.world.draws,
            "secret": SECRET if self.world.source == Origin.STORE else None,
            "progress": lambda site, found: self.seen.append((site, found)),
            "pause_seconds": 0.0,
        }
        return Sampling(**(fields | changes))

    def sample(self, **changes: Any) -> Sampled:
        world = self.world
        world.later(60)
        return sample(world.course, self.destinations(), party="lab", now=world.now, how=self.how(**changes))

    def resample(self, *cut: str, **changes: Any) -> Sampled:
        world = self.world
        world.later(60)
        return resample(world.course, self.destinations(), cut, party="lab", now=world.now, how=self.how(**changes))

    def log(self, sampled: Sampled) -> None:
        self.world.log(sampled.statement, "lab")


__all__ = ["MOVE", "SECRET", "TO", "Held", "Supervised", "Supervisor"]
