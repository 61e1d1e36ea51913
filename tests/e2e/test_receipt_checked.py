"""A receipt from upload to inventory to erasure, at two real sites with a real ledger and an auditor at work."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from howto import blocks_of, follow
from initiative import command, until
from territories import REGION, Nodes, running

pytestmark = pytest.mark.timeout(600)
# So many seconds between inventories; evidence is fresh for twice as long.
INTERVAL = 20


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    quick = REGION.replace("interval = 86400", f"interval = {INTERVAL}")
    with running(tmp_path_factory.mktemp("receipts"), quick) as found:
        found.stage.start("lab", "work")
        yield found


def test_the_page_works_word_for_word(nodes: Nodes, tmp_path: Path) -> None:
    customer = nodes.enrol("kea")
    sample = tmp_path / "sample.bin"
    sample.write_bytes(b"a sample")
    command(customer, "submit", sample, "--category", "suspicious")
    (tmp_path / "charter.json").symlink_to(nodes.stage.pin)
    (tmp_path / "kea").symlink_to(customer)
    fetch, check, erase = blocks_of("check-a-receipt.md")

    def outcome(*blocks: str) -> str:
        run = follow([*blocks], tmp_path, LEDGER=nodes.url("acme"))
        nodes.stage.check_alive()
        return run.stdout if run.returncode == 0 else ""

    until(lambda: "it is held as of" in outcome(fetch, check))
    assert outcome(fetch.splitlines(keepends=True)[0], erase)
    until(lambda: "(customer): removed; backups and logs may hold it until" in outcome(fetch, check))
    shown = json.loads((tmp_path / "receipt.evidence").read_bytes())
    assert shown["inspection"]["predicate"]["party"] == "lab"
    # The same two files, judged by somebody else, years before and long after.
    again = [check.replace("\n", f" --at {year}-01-01T00:00:00Z\n") for year in (2020, 2100)]
    for block in again:
        run = follow([fetch.splitlines(keepends=True)[0], block], tmp_path)
        assert run.returncode == 5, run.stdout


def test_the_auditor_has_nothing_to_say(nodes: Nodes) -> None:
    found = nodes.run("acme", "status", "alarms", "--ledger", nodes.url("acme"))
    assert [
        alarm for alarm in found["alarms"] if alarm["rule"] in ("inventory-sites", "inventory-rows", "inventory-counts")
    ] == []
