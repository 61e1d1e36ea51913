"""An initiative of real processes: a vendor's ledger, two witnesses, two auditors at work, and members' commands.

The statements about releases are made as in `world`, without building anything, and posted over HTTP under the keys of
the nodes: `acme/release` is the key called release of the node acme, `acme/release-2` the one that follows it.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glasshouse_verify.charter import Charter
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.dsse import parse_envelope, statement_id
from glasshouse_verify.evidence import Evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.note import Note, parse_note
from glasshouse_verify.report import Outcome, Report
from typer.testing import CliRunner
from world import ORIGIN, PLATFORM, PRODUCT, World, digest

from glasshouse.cli.app import build
from glasshouse.cli.demo.stage import Stage, free_ports
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.evidence import assemble
from glasshouse.ledger.history import History
from glasshouse.parties.node import open_node
from glasshouse.parties.signer import AgentSigner, Signer

PARTIES = {
    "acme": ("zurich-1:CH:Zurich", "ledger", "conveyor", "member"),
    "lab": ("bern:CH:Bern", "rebuilder", "auditor", "member"),
    "second": ("oslo:NO:Oslo", "rebuilder", "auditor"),
    "council": ("vienna:AT:Vienna", "member"),
    "w1": ("berlin:DE:Berlin", "witness"),
    "w2": ("lisbon:PT:Lisbon", "witness"),
}
NAMES = {"acme": "Acme Security"}
SERVERS, AUDITORS = ("w1", "w2", "acme"), ("lab", "second")
EXTRA = {"acme": ("--origin", ORIGIN), "lab": ("--proposes",)}
TERMS = f"""
initiative = "Rotation"
proposer = "acme"
[members]
parties = ["acme", "lab", "council"]
quorum = 2
[status]
parties = ["lab", "second"]
quorum = 2
maximum_age = 86400
[ledger]
faulty = 0
[products."{PRODUCT}"]
platforms = ["{PLATFORM}"]
channels = ["stable"]
reviewers = 0
[products."{PRODUCT}".gate]
rebuilders = ["lab", "second"]
quorum = 2
accept = ["identical"]
blind = false
build_in = ["CH"]
sign_in = ["CH"]
"""
PATIENCE_SECONDS = 60.0


class NodeKeys(dict[str, Signer]):
    """Signers by names such as acme/release-2, opened when first asked for."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage

    def __missing__(self, name: str) -> Signer:
        party, _, key = name.partition("/")
        node = open_node(self.stage.node(party))
        # A process loads a token's module once, for good: let that be another's.
        self[name] = node.agent(key) if key in node.settings.keys else node.signer(key)
        return self[name]

    def close(self) -> None:
        for signer in self.values():
            if isinstance(signer, AgentSigner):
                signer.close()


class Initiative(World):
    """The running initiative. What the test logs, and what the nodes log by themselves, is fed to `history`."""

    def __init__(self, stage: Stage, client: LedgerClient) -> None:
        self.stage, self.client = stage, client
        self.pin = stage.pin.read_bytes().rstrip(b"\n")
        self.history = History(self.pin)
        self.keys: Any = NodeKeys(stage)
        self.entries: list[bytes] = []
        self.openings = {}
        self.blobs = {digest(content): content for content in (b"pack", b"sbom", b"lock file")}
        self.put: set[str] = set()
        self.now = int(time.time())

    # The ledger as it runs

    @property
    def charter(self) -> Charter:
        return self.history.chain.newest.charter

    def note(self) -> Note:
        return parse_note(self.client.checkpoint())

    def published(self, size: int = 0) -> bool:
        """Whether so many entries are published, and no process has ended."""
        self.stage.check_alive()
        try:
            return parse_checkpoint(self.note().text).size >= size
        except LedgerError:
            return False

    def sync(self, size: int = 0) -> History:
        """Feed what is published, at least `size` entries."""
        until(lambda: self.published(size))
        for entry in self.client.entries(len(self.entries), parse_checkpoint(self.note().text).size):
            self.entries.append(entry)
            self.history.feed(entry)
        return self.history

    def post_entry(self, data: bytes) -> str:
        index = self.client.add(data)
        self.sync(index + 1)
        return statement_id(parse_envelope(data).payload)

    def newest(self, party: str, purpose: str) -> str:
        """The name of a party's newest key of a purpose."""
        return f"{party}/{open_node(self.stage.node(party)).newest_key_name(purpose)}"

    def ship(self, version: str, *, built_by: str | None = None) -> str:
        """Log source and release of a version whose only file is the version's name, with their blobs."""
        by, built_by = self.newest("acme", "release"), built_by or self.newest("acme", "conveyor")
        identity = self.release(version, shipped=version.encode(), name=f"{version}.whl", by=by, built_by=built_by)
        for sha in set(self.blobs) - self.put:
            self.client.put_blob(sha, self.blobs[sha])
            self.put.add(sha)
        return identity

    def countersign(self, release: str) -> None:
        """Log the rebuilds of both rebuilders."""
        for party in ("lab", "second"):
            self.rebuild(release, party, signer=self.newest(party, "rebuild"))

    def judged(self, version: str) -> Report:
        """What a customer with the pin sees now."""
        evidence = self.evidence(version.encode())
        return check_file(self.pin, evidence, digest(version.encode()), int(time.time()) + 1)

    def evidence(self, shipped: bytes = b"") -> Evidence:
        return assemble(self.client, self.pin, digest(shipped))

    def verified(self, version: str) -> None:
        """Wait until a customer may install it: the auditors' next status has to say so."""
        last: list[Report] = []

        def ready() -> bool:
            try:
                last[:] = [self.judged(version)]
            except LedgerError:
                return False
            return last[0].outcome == Outcome.VERIFIED

        until(ready, lambda: "; ".join(f"{c.claim}: {c.text}" for r in last for c in r.claims if c.outcome))

    # Members' commands

    def run(self, party: str, *words: str | Path) -> dict[str, Any]:
        """A command of a party's in its node's directory, as its JSON answer."""
        return command(self.stage.node(party), *words)

    def run_apart(self, party: str, *words: str | Path) -> dict[str, Any]:
        """The same in a process of its own."""
        answer: dict[str, Any] = json.loads(self.stage.run(*words, "--json", cwd=self.stage.node(party)))
        return answer

    def rotate(
        self, party: str, purpose: str, *, stop: str | None = None, made: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make a party's next key, have the charter name it and, where given, stop an older one."""
        made = made or self.run(party, "key", "new", purpose)
        vouchers = ("--vouchers",) if "vkey" in made else ()
        patch = self.stage.root / f"{party}-{made['name']}.json"
        self.run(party, "charter", "join", "card.json", *vouchers, "--out", patch)
        if stop is not None:
            self.run("acme", "charter", "stop", self.keys[f"{party}/{stop}"].keyid, "--patch", patch)
        self.amend_by(patch)
        return made

    def amend_by(self, patch: Path) -> None:
        """The vendor proposes, the council votes; returns once the amendment is in force."""
        version = self.charter.version + 1
        proposed = self.run("acme", "charter", "amend", patch)
        until(lambda: proposed["id"] in self.sync().proposals)
        self.run("council", "charter", "vote", proposed["id"])
        until(lambda: self.sync().chain.newest.charter.version == version)


def command(directory: Path, *words: str | Path) -> dict[str, Any]:
    """A command's JSON answer. In this process: starting one for each is most of what the many commands take."""
    with contextlib.chdir(directory):
        done = CliRunner().invoke(build(str(words[0])), [*map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def card(stage: Stage, party: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((stage.node(party) / "card.json").read_bytes())
    return document


def until(ready: Callable[[], bool], why: Callable[[], str] = lambda: "") -> None:
    """Wait for something that the processes bring about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"what the test waits for did not happen: {why()}")
        time.sleep(0.2)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What an initiative begins with: sites and roles, terms; `rebuilds`: the rebuilders work, with a cache to use.

    Else the test gives the verdicts itself.
    """

    parties: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: PARTIES)
    terms: str = TERMS
    rebuilds: Path | None = None


USUAL = Setting()


def found(stage: Stage, setting: Setting) -> None:
    """Every party makes its node, the members sign the charter, everybody starts."""
    stage.clear()
    for party, port in zip(PARTIES, free_ports(len(PARTIES)), strict=True):
        make(stage, party, port, setting)
    terms, signed = stage.root / "terms.toml", stage.root / "signed.json"
    terms.write_text(setting.terms)
    cards = [stage.node(party) / "card.json" for party in PARTIES]
    command(stage.root, "charter", "draft", terms, *cards, "--out", signed)
    for party in ("acme", "council"):
        command(stage.root, "charter", "sign", signed, "--node", stage.node(party), "--out", signed)
    command(stage.root, "charter", "pin", signed, "--out", stage.pin)
    for party in PARTIES:
        (stage.node(party) / "charter.json").write_bytes(stage.pin.read_bytes())
    command(stage.root, "ledger", "create", signed, "--node", stage.node("acme"))
    for party in SERVERS:
        stage.start(party, "serve")
    for party in AUDITORS:
        stage.start(party, "work", *(("--only", "auditor") if setting.rebuilds is None else ()))


def make(stage: Stage, party: str, port: int, setting: Setting) -> None:
    site, *roles = setting.parties[party]
    words = [word for role in roles for word in ("--role", role)]
    listen = ("--listen", f"127.0.0.1:{port}") if party in SERVERS else ()
    identity = ("--party", party, "--name", NAMES.get(party, party.title()), "--site", site)
    cache = () if setting.rebuilds is None else ("--cache", setting.rebuilds)
    command(stage.root, "init", stage.node(party), *identity, *words, *listen, *cache, *EXTRA.get(party, ()))


@contextlib.contextmanager
def running(directory: Path, setting: Setting = USUAL, kind: type[Initiative] = Initiative) -> Iterator[Any]:
    """A founded initiative, its processes running."""
    with Stage(directory, lambda _: None) as stage, contextlib.ExitStack() as ending:
        found(stage, setting)
        with LedgerClient(card(stage, "acme")["ledger"]["url"]) as client:
            initiative = kind(stage, client)
            ending.callback(initiative.keys.close)
            until(initiative.published)
            initiative.sync(1)
            yield initiative
            stage.check_alive()
