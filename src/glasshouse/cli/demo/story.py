"""The honest story: nodes, charter, ledger, release, rebuilds, status, and the customer's check. Chapter by chapter."""

import shutil
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import check_checkpoint
from glasshouse_verify.statement import Use

from glasshouse.cli.demo.record import Placed, Played, Proof
from glasshouse.cli.demo.report import Ground
from glasshouse.cli.demo.stage import (
    CAST,
    COUNCIL,
    OLD_SITE,
    REBUILDER,
    SUPERVISOR,
    TIMESTAMPER,
    VENDOR,
    WITNESSES,
    Cast,
    Offer,
    Stage,
    answers,
    free_ports,
    load,
    terms,
)
from glasshouse.cli.page.writing import write_page
from glasshouse.cli.wiring import read_pin
from glasshouse.conveyor.detached import SUFFIX
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.following import follow
from glasshouse.ledger.history import History
from glasshouse.ledger.view import View
from glasshouse.storage import files
from glasshouse.supervision.auditor import rows_of

REBUILD_SECONDS = 900.0
START_SECONDS = 60.0
PARALLEL = 3
POLL_SECONDS = 0.5
# Certificates for signing Windows files, by the role that needs them.
CERTIFICATES = {"conveyor": "codesign", "timestamp": "timestamp"}


@dataclass(frozen=True, kw_only=True)
class Ware:
    """A product of the demo: its recipe directory and the version that is released."""

    recipe: Path
    version: str

    @property
    def _document(self) -> dict[str, Any]:
        return tomllib.loads((self.recipe / "recipe.toml").read_text())

    @property
    def product(self) -> str:
        """vendor/product."""
        return f"{VENDOR}/{self._document['product']}"

    @property
    def platform(self) -> str:
        """The platform that its files are for."""
        return str(self._document["platform"])

    @property
    def signed(self) -> bool:
        """Whether it has files that are shipped with a signature inside."""
        return bool(self._document.get("sign", {}).get("authenticode"))


def _hasten(settings: Path) -> None:
    """Have the workers of a node look at the ledger more often than every second: here somebody waits for them."""
    text = settings.read_text()
    for table in ("[rebuilder]\n", "[auditor]\n"):
        text = text.replace(table, f"{table}poll_seconds = {POLL_SECONDS}\n")
    settings.write_text(text)


class Story:
    """What the chapters are made of: a stage, its wares, and what the chapter being told has to show so far."""

    def __init__(self, stage: Stage, wares: list[Ware], extras: list[Ware], say: Callable[[str], None]) -> None:
        """`wares` are released in the story; `extras` are products of the charter that the cheats are played on."""
        self.stage, self.wares, self.extras, self.say = stage, wares, extras, say
        self.proven: list[Proof] = []
        self.played: list[Played] = []
        self.placed: list[Placed] = []
        self._locks: dict[str, Future[Path]] = {}
        # Whether products are built in a chapter to come.
        self.builds = True
        # The one cheat that is wanted, instead of all.
        self.cheat: str | None = None

    @cached_property
    def _history(self) -> History:
        return History(read_pin(self.stage.pin))

    def found(self) -> None:
        """Every party makes its node and keys; the members sign the first charter; the ledger starts."""
        stage = self.stage
        self.say("every party makes its own node and keys")
        stage.clear()
        if self.builds:
            self._begin_locks()
        ports = dict(zip(CAST, free_ports(len(CAST)), strict=True))
        dated = next(f"http://127.0.0.1:{port}/timestamp" for cast, port in ports.items() if cast.party == TIMESTAMPER)
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda cast: self._init(cast, ports[cast], dated), CAST))
        self.say("the members sign the first charter")
        text = "\n".join(terms(self._offers()))
        (stage.root / "scratch" / "terms.toml").write_text(text + "\n")
        self._sign_charter()
        self._start()

    def _init(self, cast: Cast, port: int, timestamps: str) -> None:
        stage = self.stage
        listen = ("--listen", f"127.0.0.1:{port}") if cast.listens else ()
        roles = [word for role in cast.roles for word in ("--role", role)]
        cache = stage.root / "cache" / cast.party
        identity = ("--party", cast.party, "--name", cast.name, "--site", cast.site, "--cache", str(cache))
        node = stage.node(cast.node)
        dated = ("--timestamps", timestamps) if "conveyor" in cast.roles else ()
        stage.run("init", str(node), *identity, *roles, *listen, *dated, *cast.extra)
        _hasten(node / "node.toml")
        for role, purpose in CERTIFICATES.items():
            if role in cast.roles:
                stage.run("certificate", "create", purpose, "--node", node)

    def _offers(self) -> Iterator[Offer]:
        """Every product of the charter; the released ones are rebuilt blind."""
        keys = {node: self.stage.node(node) / "keys" for node in (OLD_SITE, TIMESTAMPER)}
        pins = ("--signer", keys[OLD_SITE] / "codesign.pem", "--timestamper", keys[TIMESTAMPER] / "timestamp.pem")
        line = self.stage.run("certificate", "pins", *pins).strip()
        for ware in (*self.wares, *self.extras):
            pinned = line if ware.signed else ""
            yield Offer(product=ware.product, platform=ware.platform, blind=ware in self.wares, authenticode=pinned)

    def _sign_charter(self) -> None:
        stage, scratch = self.stage, self.stage.root / "scratch"
        cards = [stage.node(cast.node) / "card.json" for cast in CAST]
        draft, signed = scratch / "draft.json", scratch / "signed.json"
        stage.run("charter", "draft", scratch / "terms.toml", *cards, "--out", draft)
        stage.run("charter", "sign", draft, "--node", stage.node(VENDOR), "--out", signed)
        stage.run("charter", "sign", signed, "--node", stage.node(SUPERVISOR), "--out", signed)
        stage.run("charter", "pin", signed, "--out", stage.pin)
        for cast in CAST:
            shutil.copy(stage.pin, stage.node(cast.node) / "charter.json")
        stage.run("ledger", "create", signed, "--node", stage.node(VENDOR))

    def _start(self) -> None:
        stage = self.stage
        self.say("witnesses, ledger, rebuilders and auditors start, each in a process of its own")
        for witness in WITNESSES:
            stage.start(witness, "serve")
        stage.start(VENDOR, "serve")
        stage.wait("the ledger's first checkpoint", self._published, START_SECONDS)
        for party in (SUPERVISOR, REBUILDER):
            stage.start(party, "work")

    def _published(self) -> bool:
        if not answers(f"{self.stage.ledger_url}/checkpoint"):
            return False
        return self.stage.attempt("ledger", "checkpoint", "--ledger", self.stage.ledger_url).returncode == 0

    def resume(self) -> None:
        """Start the processes of a stage that was left by an earlier run."""
        (self.stage.root / "logs").mkdir(exist_ok=True)
        self._start()

    def release(self) -> None:
        """The vendor locks each environment, builds in its sandbox, and publishes; the rebuilders follow at once."""
        for ware in self.wares:
            self.release_one(ware, self.stage.downloads)

    def release_one(self, ware: Ware, into: Path, node: str = VENDOR) -> list[Path]:
        """Release one product from a node of the vendor's and copy its files to a directory."""
        stage = self.stage
        lock = self.lock(ware)
        self.say(f"{node} builds {ware.product} {ware.version} in its sandbox, signs and logs it")
        answer = stage.run(
            "release", ware.recipe, "--version", ware.version, "--lock", lock, "--node", stage.node(node), "--json"
        )
        shipped = [Path(name) for name in load(answer)["files"]]
        for file in (*shipped, *load(answer)["signatures"]):
            shutil.copy(file, into)
        return [into / file.name for file in shipped]

    def _begin_locks(self) -> None:
        """Have the environments locked, one after the other, while the parties make their nodes: it takes no node."""
        pool = ThreadPoolExecutor(1)
        self._locks = {ware.product: pool.submit(self._lock, ware) for ware in (*self.extras, *self.wares)}
        pool.shutdown(wait=False)

    def lock(self, ware: Ware) -> Path:
        """The environment lock of a product, made once a run."""
        begun = self._locks.get(ware.product)
        return self._lock(ware) if begun is None else begun.result()

    def _lock(self, ware: Ware) -> Path:
        place = self.stage.root / "scratch" / f"{ware.product.replace('/', '-')}.lock.jsonl"
        if not place.exists():
            self.say(f"{VENDOR} locks the build environment of {ware.product}")
            cache = self.stage.root / "cache" / VENDOR
            self.stage.run("conveyor", "lock", ware.recipe, "--lock", place, "--cache", cache)
        return place

    def charters(self) -> dict[str, Any]:
        """The charter's history as anybody reads it from the ledger."""
        pin = ("--charter", self.stage.pin)
        return dict(load(self.stage.run("charter", "history", "--ledger", self.stage.ledger_url, *pin, "--json")))

    def amend(self, patch: Path) -> dict[str, Any]:
        """The vendor proposes a merge patch of the charter, the council votes; returns once it is in force."""
        proposed = dict(load(self.stage.run("charter", "amend", patch, "--node", self.stage.node(VENDOR), "--json")))
        self.stage.wait("the proposal", lambda: proposed["id"] in self.onlooker().proposals, START_SECONDS)
        self.stage.run("charter", "vote", proposed["id"], "--node", self.stage.node(COUNCIL))
        self.stage.wait("the amendment", lambda: self.onlooker().chain.newest.id == proposed["id"], START_SECONDS)
        return proposed

    def oversee(self) -> None:
        """Wait until both rebuilders have spoken on every product and both auditors have signed the status."""
        for ware in self.wares:
            self.await_status(ware.product, ware.version)
        for ware in self.wares:
            for row in self.rows(ware.product, ware.version):
                for party, verdict in row["verdicts"].items():
                    self.proven.append(
                        Proof(
                            about=row["key"].rsplit("/", 1)[1],
                            topic="rebuild",
                            claim=f"rebuilt from source: {verdict['verdict']}",
                            by=party,
                            how=f"glasshouse rebuild {ware.product} {ware.version} --node .demo/nodes/{party}",
                        )
                    )

    def await_status(self, product: str, version: str) -> None:
        """Wait until every rebuilder has given a verdict on a release, and a signed status shows it."""
        self.await_verdicts(product, version)
        self.say(f"{SUPERVISOR} proposes the status, {REBUILDER} recomputes and countersigns it")
        self.stage.wait(f"the status of {product} {version}", self.status_is_current, START_SECONDS)

    def await_verdicts(self, product: str, version: str) -> None:
        """Wait until every rebuilder has given a verdict on a release."""
        self.say(f"{SUPERVISOR} and {REBUILDER} rebuild {product} {version} from the source pack")

        def spoken() -> bool:
            rows = self.rows(product, version)
            return bool(rows) and all(v.get("verdict") for row in rows for v in row["verdicts"].values())

        self.stage.wait(f"the verdicts on {product} {version}", spoken, REBUILD_SECONDS)

    def findings(self, rule: str, party: str) -> list[str]:
        """What a party's auditor has logged by a rule."""
        found = (record.predicate for record in self.onlooker().standing(Use.FINDING))
        return [finding.text for finding in found if (finding.rule, finding.party) == (rule, party)]

    def rows(self, product: str, version: str) -> list[dict[str, Any]]:
        """The status rows of a release as anybody can compute them from the ledger now."""
        rows = self.onlooker().status_rows()
        return [row for row in rows if row["key"].startswith(f"{product}/{version}/")]

    def status_is_current(self) -> bool:
        """Whether the newest signed status shows what anybody can compute from the ledger now."""
        history = self.onlooker()
        signed = list(history.standing(Use.STATUS))
        return bool(signed) and signed[-1].predicate.rows == rows_of(history)[1]

    def onlooker(self) -> History:
        """The ledger through the eyes of somebody with nothing but the pin, brought up to date."""
        place, policy = self.stage.root / "scratch" / "onlooker", self._history.chain.newest.charter.policy
        with LedgerClient(self.stage.ledger_url) as client, View(place, policy) as view:
            follow(client, view, self._history)
        return self._history

    def check(self) -> None:
        """The customer fetches evidence for each file and checks both offline, and its signature file if it has one."""
        shipped = sorted(file for file in self.stage.downloads.iterdir() if file.suffix != SUFFIX)
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(self.fetch_evidence, shipped))
        for file in shipped:
            answer = self.verify(file)
            if answer["exit"]:
                raise AssertionError(f"the honest file does not verify: {answer}")
            for claim in answer["claims"]:
                by = ", ".join(claim["by"])
                self.proven.append(
                    Proof(about=file.name, topic=claim["claim"], claim=claim["text"], by=by, how=claim["recheck"])
                )
            self._write_page(file)
            if file.with_name(file.name + SUFFIX).exists():
                self.stage.run("signature", "check", file, "--charter", self.stage.pin)

    def _write_page(self, file: Path) -> None:
        """The evidence of a download as a page, beside it."""
        evidence = self.stage.evidence / f"{file.name}.evidence"
        page = write_page(evidence.read_bytes(), read_pin(self.stage.pin), int(time.time()), evidence.name)
        files.write(evidence.with_suffix(".html"), page.html)

    def ground(self) -> Ground:
        """What the initiative stands on now, as anybody can read and check it."""
        charter = self.onlooker().chain.newest.charter
        with LedgerClient(self.stage.ledger_url) as client:
            note = client.checkpoint()
        cosigned = check_checkpoint(charter.policy, parse_note(note))
        return Ground(pin=read_pin(self.stage.pin), charter=charter, cosigned=cosigned, note=note.decode())

    def fetch_evidence(self, file: Path) -> Path:
        """Evidence for a file: in the evidence directory for a download, else beside it."""
        into = self.stage.evidence if file.parent == self.stage.downloads else file.parent
        place = into / f"{file.name}.evidence"
        pin = ("--charter", self.stage.pin)
        self.stage.run("evidence", "get", file, "--ledger", self.stage.ledger_url, *pin, "--out", place)
        return place

    def verify(self, file: Path, evidence: Path | None = None, *extra: str) -> dict[str, Any]:
        """The customer's gate on a file, as its JSON answer."""
        place = evidence or self.stage.evidence / f"{file.name}.evidence"
        options: tuple[str | Path, ...] = ("--evidence", place, "--charter", self.stage.pin, "--json", *extra)
        return dict(load(self.stage.attempt("verify", file, *options).stdout))
