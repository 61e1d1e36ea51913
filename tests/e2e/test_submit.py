"""A customer's day: enrolled at two sites, a preview, files sent, seen again, limited, erased; and a country added."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from howto import blocks_of, follow
from initiative import command, until
from territories import Nodes, running


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running(tmp_path_factory.mktemp("territory")) as found:
        yield found


def test_from_the_preview_to_the_erasure(nodes: Nodes, tmp_path: Path) -> None:
    customer, sample = nodes.enrol(), tmp_path / "invoice.js"
    sample.write_bytes(b"eval(unescape('%u'))")
    preview = command(customer, "submit", sample, "--category", "suspicious", "--say", "name=invoice.js", "--dry-run")
    assert {site["jurisdiction"] for site in preview["sites"]} == {"CH"}
    assert (preview["region"], preview["retention"], preview["custody"]["party"]) == ("au", 31_536_000, "council")
    assert command(customer, "uploads", "list")["objects"] == []
    (sent,) = command(customer, "submit", sample, "--category", "suspicious", "--say", "name=invoice.js")["files"]
    assert (sent["created"], sent["size"]) == (True, sample.stat().st_size)
    assert json.loads((customer / sent["receipt"]).read_bytes())["payloadType"]
    (shown,) = command(customer, "uploads", "list")["objects"]
    assert (shown["handle"], shown["state"]) == (sent["handle"], "held")
    policy = command(customer, "uploads", "off", "unknown")
    assert {site: said["categories_off"] for site, said in policy["sites"].items()} == {
        "zurich-1": ["unknown"],
        "zurich-2": ["unknown"],
    }
    assert command(customer, "uploads", "limit", "1000")["sites"]["zurich-2"]["bytes_per_day"] == 1000
    command(customer, "uploads", "on", "unknown")
    command(customer, "uploads", "erase", sent["handle"])
    (gone,) = command(customer, "uploads", "list")["objects"]
    assert gone["state"] == "removed"
    listed = nodes.run("zurich-1", "customer", "list")["customers"]
    assert [(c["customer"], c["bytes_per_day"]) for c in listed] == [("kookaburra", 1000)]


def test_the_page_about_sending_works_word_for_word(nodes: Nodes, tmp_path: Path) -> None:
    shutil.copy(nodes.stage.pin, tmp_path / "charter.json")
    (tmp_path / "sample.bin").write_bytes(b"a sample")
    for site in ("zurich-1", "zurich-2"):
        (tmp_path / site).symlink_to(nodes.stage.node(site))
    blocks = blocks_of("send-files.md")
    assert len(blocks) == 7
    run = follow(blocks, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    for words in (
        "Nothing is sent. This would be:",
        "zurich-2 in CH, run by acme",
        "erased after 365 days",
        "read only where council takes part",
        "sample.bin: zurich-1 receipt",
        "zurich-2: switched off: unknown; 0 of 1000000 bytes used today",
        "Removed: ",
        "this site has no indicator lists",
    ):
        assert words in run.stdout, run.stdout
    assert (tmp_path / "kea" / "token").stat().st_mode & 0o077 == 0


def test_the_page_about_countries_works_word_for_word(nodes: Nodes, tmp_path: Path) -> None:
    """Three commands, and the customer of the new country sends its file to sites that were never restarted."""
    for node in ("acme", "council"):
        (tmp_path / node).symlink_to(nodes.stage.node(node))
    *before, vote = blocks_of("add-a-country.md")
    assert len(before) == 2
    run = follow(before, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.search(r"Proposed charter 2 at entry \d+: ([0-9a-f]{64})", run.stdout)
    assert found is not None
    history = ("charter", "history", "--ledger", nodes.url("acme"))
    until(lambda: found[1] in nodes.run("acme", *history)["open"])
    run = follow([vote], tmp_path, PROPOSAL=found[1])
    assert run.returncode == 0, run.stdout + run.stderr
    until(lambda: nodes.version() == 2)
    served = [httpx.Client(base_url=nodes.url(site)) for site in ("zurich-1", "zurich-2")]
    until(lambda: all("NZ" in http.get("/intake/v1/site").json()["rules"]["countries"] for http in served))
    for http in served:
        http.close()
    sample = tmp_path / "kiwi.bin"
    sample.write_bytes(b"from the new country")
    customer = nodes.enrol("tui", "NZ")
    (sent,) = command(customer, "submit", sample, "--category", "unknown")["files"]
    assert sent["created"]


def test_a_ledger_that_is_away_stops_no_customer(nodes: Nodes, tmp_path: Path) -> None:
    """The last one here, since it stops the ledger: what customers and sites have verified goes on counting."""
    customer, sample = nodes.enrol("emu"), tmp_path / "emu.bin"
    sample.write_bytes(b"sent while the ledger is away")
    command(customer, "submit", sample, "--category", "unknown", "--dry-run")
    nodes.stage.stop("acme", "serve")
    (customer / "cache" / "asked").unlink()
    (sent,) = command(customer, "submit", sample, "--category", "unknown")["files"]
    assert sent["created"]
