"""Australia's data leaves Moscow for two sites in Zurich while customers go on sending; the supervisor countersigns.

Two nodes join at the sites in Zurich, one process each. The old site opens the move, lists, and stops taking; the new
ones say what arrived; the supervisor reads it there, with its own way to each store; only then the old site erases.
"""

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from glasshouse_verify.statement import Use

from glasshouse.cli.demo.data import AUSTRALIA, AUSTRALIAN, CUSTODIAN, OLD, Plane, Sent
from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.record import Placed, Proof
from glasshouse.cli.demo.stage import COUNCIL, SUPERVISOR, VENDOR, Cast, answers, free_ports, load
from glasshouse.cli.demo.story import START_SECONDS, Story

MOVE = "au-2026"
NEW = ("australia-1", "australia-2")
SITES = {"australia-1": "zurich-1", "australia-2": "zurich-2"}
PROMISED = "2027-03-31"
QUICK_SECONDS, DAILY_SECONDS = 3, 86_400
MOVE_SECONDS = 240.0
_TITLE = "Australia's move from Moscow to Zurich"
NODES = tuple(
    Cast(
        party=VENDOR,
        name="Acme Security",
        site=f"{site}:CH:Zurich, data centre {site[-1]}",
        roles=("intake",),
        called=node,
    )
    for node, site in SITES.items()
)
_REGION = f"""\
[regions.{AUSTRALIA}]
name = "Australia"
countries = ["AU"]
when_short = "refuse"
custody = {{mode = "dual", party = "{SUPERVISOR}"}}
"""
_CATEGORIES = f"""\
[regions.{AUSTRALIA}.categories]
suspicious = {{kind = "file", retention = 31536000}}
"""
_OPEN = f"""{_REGION}sites = ["{OLD}"]
replicas = 1
interval = {QUICK_SECONDS}
[regions.{AUSTRALIA}.moving]
id = "{MOVE}"
source = "site"
site = "{OLD}"
to = ["zurich-1", "zurich-2"]
replicas = 2
due = {PROMISED}
quarantine = 1
watch = 2
supervisor = "{SUPERVISOR}"
{_CATEGORIES}"""
_CLOSED = f"""{_REGION}sites = ["zurich-1", "zurich-2"]
replicas = 2
interval = {DAILY_SECONDS}
{_CATEGORIES}"""


def relocate(story: Story) -> None:
    """Move a region's data to another jurisdiction, prove it, and empty the old site."""
    move = _Move(story)
    move.join()
    move.promise()
    kept = move.move()
    move.erase()
    move.watch()
    move.prove(kept)


class _Move:
    """The move of one region, and what is shown of it."""

    def __init__(self, story: Story) -> None:
        self.story, self.stage, self.plane = story, story.stage, Plane(story)

    # --- before -------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Make the two new nodes, open the move by amendment, start them beside the old site."""
        self.plane.serve_again()
        self.story.say("two nodes at the sites in Zurich make their keys, to take over Australia's data")
        ports = free_ports(2 * len(NODES))
        for cast in NODES:
            node = self.stage.node(cast.node)
            words = ["--party", cast.party, "--name", cast.name, "--site", cast.site, "--role", *cast.roles]
            words += ["--region", AUSTRALIA, "--listen", f"127.0.0.1:{ports.pop()}"]
            self.stage.run("init", node, *words, "--peer-listen", f"127.0.0.1:{ports.pop()}")
            shutil.copy(self.stage.pin, node / "charter.json")
        self.story.say("the members vote: Australia's data leaves Moscow for Zurich, supervised by the lab")
        self._amend(_OPEN)
        for name in NEW:
            self.stage.start(name, "serve")
        for name in NEW:
            self.stage.wait(f"{name} serves", lambda name=name: answers(self._url(name)), START_SECONDS)  # type: ignore[misc]

    def _amend(self, terms: str) -> None:
        place, patch = (self.stage.root / "scratch" / f"{MOVE}.{kind}" for kind in ("toml", "json"))
        place.write_text(terms)
        cards = [self.stage.node(node) / "card.json" for node in (OLD, *NEW, CUSTODIAN)]
        self.stage.run("charter", "region", place, *cards, "--node", self.stage.node(VENDOR), "--out", patch)
        self.story.amend(patch)

    def _url(self, node: str) -> str:
        return str(load((self.stage.node(node) / "card.json").read_text())["intake"]["url"])

    def promise(self) -> None:
        """The vendor says by when; the old site what will move; the supervisor and the council commit to secrets."""
        date = f"{AUSTRALIA}={PROMISED}"
        self.stage.run("relocate", "promise", date, "--node", self.stage.node(VENDOR))
        self._plan(OLD, "[scope]\nreplicas = []\nbackups = []\ncaches = []\n")
        ways = [
            f'[sites.{site}]\nurl = "{(self.stage.node(node) / "data" / "vault").as_uri()}"\n'
            for node, site in (*SITES.items(), (OLD, OLD))
        ]
        tries = '[watch]\nevery = 1\ntoken = "keys/canary"\ncountry = "AU"\ncategory = "suspicious"\n'
        self._plan(SUPERVISOR, "".join(ways) + tries)
        shutil.copy(self.plane.customer(AUSTRALIAN) / "token", self.stage.node(SUPERVISOR) / "keys" / "canary")
        self.story.say(
            f"{OLD} logs what will move; {SUPERVISOR} and {COUNCIL} commit to secrets that choose the sample"
        )
        self._relocate("plan", OLD, "--log")
        for party in (SUPERVISOR, COUNCIL):
            self._relocate("commit", party)

    def _plan(self, node: str, text: str) -> None:
        place = self.stage.node(node) / "moves" / f"{MOVE}.toml"
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)

    def _relocate(self, verb: str, node: str, *words: str) -> dict[str, Any]:
        said = self.stage.run("relocate", verb, MOVE, "--node", self.stage.node(node), "--json", *words)
        return dict(load(said))

    # --- the move -----------------------------------------------------------------------------------------------

    def move(self) -> list[Sent]:
        """Every party does its part at once, and the customer sends before, during and after; what it sent."""
        self.story.say(f"{OLD} hands over, {' and '.join(NEW)} seal anew, {AUSTRALIAN.name} goes on sending")
        sent = [self.plane.send(AUSTRALIAN, "during-the-move.js")]
        with ThreadPoolExecutor(len(NEW) + 3) as pool:
            work: list[Future[dict[str, Any]]] = [pool.submit(self._relocate, "run", node) for node in (OLD, *NEW)]
            work += [pool.submit(self._relocate, "verify", party) for party in (SUPERVISOR, COUNCIL)]
            work[0].result(MOVE_SECONDS)
            sent.append(self.plane.send(AUSTRALIAN, "after-the-fence.js"))
            for one in work:
                one.result(MOVE_SECONDS)
        steps = self._status()["steps"]
        self._prove("moved", self._fence_text(), VENDOR)
        read = next(step for step in steps if step["step"] == "countersign")
        text = f"{SUPERVISOR} listed the old site, read what the seed drew at both new ones, and countersigned"
        self._prove("read", f"{text}: entry {read['entry']}", SUPERVISOR)
        self.story.placed.extend(
            Placed(country=AUSTRALIAN.country, site=site, jurisdiction="CH") for site in SITES.values()
        )
        return sent

    def _fence_text(self) -> str:
        says = {record.predicate.step: record.predicate for record in self._records()}
        fence, arrival = says["fence"], says["arrival"]
        seconds = max(0, arrival.at_ms - fence.at_ms) / 1000
        text = f"{fence.rows.size} objects of Australia are at zurich-1 and zurich-2 (CH), under fresh keys"
        return f"{text}; Zurich began to take {seconds:.2f} s after {OLD} had stopped"

    def _records(self) -> list[Any]:
        return [r for r in self.story.onlooker().standing(Use.RELOCATION) if r.predicate.relocation == MOVE]

    def _status(self) -> dict[str, Any]:
        words = ("relocate", "status", MOVE, "--ledger", self.stage.ledger_url, "--charter", self.stage.pin, "--json")
        return dict(load(self.stage.run(*words)))

    def erase(self) -> None:
        """Quarantine, the members' closing amendment, erasure; then the second sample, with the old site cut off."""
        self.story.say(f"{OLD} waits out its quarantine; the members close the move; {OLD} erases everything it held")
        words = ("relocate", "erase", MOVE, "--node", self.stage.node(OLD), "--json")
        early = self.stage.attempt(*words)
        if early.returncode != 1:
            raise DemoFailed(f"{OLD} erases before its time: {early.stdout}{early.stderr}")
        self._amend(_CLOSED)
        erased: list[dict[str, Any]] = []

        def done() -> bool:
            tried = self.stage.attempt(*words)
            if tried.returncode == 0:
                erased.append(dict(load(tried.stdout)))
            return bool(erased)

        self.stage.wait("the erasure", done, START_SECONDS)
        counts = ", ".join(f"{count} {name}" for name, count in erased[0]["erased"].items())
        text = f"after the countersignature, the quarantine and the members' vote {OLD} erased {counts}"
        self._prove("erased", f"{text}: entry {erased[0]['entry']}", VENDOR)
        self.story.say(f"{OLD} is cut off, and {SUPERVISOR} reads another sample in Zurich")
        self.stage.stop(OLD, "serve")
        shutil.move(self.stage.node(OLD), self._away)
        self._relocate("verify", SUPERVISOR)
        text = f"with {OLD} cut off, {SUPERVISOR} read a second sample: nobody in Zurich asks Moscow for it"
        self._prove("read again", text, SUPERVISOR)

    @property
    def _away(self) -> Path:
        return self.stage.root / "scratch" / "cut-off"

    def watch(self) -> None:
        """The old site is switched on again; uploads and reads there fail."""
        shutil.move(self._away, self.stage.node(OLD))
        self.stage.start(OLD, "serve")
        self.stage.wait(f"{OLD} serves", lambda: answers(self._url(OLD)), START_SECONDS)
        self.story.say(f"{SUPERVISOR} tries to read from and write to {OLD}, again and again")
        tried = self._relocate("watch", SUPERVISOR)["logged"]
        counts = ", ".join(f"{count} {kind}" for kind, count in tried.items())
        text = f"every attempt at {OLD} afterwards failed: {counts}"
        self._prove("watched", text, SUPERVISOR)
        self.stage.stop(OLD, "serve")

    # --- what it comes to ---------------------------------------------------------------------------------------

    def prove(self, sent: list[Sent]) -> None:
        """One file proves it offline; a receipt of the old site still checks; the report is written."""
        evidence, pin = self.stage.evidence / f"{MOVE}.evidence", ("--charter", self.stage.pin)
        ledger = ("--ledger", self.stage.ledger_url)
        self.stage.run("relocate", "evidence", MOVE, *ledger, *pin, "--out", evidence)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.stage.run("verify", evidence, *pin, "--at", at)
        again = f"glasshouse verify {self._shown(evidence)} --charter .demo/charter.json"
        text = f"one file of {evidence.stat().st_size:,} bytes proves the whole move offline: verify exits 0"
        self.story.proven.append(Proof(about=_TITLE, topic="offline", claim=text, by=SUPERVISOR, how=again))
        for one in sent:
            self.plane.check_signers(one, SITES.values() if one is sent[-1] else (OLD,))
        self.story.say("the report of the move is written, as a page and as a PDF")
        self.stage.run("relocate", "report", MOVE, *ledger, *pin, "--out", self.stage.evidence)

    def _prove(self, topic: str, claim: str, by: str) -> None:
        how = f"glasshouse relocate status {MOVE} --ledger {self.stage.ledger_url} --charter .demo/charter.json"
        self.story.proven.append(Proof(about=_TITLE, topic=topic, claim=claim, by=by, how=how))

    def _shown(self, path: Path) -> str:
        return f".demo/{path.relative_to(self.stage.root)}"
