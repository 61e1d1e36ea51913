"""What a customer keeps when its region moves between real processes: token, limits, receipts, the right to erase.

The supervision of such a move is told in test_relocation.py; here nobody supervises, and auditors follow.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.receipt import Inventory
from glasshouse_verify.statement import Use
from initiative import command, until
from territories import BEFORE, REGION, SITES, Nodes, running

from glasshouse.cli.beside import open_beside
from glasshouse.cli.sending import open_client
from glasshouse.cli.wiring import open_session
from glasshouse.regions.keeping.fencing import fence, fence_of, lag

pytestmark = pytest.mark.timeout(600)
MOVE, INTERVAL = "au-2026", 12
NEW = REGION.replace("interval = 86400", f"interval = {INTERVAL}")
OLD = NEW.replace('sites = ["zurich-1", "zurich-2"]\nreplicas = 2', 'sites = ["moscow"]\nreplicas = 1')
MOVING = f"""
[regions.au.moving]
id = "{MOVE}"
source = "site"
site = "moscow"
to = ["zurich-1", "zurich-2"]
replicas = 2
due = 2030-01-01
quarantine = 2
watch = 3
supervisor = "lab"
"""
LIMIT = 1_000_000


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running(tmp_path_factory.mktemp("following"), OLD, sites=("moscow",), cast=BEFORE) as found:
        found.stage.start("lab", "work", "--only", "auditor")
        yield found


@pytest.fixture(scope="module")
def customer(nodes: Nodes) -> Path:
    """Known in Moscow alone, and limited there."""
    directory = nodes.stage.root / "kookaburra"
    command(nodes.stage.root, "customer", "profile", directory, "--country", "AU", "--charter", nodes.stage.pin)
    more = ("--country", "AU", "--key", (directory / "customer.pub").read_text().strip())
    made = nodes.run("moscow", "customer", "add", "kookaburra", *more)
    (directory / "token").touch(0o600)
    (directory / "token").write_text(made["token"])
    return directory


def amend(nodes: Nodes, text: str) -> None:
    path, patch = nodes.stage.root / "terms-au.toml", nodes.stage.root / "patch-au.json"
    path.write_text(text)
    cards = [nodes.stage.node(node) / "card.json" for node in ("moscow", *SITES, "council")]
    nodes.run("acme", "charter", "region", path, *cards, "--out", patch)
    nodes.amend(patch)


def send(customer: Path, name: str) -> dict[str, Any]:
    path = customer / name
    path.write_bytes(name.encode() * 50)
    (sent,) = command(customer, "submit", path, "--category", "suspicious")["files"]
    return dict(sent)


def send_telemetry(customer: Path) -> str:
    with open_client(customer) as (_, client):
        record = {"type": "heartbeat", "platform": "linux", "product": "acme", "version": "1", "time": int(time.time())}
        found = client.send_telemetry("telemetry", [record])
    path = customer / "telemetry.json"
    path.write_bytes(found.envelope)
    return str(path)


def judged(nodes: Nodes, customer: Path, receipt: str, words: str) -> bool:
    """Whether a receipt is verified, offline, against the newest evidence; and what is said of the object."""
    proof = customer / "proof"
    place = ("--ledger", nodes.url("acme"), "--charter", nodes.stage.pin, "--out", proof)
    if nodes.stage.attempt("receipt", "evidence", receipt, *place, cwd=customer).returncode:
        return False
    if json.loads(proof.read_bytes())["inventory"]["predicate"]["site"] not in SITES:
        return False
    given = ("--evidence", proof, "--charter", nodes.stage.pin)
    found = nodes.stage.attempt("receipt", "check", receipt, *given, cwd=customer)
    assert found.returncode in (0, 5), found.stdout
    return found.returncode == 0 and words in found.stdout


def inventories(nodes: Nodes) -> dict[int, set[str]]:
    """Epoch → the sites that have logged it."""
    found: dict[int, set[str]] = {}
    with open_session(nodes.stage.node("lab"), "look") as session:
        for record in session.follow().standing(Use.INVENTORY):
            says: Inventory = record.predicate
            found.setdefault(says.epoch, set()).add(str(says.site))
    return found


@pytest.fixture(scope="module")
def moved(nodes: Nodes, customer: Path) -> dict[str, Any]:
    """Behind the fence; what was sent."""
    with open_client(customer) as (_, client):
        client.decide({"bytes_per_day": LIMIT})
    told: dict[str, Any] = {"kept": send(customer, "kept.exe"), "gone": send(customer, "gone.exe")}
    told["telemetry"] = send_telemetry(customer)
    amend(nodes, OLD + MOVING)
    nodes.serve(*SITES)
    told["during"] = send(customer, "during.exe")
    with open_beside(nodes.stage.node("moscow"), "test") as site:
        until(
            lambda: set(lag(site.place)) == set(SITES) and not any(lag(site.place).values()),
            lambda: str(lag(site.place)),
        )
        fence(site.place, MOVE)
        until(lambda: fence_of(site.place, MOVE) is not None)
    told["after"] = send(customer, "after.exe")
    return told


def test_the_token_and_its_limits_go_along(nodes: Nodes, customer: Path, moved: dict[str, Any]) -> None:
    assert (moved["during"]["site"], moved["after"]["site"]) == ("moscow", "zurich-1")
    for site in SITES:
        (known,) = nodes.run(site, "customer", "list")["customers"]
        assert (known["customer"], known["country"]) == ("kookaburra", "AU")

    def limits() -> list[tuple[int, bool]]:
        with open_client(customer) as (_, client):
            shown = client.policies()
        return [(shown[site]["bytes_per_day"], shown[site]["used_today"] > 0) for site in sorted(shown)]

    until(lambda: limits() == [(LIMIT, True), (LIMIT, True)])
    listed = command(customer, "uploads", "list")["objects"]
    assert {moved[name]["handle"] for name in ("kept", "gone", "during", "after")} < {one["handle"] for one in listed}


def test_what_moscow_took_is_erased_in_zurich(nodes: Nodes, customer: Path, moved: dict[str, Any]) -> None:
    command(customer, "uploads", "erase", moved["gone"]["handle"])
    vaults = [nodes.stage.node(site) / "data" / "vault" for site in SITES]
    until(lambda: not any(list(vault.rglob(moved["gone"]["handle"])) for vault in vaults))


def test_receipts_of_moscow_are_checked_against_zurich(nodes: Nodes, customer: Path, moved: dict[str, Any]) -> None:
    for receipt in (moved["kept"]["receipt"], moved["telemetry"], moved["during"]["receipt"]):
        until(lambda receipt=receipt: judged(nodes, customer, receipt, "it is held as of"))  # type: ignore[misc]
    last = next(epoch for epoch, sites in inventories(nodes).items() if sites == {"moscow", *SITES})
    assert all(sites == {"moscow"} for epoch, sites in inventories(nodes).items() if epoch < last)


def test_the_closing_amendment_changes_nothing_for_customers(
    nodes: Nodes, customer: Path, moved: dict[str, Any]
) -> None:
    amend(nodes, NEW)
    nodes.stage.stop("moscow", "serve")
    for name in ("kept", "after"):
        receipt = moved[name]["receipt"]
        until(lambda receipt=receipt: judged(nodes, customer, receipt, "it is held as of"))  # type: ignore[misc]
    until(lambda: judged(nodes, customer, moved["gone"]["receipt"], "it was erased on"))
    assert send(customer, "later.exe")["site"] in SITES


def test_auditors_have_nothing_to_say(nodes: Nodes, moved: dict[str, Any]) -> None:
    assert moved
    found = nodes.run("lab", "status", "alarms", "--ledger", nodes.url("acme"))["alarms"]
    of_a_move = [alarm for alarm in found if not alarm["rule"].startswith("relocation")]
    assert [(alarm["rule"], alarm["text"]) for alarm in of_a_move if alarm["rule"] != "duties"] == []
