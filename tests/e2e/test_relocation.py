"""A region moves between real nodes by the commands alone: from Moscow to two sites in Zurich, while products send."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.statement import parse_statement
from initiative import command, until
from territories import BEFORE, REGION, SITES, Nodes, running

pytestmark = pytest.mark.timeout(600)
MOVE = "au-2026"
OLD = REGION.replace('sites = ["zurich-1", "zurich-2"]\nreplicas = 2', 'sites = ["moscow"]\nreplicas = 1').replace(
    "interval = 86400", "interval = 2"
)
NEW = REGION.replace("interval = 86400", "interval = 2")
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


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running(tmp_path_factory.mktemp("moving"), OLD, sites=("moscow",), cast=BEFORE) as found:
        for auditor in ("lab", "second"):
            found.stage.start(auditor, "work", "--only", "auditor")
        yield found


@pytest.fixture(scope="module")
def customer(nodes: Nodes) -> Path:
    directory = nodes.stage.root / "kookaburra"
    pin = ("--charter", nodes.stage.pin)
    command(nodes.stage.root, "customer", "profile", directory, "--country", "AU", *pin)
    more = ("--country", "AU", "--key", (directory / "customer.pub").read_text().strip())
    made = nodes.run("moscow", "customer", "add", "kookaburra", *more)
    (directory / "token").touch(0o600)
    (directory / "token").write_text(made["token"])
    return directory


def terms(nodes: Nodes, text: str) -> None:
    """Bring the region's terms into the charter; returns once they are in force."""
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


def site_of(receipt: Path) -> str:
    """Which site took what the receipt is of."""
    return str(parse_statement(parse_envelope(receipt.read_bytes()).payload).predicate.site)


def plan(nodes: Nodes, node: str, text: str) -> None:
    place = nodes.stage.node(node) / "moves"
    place.mkdir(exist_ok=True)
    (place / f"{MOVE}.toml").write_text(text)


def status(nodes: Nodes) -> dict[str, Any]:
    return nodes.run("acme", "relocate", "status", MOVE, "--ledger", nodes.url("acme"))


def move(nodes: Nodes, node: str, verb: str, *words: str, code: int = 0) -> dict[str, Any]:
    done = nodes.stage.attempt("relocate", verb, MOVE, "--node", nodes.stage.node(node), "--json", *words)
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout)) if done.stdout.strip() else {}


@pytest.fixture(scope="module")
def moved(nodes: Nodes, customer: Path) -> dict[str, Any]:
    """The whole move; what each command said."""
    told: dict[str, Any] = {"before": [send(customer, f"before-{number}.exe") for number in range(4)]}
    told["promise"] = command(
        nodes.stage.root, "relocate", "promise", "au=2030-06-30", "--node", nodes.stage.node("acme")
    )
    terms(nodes, OLD + MOVING)
    nodes.serve(*SITES)
    plan(nodes, "moscow", "[scope]\nreplicas = []\nbackups = []\ncaches = []\n")
    ways = "".join(
        f'[sites.{site}]\nurl = "{(nodes.stage.node(site) / "data" / "vault").as_uri()}"\n'
        for site in ("moscow", *SITES)
    )
    plan(nodes, "lab", f'{ways}[watch]\nevery = 1\ntoken = "keys/canary"\ncountry = "AU"\ncategory = "unknown"\n')
    shutil.copy(customer / "token", nodes.stage.node("lab") / "keys" / "canary")
    told["plan"] = move(nodes, "moscow", "plan", "--log")
    told["early"] = move(nodes, "moscow", "run", "--once", code=1)
    for member in ("lab", "council"):
        move(nodes, member, "commit")
    verifying = threading.Thread(target=lambda: told.update(verify=move(nodes, "lab", "verify")))
    revealing = threading.Thread(target=lambda: told.update(reveal=move(nodes, "council", "verify")))
    arriving = [
        threading.Thread(target=lambda site=site: told.update({site: move(nodes, site, "run")})) for site in SITES
    ]
    threads = [verifying, revealing, *arriving]
    for thread in threads:
        thread.start()
    told["during"] = send(customer, "during.exe")
    told["run"] = move(nodes, "moscow", "run")
    told["after"] = send(customer, "after.exe")
    for thread in threads:
        thread.join(240)
    told["countersigned"] = status(nodes)
    told["quarantine"] = move(nodes, "moscow", "erase", code=1)
    told["dry"] = move(nodes, "moscow", "erase", "--dry-run")
    told["refused"] = nodes.stage.attempt("relocate", "erase", MOVE, "--node", nodes.stage.node("moscow"))
    terms(nodes, NEW)
    until(lambda: nodes.stage.attempt("relocate", "erase", MOVE, "--node", nodes.stage.node("moscow")).returncode == 0)
    nodes.stage.stop("moscow", "serve")
    shutil.move(nodes.stage.node("moscow"), nodes.stage.root / "cut-off")
    told["again"] = move(nodes, "lab", "verify")
    # It is switched on again, and tried.
    shutil.move(nodes.stage.root / "cut-off", nodes.stage.node("moscow"))
    nodes.serve("moscow")
    told["watch"] = move(nodes, "lab", "watch")
    return told


def test_each_step_stands_after_those_before(nodes: Nodes, moved: dict[str, Any]) -> None:
    steps = [step["step"] for step in status(nodes)["steps"]]
    order = ["scope", "commitment", "commitment", "open", "source", "listing", "fence", "arrival", "arrival"]
    assert steps[:9] == order
    assert steps[9:12] in (["reveal", "reveal", "countersign"],)
    assert steps[12:15] == ["quarantine", "erasure", "resample"]
    assert set(steps[15:]) == {"watch"}
    assert status(nodes)["state"] == "ended"
    assert status(nodes)["owed"] == []
    assert status(nodes)["strays"] == []


def test_a_step_waits_for_those_before(moved: dict[str, Any]) -> None:
    assert moved["early"]["steps"] == []
    assert moved["early"]["waiting"] == "open"
    assert moved["refused"].returncode == 1
    assert "have not closed it" in moved["refused"].stderr


def test_products_follow_by_themselves(nodes: Nodes, customer: Path, moved: dict[str, Any]) -> None:
    during, after = (site_of(customer / sent["receipt"]) for sent in (moved["during"], moved["after"]))
    assert during == "moscow"
    assert after in SITES
    shown = command(customer, "uploads", "list")["objects"]
    assert {one["handle"] for one in shown} == {
        sent["handle"] for sent in (*moved["before"], moved["during"], moved["after"])
    }


def test_a_receipt_of_before_is_honoured_after(nodes: Nodes, customer: Path, moved: dict[str, Any]) -> None:
    receipt = Path(moved["before"][0]["receipt"])
    proof = customer / "proof"

    def checked() -> bool:
        words = ("--ledger", nodes.url("acme"), "--charter", nodes.stage.pin, "--out", proof)
        got = nodes.stage.attempt("receipt", "evidence", receipt, *words, cwd=customer)
        if got.returncode:
            return False
        words = ("--evidence", proof, "--charter", nodes.stage.pin, "--json")
        found = nodes.stage.attempt("receipt", "check", receipt, *words, cwd=customer)
        return found.returncode == 0

    until(checked)


def test_one_file_proves_it_offline(nodes: Nodes, moved: dict[str, Any], tmp_path: Path) -> None:
    proof = tmp_path / "au.evidence"
    words = ("--ledger", nodes.url("acme"), "--charter", nodes.stage.pin)
    command(nodes.stage.root, "relocate", "evidence", MOVE, *words, "--out", proof)
    found = nodes.stage.attempt("verify", proof, "--charter", nodes.stage.pin)
    assert found.returncode == 0, found.stdout + found.stderr
    late = json.loads(proof.read_bytes())
    proof.write_text(json.dumps(late | {"steps": late["steps"][:-3]}))
    assert nodes.stage.attempt("verify", proof, "--charter", nodes.stage.pin).returncode != 0


def test_the_report_and_the_programme(nodes: Nodes, moved: dict[str, Any], tmp_path: Path) -> None:
    words = ("--ledger", nodes.url("acme"), "--charter", nodes.stage.pin)
    said = command(nodes.stage.root, "relocate", "report", MOVE, *words, "--out", tmp_path)
    assert said["headline"] == "Australia has moved, and the old site is empty"
    assert (tmp_path / f"{MOVE}.pdf").read_bytes().startswith(b"%PDF-")
    (line,) = command(nodes.stage.root, "relocate", "programme", *words)["regions"]
    assert (line["region"], line["state"], line["late"]) == ("au", "ended", False)
    assert line["promised"].startswith("2030-06-30")


def test_nothing_is_left_at_the_old_site(nodes: Nodes, moved: dict[str, Any]) -> None:
    left = nodes.stage.node("moscow")
    assert moved["watch"]["logged"]["intake-upload"] > 0
    assert moved["watch"]["alarms"] == 0
    handles = [sent["handle"] for sent in (*moved["before"], moved["during"])]
    assert not any(list((left / "data" / "vault").rglob(handle)) for handle in handles)
    assert not list((left / "keys").glob("wrap-*.aes"))
    for site in SITES:
        vault = nodes.stage.node(site) / "data" / "vault"
        assert all(list(vault.rglob(handle)) for handle in handles)


def test_auditors_have_nothing_to_say(nodes: Nodes, moved: dict[str, Any]) -> None:
    found = nodes.run("lab", "status", "alarms", "--ledger", nodes.url("acme"))["alarms"]
    assert [(alarm["rule"], alarm["text"]) for alarm in found if alarm["rule"] != "duties"] == []
