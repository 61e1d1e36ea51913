"""Data of four countries: where it lies, what becomes of it while a site is away, how it is erased, who may look.

Before relocation the site in Moscow still takes Australia's data; that of Germany, Japan and the United States goes to
two sites in Zurich. The supervisor guards the keys of both regions.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from glasshouse_verify.charter import verified_keyids
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.receipt import Inspection, Inventory
from glasshouse_verify.report import utc
from glasshouse_verify.statement import Use

from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.record import Placed, Proof
from glasshouse.cli.demo.stage import SUPERVISOR, VENDOR, Cast, answers, free_ports, load
from glasshouse.cli.demo.story import START_SECONDS, Story

NORTH, AUSTRALIA = "north", "australia"
OLD, FIRST, SECOND, CUSTODIAN = "moscow", "zurich-1", "zurich-2", "custodian"
SECONDS = 90.0
PARALLEL = 3
# Between inventories: while the chapter is told, so that nobody waits for them, and from then on.
QUICK_SECONDS, DAILY_SECONDS = 6, 86_400
WRONG_BYTES = 1 << 30
MISDIRECTED = 421
# What a site says that cannot have as many copies made as the charter asks for.
SHORT = ("fewer than the 2 sites that the charter asks for", "another site of the region cannot store the object now")

NODES = (
    Cast(party=VENDOR, name="Acme Security", site="moscow:RU:Moscow", roles=("intake",), called=OLD),
    Cast(party=VENDOR, name="Acme Security", site="zurich-1:CH:Zurich, data centre 1", roles=("intake",), called=FIRST),
    Cast(
        party=VENDOR, name="Acme Security", site="zurich-2:CH:Zurich, data centre 2", roles=("intake",), called=SECOND
    ),
    Cast(
        party=SUPERVISOR,
        name="Independent Supervisor Lab",
        site="bern:CH:Bern",
        roles=("custody",),
        called=CUSTODIAN,
    ),
)
SITES = {OLD: AUSTRALIA, FIRST: NORTH, SECOND: NORTH}
TERMS = f"""\
[regions.{NORTH}]
name = "Germany, Japan and the United States"
countries = ["DE", "JP", "US"]
sites = ["{FIRST}", "{SECOND}"]
replicas = 2
when_short = "refuse"
interval = {QUICK_SECONDS}
custody = {{mode = "dual", party = "{SUPERVISOR}"}}
[regions.{NORTH}.categories]
suspicious = {{kind = "file", retention = 31536000}}

[regions.{AUSTRALIA}]
name = "Australia"
countries = ["AU"]
sites = ["{OLD}"]
replicas = 1
when_short = "refuse"
interval = {QUICK_SECONDS}
custody = {{mode = "dual", party = "{SUPERVISOR}"}}
[regions.{AUSTRALIA}.categories]
suspicious = {{kind = "file", retention = 31536000}}
"""


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A customer of the demo: its id, its country, and the file that it finds suspicious."""

    name: str
    country: str
    file: str

    @property
    def region(self) -> str:
        """The region that its country belongs to."""
        return AUSTRALIA if self.country == "AU" else NORTH


AUSTRALIAN, GERMAN, AMERICAN, JAPANESE = CUSTOMERS = (
    Customer(name="kookaburra", country="AU", file="invoice.js"),
    Customer(name="amsel", country="DE", file="rechnung.vbs"),
    Customer(name="condor", country="US", file="resume.hta"),
    Customer(name="tsuru", country="JP", file="seikyusho.js"),
)


def keep_data(story: Story) -> None:
    """Bring two regions into the charter, have customers send files, lose a site, erase a file, refuse a look."""
    plane = Plane(story)
    plane.found()
    sent = plane.send_all()
    plane.ask_the_wrong_site()
    before = plane.lose_a_site()
    followed = sent[JAPANESE]
    plane.check(followed, "held", "it is held as of")
    plane.see_both_agree(before)
    plane.erase(followed, meanwhile=lambda: plane.try_to_look(sent[GERMAN]))
    plane.check(followed, "erased", "it was erased on")
    plane.slow_down()
    order = list(_TITLES.values())
    story.proven.sort(key=lambda proof: order.index(proof.about))


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A file that was sent, with its receipt."""

    customer: Customer
    handle: str
    number: int
    receipt: Path


class Plane:
    """The two regions: their nodes, their customers, and what is shown of them."""

    def __init__(self, story: Story) -> None:
        self.story, self.stage = story, story.stage
        self.customers = self.stage.root / "customers"
        self._written: set[Path] = set()

    # --- the regions --------------------------------------------------------------------------------------------

    def found(self) -> None:
        """Make nodes and customers, amend the charter, start the sites; on a stage that has them, start them."""
        there = (self.stage.node(CUSTODIAN) / "charter.json").exists()
        if not there:
            self.story.say("the sites of two regions, their custodian and four customers make their keys")
            ports = free_ports(2 * len(NODES))
            self._each(self._init, [(cast, ports.pop(), ports.pop()) for cast in NODES])
            self.customers.mkdir(parents=True)
            self._each(self._profile, CUSTOMERS)
        self.story.say(f"{VENDOR} proposes which country's data may live where; another member votes for it")
        self.story.amend(self._patch() if not there else self._interval(QUICK_SECONDS))
        self._serve()
        if not there:
            self.story.say("each customer is enrolled at the sites of its region, and nowhere else")
            self._enrol_all()
        self._prove_charter()

    def _init(self, what: tuple[Cast, int, int]) -> None:
        cast, port, peer = what
        node = self.stage.node(cast.node)
        words = ["--party", cast.party, "--name", cast.name, "--site", cast.site, "--listen", f"127.0.0.1:{port}"]
        words += ["--role", *cast.roles]
        if cast.node in SITES:
            words += ["--region", SITES[cast.node], "--peer-listen", f"127.0.0.1:{peer}"]
        self.stage.run("init", node, *words)
        shutil.copy(self.stage.pin, node / "charter.json")

    def _patch(self) -> Path:
        terms, patch = (self.stage.root / "scratch" / name for name in ("regions.toml", "regions.json"))
        terms.write_text(TERMS)
        cards = [self.stage.node(cast.node) / "card.json" for cast in NODES]
        self.stage.run("charter", "region", terms, *cards, "--node", self.stage.node(VENDOR), "--out", patch)
        return patch

    def _interval(self, seconds: int) -> Path:
        patch = self.stage.root / "scratch" / "interval.json"
        patch.write_text(json.dumps({"regions": {name: {"interval": seconds} for name in (NORTH, AUSTRALIA)}}))
        return patch

    def _serve(self) -> None:
        self.story.say(f"{', '.join(SITES)} and the custodian start, each in a process of its own")
        for node in (CUSTODIAN, *SITES):
            self.stage.start(node, "serve")
        self.stage.start(CUSTODIAN, "work")
        for node in (CUSTODIAN, *SITES):
            self._await_serving(node)

    def serve_again(self) -> None:
        """Start what an earlier run has left, on a stage that is gone on with."""
        if f"{OLD}-serve" not in self.stage.processes:
            self._serve()

    def _await_serving(self, node: str) -> None:
        self.stage.wait(f"{node} serves", lambda: answers(self._url(node)), START_SECONDS)

    def _url(self, node: str) -> str:
        card = load((self.stage.node(node) / "card.json").read_text())
        return str((card.get("intake") or card["custody"])["url"])

    def _prove_charter(self) -> None:
        version = self.story.onlooker().chain.newest.charter.version
        text = f"charter {version} sends data of DE, JP and US to {FIRST} and {SECOND} (CH), of AU to {OLD} (RU)"
        again = f"glasshouse charter history --ledger {self.stage.ledger_url} --charter .demo/charter.json"
        self._prove("regions", "where it may live", text, "acme, council", again)

    # --- customers ----------------------------------------------------------------------------------------------

    def _profile(self, customer: Customer) -> None:
        words = ("--country", customer.country, "--charter", self.stage.pin)
        self.stage.run("customer", "profile", self.customer(customer), *words)

    def _enrol_all(self) -> None:
        """At one site, which makes the token, and then at the others of its region, which learn its digest.

        Commands at one node follow each other.
        """
        with ThreadPoolExecutor(1) as elsewhere, ThreadPoolExecutor(len(CUSTOMERS)) as pool:
            regions = {region: [one for one in CUSTOMERS if one.region == region] for region in (NORTH, AUSTRALIA)}
            first = [pool.submit(self._enrol, customers, elsewhere) for customers in regions.values()]
            for done in [later for one in first for later in one.result()]:
                done.result()

    def _enrol(self, customers: Iterable[Customer], elsewhere: Executor) -> list[Future[str]]:
        begun = []
        for customer in customers:
            place = self.customer(customer)
            key = (place / "customer.pub").read_text().strip()
            words = ("customer", "add", customer.name, "--country", customer.country, "--key", key, "--json")
            first, *others = (self.stage.node(site) for site, region in SITES.items() if region == customer.region)
            made = load(self.stage.run(*words, "--token-out", place / "token", "--node", first))
            digest = ("--token-sha256", made["token_sha256"])
            begun += [elsewhere.submit(self.stage.run, *words, *digest, "--node", site) for site in others]
        return begun

    def customer(self, customer: Customer) -> Path:
        """A customer's directory."""
        return self.customers / customer.name

    def send_all(self) -> dict[Customer, Sent]:
        """Each customer sends its file; the charter alone says where to. What the receipts show is kept."""
        self.story.say("customers in AU, DE, US and JP send a suspicious file each")
        sent = dict(zip(CUSTOMERS, self._each(lambda one: self.send(one, one.file), CUSTOMERS), strict=True))
        for customer, one in sent.items():
            sites = sorted(site for site, region in SITES.items() if region == customer.region)
            self.check_signers(one, sites)
            self.story.placed.extend(
                Placed(country=customer.country, site=site, jurisdiction=_jurisdiction(site)) for site in sites
            )
            where = " and ".join(f"{site} ({_jurisdiction(site)})" for site in sites)
            text = (
                f"from {customer.country}, {customer.file} of {customer.name} is sealed and durable at {where}: receipt"
            )
            text += f" {one.number}"
            self._prove("files", "sent", text, VENDOR, f"glasshouse receipt show {self._shown(one.receipt)}")
        return sent

    def send(self, customer: Customer, name: str) -> Sent:
        """Raises DemoFailed where no site takes it."""
        return self._taken(customer, name, self.stage.run(*self._submit(customer, name), "--json"))

    def _taken(self, customer: Customer, name: str, said: str) -> Sent:
        """What `glasshouse submit` says it has sent; the receipt is kept beside the file under a name for people."""
        (made,) = load(said)["files"]
        receipt = self.customer(customer) / f"{name}.receipt"
        shutil.copy(made["receipt"], receipt)
        return Sent(customer=customer, handle=made["handle"], number=made["number"], receipt=receipt)

    def check_signers(self, sent: Sent, sites: Iterable[str]) -> None:
        """These sites, and no others, have signed that they hold the object; raises DemoFailed."""
        charter = self.story.onlooker().chain.newest.charter
        keys = map(charter.key, verified_keyids(charter, parse_envelope(sent.receipt.read_bytes())))
        signed = {str(key.site) for key in keys if key is not None}
        if signed != set(sites):
            raise DemoFailed(f"a receipt of {sent.customer.country} is signed at {', '.join(sorted(signed))}")

    def _submit(self, customer: Customer, name: str) -> tuple[str | Path, ...]:
        file = self.customer(customer) / name
        if file not in self._written:
            file.write_text(f"// {customer.name} found this at {time.time_ns()}\n")
            self._written.add(file)
        return ("submit", file, "--category", "suspicious", "--customer", self.customer(customer))

    # --- scenes -------------------------------------------------------------------------------------------------

    def ask_the_wrong_site(self) -> None:
        """Announce a gibibyte of Japanese data in Moscow, and read the answer before a byte of it is sent."""
        url, path = self._url(OLD), f"/intake/v1/files/{'0' * 64}"
        parts = urlsplit(url)
        http = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
        try:
            http.putrequest("PUT", path)
            http.putheader("Content-Length", str(WRONG_BYTES))
            http.putheader("Glasshouse-Country", JAPANESE.country)
            http.endheaders()
            answer = http.getresponse()
            said = json.loads(answer.read())
        finally:
            http.close()
        if answer.status != MISDIRECTED or self._url(FIRST) not in f"{said}":
            raise DemoFailed(f"{OLD} answers {answer.status} to data of another region: {said}")
        text = f"the site {OLD} answers {answer.status} before a byte is sent: {said['error']}. {said['fix']}"
        again = f"curl -i -X PUT -H 'Glasshouse-Country: JP' {url}{path}"
        self._prove("files", "a wrong site", text, OLD, again)

    def lose_a_site(self) -> int:
        """Kill one of two sites, be refused, start it again, be taken in; the newest inventory of before."""
        name, before = "second.js", self._epoch()
        self.story.say(f"{SECOND} is killed; {JAPANESE.name} sends another file meanwhile")
        process = self.stage.processes.pop(f"{SECOND}-serve")
        process.kill()
        process.wait()
        refused = self.stage.attempt(*self._submit(JAPANESE, name))
        words = next((words for words in SHORT if words in refused.stderr), None)
        if refused.returncode != 1 or words is None:
            raise DemoFailed(f"with one site of two {name} is not refused: {refused.stdout}{refused.stderr}")
        place = self.customer(JAPANESE)
        text = f"with {SECOND} killed {FIRST} takes nothing in, as the charter says: exit {refused.returncode}, {words}"
        again = f"glasshouse submit {self._shown(place / name)} --customer {self._shown(place)}"
        self._prove("loss", "away", text, FIRST, again)
        self.story.say(f"{SECOND} comes back and catches up by itself")
        self.stage.start(SECOND, "serve")
        self._await_serving(SECOND)
        taken: list[Sent] = []

        def accepted() -> bool:
            done = self.stage.attempt(*self._submit(JAPANESE, name), "--json")
            if done.returncode == 0:
                taken.append(self._taken(JAPANESE, name, done.stdout))
            return bool(taken)

        self.stage.wait("intake after the site's return", accepted, SECONDS)
        self.check_signers(taken[0], (FIRST, SECOND))
        text = f"the site {SECOND} is back, and the same file is taken in at both sites: receipt {taken[0].number}"
        again = f"glasshouse receipt show {self._shown(taken[0].receipt)}"
        self._prove("loss", "back", text, VENDOR, again)
        return before

    def see_both_agree(self, before: int) -> None:
        """Wait for an inventory after number `before` that both sites have logged and the supervisor recomputed."""
        found: list[Inspection] = []

        def inspected() -> bool:
            found[:] = [said for said in self._inspections() if said.epoch > before]
            return bool(found)

        self.stage.wait("an inspected inventory of both sites", inspected, SECONDS)
        text = f"it has caught up: {FIRST} and {SECOND} log the same inventory {found[-1].epoch}, which"
        self._prove("loss", "caught up", f"{text} {found[-1].party} recomputed", SUPERVISOR, self._alarms)

    @property
    def _alarms(self) -> str:
        return f"glasshouse status alarms --ledger {self.stage.ledger_url} --charter .demo/charter.json"

    def _epoch(self) -> int:
        """The newest inventory of the region that both Zurich sites serve."""
        return max((said.epoch for said in self._inventories()), default=0)

    def _inventories(self) -> Iterable[Inventory]:
        standing = (record.predicate for record in self.story.onlooker().standing(Use.INVENTORY))
        return (said for said in standing if said.region == NORTH)

    def _inspections(self) -> Iterable[Inspection]:
        """What the supervisor says of inventories that both Zurich sites have logged."""
        standing = (record.predicate for record in self.story.onlooker().standing(Use.INSPECTION))
        return (said for said in standing if (said.region, said.party) == (NORTH, SUPERVISOR))

    def erase(self, sent: Sent, meanwhile: Callable[[], None]) -> None:
        """The customer has a file erased under its own signature; something else happens until that is inventoried."""
        self.story.say(f"{sent.customer.name} has {sent.customer.file} erased")
        place = self.customer(sent.customer)
        self.stage.run("uploads", "erase", sent.handle, "--customer", place)
        erased = time.time()
        text = f"at the request of {sent.customer.name}, signed by its own key, {sent.customer.file} is removed"
        again = f"glasshouse uploads list --customer {self._shown(place)}"
        self._prove("followed", "erased", text, sent.customer.name, again)
        meanwhile()

        def told() -> bool:
            later = {said.epoch for said in self._inventories() if said.time > erased}
            return any(said.epoch in later for said in self._inspections())

        self.stage.wait("an inspected inventory after the erasure", told, SECONDS)

    def check(self, sent: Sent, name: str, words: str) -> None:
        """Fetch the evidence of a receipt and check it offline, until an inspected inventory covers it."""
        self.story.say(f"{sent.customer.name} checks its receipt offline: {name}")
        evidence, pin = self.customer(sent.customer) / f"{name}.evidence", ("--charter", self.stage.pin)
        last: dict[str, Any] = {}

        def verified() -> bool:
            ledger = ("--ledger", self.stage.ledger_url)
            got = self.stage.attempt("receipt", "evidence", sent.receipt, *ledger, *pin, "--out", evidence)
            if got.returncode:
                return False
            # Inventories are to be no older than twice the few seconds between them, when the evidence was fetched.
            fetched = ("--evidence", evidence, "--at", utc(int(time.time())))
            last.update(load(self.stage.attempt("receipt", "check", sent.receipt, *fetched, *pin, "--json").stdout))
            return last["exit"] == 0 and any(words in claim["text"] for claim in last["claims"])

        try:
            self.stage.wait(f"a receipt that checks as {name}", verified, SECONDS)
        except DemoFailed as error:
            raise DemoFailed(f"{error}: {last}") from error
        again = f"glasshouse receipt check {self._shown(sent.receipt)} --evidence {self._shown(evidence)}"
        again += f" --charter .demo/charter.json --at {last['at']}"
        claims = {claim["claim"]: claim for claim in last["claims"]}
        shown = [claims[one] for one in ("receipt", "inspection", "object") if one in claims]
        by = ", ".join(dict.fromkeys(party for claim in shown for party in claim["by"]))
        text = f"receipt check exits {last['exit']}: {'; '.join(claim['text'] for claim in shown)}"
        self._prove("followed", name, text, by, again)

    def try_to_look(self, sent: Sent) -> None:
        """Somebody at a site tries to open a file without approval; the refusal stands in the ledger."""
        self.story.say(f"somebody at {FIRST} tries to read {sent.customer.file} without approval")
        words = ("access", "try", sent.handle, "--node", self.stage.node(FIRST))
        said = load(self.stage.run(*words, "--json"))
        text = f"staff at {FIRST} who try to read {sent.customer.file} with the site's own keys are refused"
        text += f" ({said['refused']}): entry {said['entry']} of the ledger says so"
        again = f"glasshouse access list --ledger {self.stage.ledger_url} --charter .demo/charter.json"
        self._prove("looks", "without approval", text, SUPERVISOR, again)

    def slow_down(self) -> None:
        """From now on an inventory a day, so that whoever comes back to this stage finds none missing."""
        self.story.amend(self._interval(DAILY_SECONDS))

    # --- what the scenes share ----------------------------------------------------------------------------------

    def _each(self, work: Callable[[Any], Any], what: Iterable[Any]) -> list[Any]:
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(work, what))

    def _shown(self, path: Path) -> str:
        return f".demo/{path.relative_to(self.stage.root)}"

    def _prove(self, about: str, topic: str, claim: str, by: str, how: str) -> None:
        self.story.proven.append(Proof(about=_TITLES[about], topic=topic, claim=claim, by=by, how=how))


_TITLES = {
    "regions": "where data may live",
    "files": "files from four countries",
    "loss": "a site that is lost and comes back",
    "followed": f"{JAPANESE.file}, from upload to tombstone",
    "looks": "who may look",
}


def _jurisdiction(site: str) -> str:
    return next(cast.site.split(":")[1] for cast in NODES if cast.node == site)
