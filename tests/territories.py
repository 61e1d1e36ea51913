"""An initiative with a region: a vendor with a ledger and two sites, a council that guards keys, and members who vote.

Real nodes and real processes, as few as a region needs.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.note import parse_note
from initiative import TERMS, command, until
from world import ORIGIN

from glasshouse.cli.demo.stage import Stage, answers, free_ports
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError

# Node → party, site, roles.
NODES = {
    "acme": ("acme", "vevey:CH:Vevey", ("ledger", "conveyor", "member")),
    "lab": ("lab", "bern:CH:Bern", ("rebuilder", "auditor", "member")),
    "second": ("second", "oslo:NO:Oslo", ("rebuilder", "auditor")),
    "council": ("council", "vienna:AT:Vienna", ("member", "custody")),
    "w1": ("w1", "berlin:DE:Berlin", ("witness",)),
    "w2": ("w2", "lisbon:PT:Lisbon", ("witness",)),
    "zurich-1": ("acme", "zurich-1:CH:Zurich 1", ("intake",)),
    "zurich-2": ("acme", "zurich-2:CH:Zurich 2", ("intake",)),
}
# The same before its data moves: Australia's lies in Moscow.
BEFORE = {**NODES, "moscow": ("acme", "moscow:RU:Moscow", ("intake",))}
SERVERS = ("w1", "w2", "acme", "council")
SITES = ("zurich-1", "zurich-2")
REGION = """
[regions.au]
name = "Australia"
countries = ["AU"]
sites = ["zurich-1", "zurich-2"]
replicas = 2
when_short = "refuse"
interval = 86400
custody = {mode = "dual", party = "council"}
[regions.au.categories]
suspicious = {kind = "file", retention = 31536000}
unknown = {kind = "file", retention = 2592000}
telemetry = {kind = "telemetry", retention = 7776000}
"""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The running nodes."""

    stage: Stage

    def run(self, node: str, *words: str | Path) -> dict[str, Any]:
        """A command of a node's, in its directory, as its JSON answer."""
        return command(self.stage.node(node), *words)

    def url(self, node: str) -> str:
        document = json.loads((self.stage.node(node) / "card.json").read_bytes())
        for member in ("intake", "ledger", "custody", "witness"):
            if member in document:
                return str(document[member]["url"])
        raise KeyError(node)

    def serve(self, *nodes: str) -> None:
        """Start nodes and wait until they answer."""
        for node in nodes:
            self.stage.start(node, "serve")
        for node in nodes:
            self.stage.wait(f"{node} serves", lambda node=node: answers(self.url(node)), 60.0)  # type: ignore[misc]

    def published(self) -> int:
        self.stage.check_alive()
        try:
            with LedgerClient(self.url("acme")) as client:
                return parse_checkpoint(parse_note(client.checkpoint()).text).size
        except LedgerError:
            return 0

    def version(self) -> int:
        """Which charter is in force."""
        found = self.run("acme", "charter", "history", "--ledger", self.url("acme"))
        return int(found["charters"][-1]["version"])

    def amend(self, patch: Path) -> None:
        """Acme proposes, the council votes; returns once it is in force."""
        wanted = self.version() + 1
        proposed = self.run("acme", "charter", "amend", patch)["id"]
        until(lambda: proposed in self.run("acme", "charter", "history", "--ledger", self.url("acme"))["open"])
        self.run("council", "charter", "vote", proposed)
        until(lambda: self.version() == wanted)

    def enrol(self, name: str = "kookaburra", country: str = "AU") -> Path:
        """A customer's directory, its key and its token known at both sites."""
        directory = self.stage.root / name
        pin = ("--charter", self.stage.pin)
        command(self.stage.root, "customer", "profile", directory, "--country", country, *pin)
        more = ("--country", country, "--key", (directory / "customer.pub").read_text().strip())
        made = self.run("zurich-1", "customer", "add", name, *more)
        self.run("zurich-2", "customer", "add", name, *more, "--token-sha256", made["token_sha256"])
        token = directory / "token"
        token.touch(0o600)
        token.write_text(made["token"])
        return directory


@contextlib.contextmanager
def running(
    directory: Path,
    region: str = REGION,
    *,
    sites: Sequence[str] = SITES,
    cast: Mapping[str, tuple[str, str, tuple[str, ...]]] = NODES,
) -> Iterator[Nodes]:
    """The founded initiative of this cast, with its ledger, witnesses, custodian and these of its sites running."""
    with Stage(directory, lambda _: None) as stage:
        stage.clear()
        ports = iter(free_ports(2 * len(cast)))
        for node, means in cast.items():
            make(stage, node, next(ports), next(ports), means)
        terms, signed = stage.root / "terms.toml", stage.root / "signed.json"
        terms.write_text(TERMS + region)
        cards = [stage.node(node) / "card.json" for node in cast]
        command(stage.root, "charter", "draft", terms, *cards, "--out", signed)
        for member in ("acme", "council"):
            command(stage.root, "charter", "sign", signed, "--node", stage.node(member), "--out", signed)
        command(stage.root, "charter", "pin", signed, "--out", stage.pin)
        for node in cast:
            (stage.node(node) / "charter.json").write_bytes(stage.pin.read_bytes())
        command(stage.root, "ledger", "create", signed, "--node", stage.node("acme"))
        nodes = Nodes(stage=stage)
        nodes.serve("w1", "w2", "acme")
        until(lambda: nodes.published() > 0)
        nodes.serve("council", *sites)
        yield nodes
        stage.check_alive()


def make(stage: Stage, node: str, port: int, peer_port: int, means: tuple[str, str, tuple[str, ...]]) -> None:
    party, site, roles = means
    words = [word for role in roles for word in ("--role", role)]
    if node in SERVERS or "intake" in roles:
        words += ["--listen", f"127.0.0.1:{port}"]
    if "intake" in roles:
        words += ["--region", "au", "--peer-listen", f"127.0.0.1:{peer_port}"]
    if "ledger" in roles:
        words += ["--origin", ORIGIN]
    command(stage.root, "init", stage.node(node), "--party", party, "--name", party.title(), "--site", site, *words)
