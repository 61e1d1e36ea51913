"""What becomes of objects at two real sites with a custodian: looked at, held, erased, wrapped anew, scrubbed."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.access import Access
from glasshouse_verify.codec import decode
from glasshouse_verify.dsse import format_envelope, statement_id
from glasshouse_verify.statement import Use, make_statement
from howto import blocks_of, follow
from initiative import command, until
from territories import REGION, SITES, Nodes, running

from glasshouse.parties.node import open_node
from glasshouse.parties.signer import sign_statement

pytestmark = pytest.mark.timeout(600)
SECONDS = 3
FLEETING = f'fleeting = {{kind = "file", retention = {SECONDS}}}\n'
CONTENT = b"MZ, and what else a suspicious file has"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running(tmp_path_factory.mktemp("keeping"), REGION + FLEETING) as found:
        found.stage.start("council", "work", "--only", "reports")
        yield found


@pytest.fixture(scope="module")
def customer(nodes: Nodes) -> Path:
    return nodes.enrol()


def send(customer: Path, name: str, content: bytes, category: str = "suspicious") -> str:
    path = customer / name
    path.write_bytes(content)
    (sent,) = command(customer, "submit", path, "--category", category)["files"]
    return str(sent["handle"])


def seen(nodes: Nodes) -> dict[str, Any]:
    return nodes.run("acme", "access", "list", "--ledger", nodes.url("acme"))


def state(customer: Path, handle: str) -> str:
    objects = command(customer, "uploads", "list")["objects"]
    return str(next(shown["state"] for shown in objects if shown["handle"] == handle))


def ciphertexts(nodes: Nodes, handle: str) -> list[Path]:
    return [path for site in SITES for path in (nodes.stage.node(site) / "data" / "vault").rglob(handle)]


def stand(nodes: Nodes, directory: Path) -> None:
    for node in ("zurich-1", "zurich-2", "council"):
        (directory / node).symlink_to(nodes.stage.node(node))
    (directory / "charter.json").symlink_to(nodes.stage.pin)


def test_the_page_about_looking_works_word_for_word(nodes: Nodes, customer: Path, tmp_path: Path) -> None:
    handle = send(customer, "looked-at.exe", CONTENT)
    stand(nodes, tmp_path)
    blocks = blocks_of("look-at-an-object.md")
    assert len(blocks) == 6
    run = follow(blocks, tmp_path, HANDLE=handle, LEDGER=nodes.url("acme"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / "sample.bin").read_bytes() == CONTENT
    assert (tmp_path / "sample.bin").stat().st_mode & 0o077 == 0
    assert "Refused (no-grant)" in run.stdout
    assert "used 1 times: the customer reports a false alarm" in run.stdout
    shown = seen(nodes)
    (request,) = shown["requests"]
    assert request["used"] == 1
    assert handle not in json.dumps(shown)
    assert [refusal["by"] for refusal in shown["refusals"]] == ["council"]
    again = nodes.stage.attempt("access", "read", request["request"], "--out", "again", "--node", tmp_path / "zurich-1")
    assert again.returncode == 1
    assert "no uses left" in again.stderr or "closed" in again.stderr
    # What was used up is closed by the custodian, and the site's own refusal stands beside the custodian's.
    until(lambda: [r["state"] for r in seen(nodes)["requests"]] == ["closed"])
    until(lambda: sorted(r["by"] for r in seen(nodes)["refusals"]) == ["acme", "council"])
    until(lambda: 1 in [count["data_keys"] for count in tallied(nodes) if len(count["for"]) == 64])


def tallied(nodes: Nodes) -> list[dict[str, Any]]:
    nodes.run("council", "custody", "tally")
    counts: list[dict[str, Any]] = seen(nodes)["counts"]
    return counts


def test_the_page_about_erasing_works_word_for_word(nodes: Nodes, customer: Path, tmp_path: Path) -> None:
    handle = send(customer, "held.exe", b"held by a court")
    stand(nodes, tmp_path)
    blocks = blocks_of("erase.md")
    assert len(blocks) == 4
    run = follow(blocks, tmp_path, HANDLE=handle)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "in force at every site as event" in run.stdout
    assert "destroyed, event" in run.stdout
    assert "not enforced" in run.stdout
    assert "0 repaired, 0 bad at every site" in run.stdout
    until(lambda: any(count["for"] == "rewrap" for count in tallied(nodes)))
    # It opens as before, by the new keys at both sites.
    assert read(nodes, handle, tmp_path / "after") == b"held by a court"


def read(nodes: Nodes, handle: str, out: Path) -> bytes:
    asked = nodes.run("zurich-1", "access", "request", handle, "--purpose", "a test")["request"]
    nodes.run("council", "access", "grant", asked)
    nodes.run("zurich-1", "access", "read", asked, "--out", out)
    return out.read_bytes()


def test_what_is_due_goes_by_itself(nodes: Nodes, customer: Path) -> None:
    gone = send(customer, "fleeting.exe", b"gone in a moment", "fleeting")
    until(lambda: state(customer, gone) == "removed" and ciphertexts(nodes, gone) == [])


def test_a_scrub_beside_the_server_repairs(nodes: Nodes, customer: Path) -> None:
    handle = send(customer, "rotten.exe", b"rotten" * 10_000)
    path = next((nodes.stage.node("zurich-2") / "data" / "vault").rglob(handle))
    path.write_bytes(path.read_bytes()[:-1])
    found = nodes.run("zurich-2", "vault", "scrub")
    assert (found["repaired"], found["lost"]) == ([handle], [])
    path.unlink()
    nodes.stage.run("work", "--once", "--only", "upkeep", "--node", nodes.stage.node("zurich-2"))
    assert path.read_bytes() == next((nodes.stage.node("zurich-1") / "data" / "vault").rglob(handle)).read_bytes()
    assert nodes.run("zurich-2", "vault", "scrub")["repaired"] == []


def test_killed_between_the_removal_and_the_deletion(nodes: Nodes, customer: Path) -> None:
    handle = send(customer, "killed.exe", b"removed by a process that is killed")
    command(customer, "uploads", "erase", handle)
    process = nodes.stage.processes.pop("zurich-1-serve")
    process.kill()
    process.wait(60)
    nodes.serve("zurich-1")
    until(lambda: state(customer, handle) == "removed" and ciphertexts(nodes, handle) == [])


def test_a_rekeying_waits_for_the_custodian_and_goes_on(nodes: Nodes, customer: Path, tmp_path: Path) -> None:
    handle = send(customer, "waiting.exe", b"wrapped anew later")
    nodes.stage.stop("council", "serve")
    broken = nodes.stage.attempt("vault", "rekey", "--node", nodes.stage.node("zurich-1"))
    assert broken.returncode == 1
    assert "does not answer" in broken.stderr
    nodes.serve("council")
    done = nodes.run("zurich-1", "vault", "rekey")
    assert (done["wrapped"] > 0, len(done["destroyed"])) == (True, 1)
    assert read(nodes, handle, tmp_path / "after") == b"wrapped anew later"


def test_what_a_crash_left_unsent_is_sent_once(nodes: Nodes) -> None:
    nodes.stage.stop("council", "work")
    node = open_node(nodes.stage.node("council"))
    refusal = {"party": "council", "region": "au", "site": "zurich-1", "step": "refusal", "time": int(time.time())}
    said = decode(Access, {**refusal, "about": "77" * 32, "purpose": "a statement from before the crash"}, "access")
    envelope = sign_statement(make_statement(Use.ACCESS, said), node.signer("custody"))
    left = node.data / "reports" / "outgoing" / statement_id(envelope.payload)
    for _ in range(2):
        left.write_bytes(format_envelope(envelope))
        nodes.run("council", "custody", "tally")
        assert not left.exists()
    purposes = [refusal["why"] for refusal in seen(nodes)["refusals"]]
    assert purposes.count("a statement from before the crash") == 1
    nodes.stage.start("council", "work", "--only", "reports")


def test_an_amendment_ends_a_category_and_a_hold_outlives_it(nodes: Nodes, customer: Path) -> None:
    held, gone = (send(customer, f"{name}.exe", name.encode(), "unknown") for name in ("held", "gone"))
    nodes.run("zurich-1", "vault", "hold", held, "--purpose", "a court asks")
    erase = nodes.stage.attempt("uploads", "erase", held, "--customer", customer)
    assert erase.returncode == 1
    assert "legal hold" in erase.stderr
    terms, patch = nodes.stage.root / "shorter.toml", nodes.stage.root / "shorter.json"
    terms.write_text("".join(line for line in REGION.splitlines(keepends=True) if not line.startswith("unknown")))
    cards = [nodes.stage.node(node) / "card.json" for node in (*SITES, "council")]
    nodes.run("acme", "charter", "region", terms, *cards, "--out", patch)
    nodes.amend(patch)
    until(lambda: state(customer, gone) == "removed" and ciphertexts(nodes, gone) == [])
    assert state(customer, held) == "held"
    assert len(ciphertexts(nodes, held)) == 2
    nodes.run("zurich-1", "vault", "release", held, "--purpose", "the court is done")
    until(lambda: state(customer, held) == "removed" and ciphertexts(nodes, held) == [])


def test_auditors_have_nothing_to_say(nodes: Nodes) -> None:
    found = nodes.run("lab", "status", "alarms", "--ledger", nodes.url("acme"))["alarms"]
    assert [alarm for alarm in found if alarm["rule"] in ("access", "erasure", "entitlement")] == []
