"""What a site shows of its inventories over HTTP, and the command that makes a receipt's evidence of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from customers import serving
from glasshouse_verify.dsse import format_envelope, parse_envelope
from glasshouse_verify.manifest import parse_rows
from glasshouse_verify.receipt import Inventory
from glasshouse_verify.shards import verify_shard
from glasshouse_verify.statement import parse_statement
from region_world import receipt_of
from surveyed import Pair, surveyed
from typer.testing import CliRunner

from glasshouse.cli.app import build
from glasshouse.regions.customers.accounts import Accounts
from glasshouse.regions.customers.holdings import Holdings
from glasshouse.regions.customers.pace import Pace
from glasshouse.regions.delta import parse_delta
from glasshouse.regions.errors import SiteUnavailable
from glasshouse.regions.inventory_client import fetch_proof
from glasshouse.regions.reception import Site as Reception
from glasshouse.regions.server import create_site_app
from glasshouse.storage.db import Database


@pytest.fixture(scope="module")
def pair(database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with surveyed(tmp_path_factory.mktemp("region"), database, other_database) as found:
        site = found.sites[0]
        with site.place.database.transaction() as connection:
            connection.execute("drop schema if exists customers cascade")
            connection.execute("delete from public.glasshouse_migration where room = 'customers'")
        reception = Reception(
            rules=site.place.rules,
            charter=lambda: found.world.history.chain.newest.charter,
            intake=site.intake,
            accounts=Accounts(site.place.database),
            holdings=Holdings(site.place.database, "au"),
            pace=Pace(1_000.0),
        )
        with serving(create_site_app(reception), site.ground.public_ports["zurich-1"]):  # type: ignore[attr-defined]
            yield found


def ask(pair: Pair, path: str) -> httpx.Response:
    return httpx.get(url_of(pair) + path, timeout=60)


def url_of(pair: Pair) -> str:
    return pair.sites[0].place.rules().rules.sites["zurich-1"].url


def test_before_the_first_epoch(pair: Pair) -> None:
    for path in ("newest", f"proof/{'a' * 64}", "rows"):
        answer = ask(pair, f"/inventory/v1/au/{path}")
        assert (answer.status_code, answer.json()["field"]) == (404, "inventory")
    assert ask(pair, "/inventory/v1/au/deltas/1").status_code == 404


def test_what_everybody_sees(pair: Pair) -> None:
    mine, gone = pair.upload(b"mine"), pair.upload(b"gone")
    pair.erase(gone)
    epoch = pair.close()
    newest = ask(pair, "/inventory/v1/au/newest").json()
    assert (newest["epoch"], newest["inventory"]) == (epoch, pair.world.last["zurich-1"])
    inventory: Inventory = pair.world.statement(newest["inventory"])
    for envelope, held in ((mine, True), (gone, False)):
        handle = receipt_of(envelope).handle
        proven = fetch_proof(url_of(pair), "au", handle)
        assert proven.inventory == newest["inventory"]
        assert (verify_shard(inventory.held, handle, proven.held) is not None) == held
        assert (verify_shard(inventory.erased, handle, proven.erased) is None) == held
    for tree, key in (("held", mine), ("erased", gone)):
        (row,) = parse_rows(ask(pair, f"/inventory/v1/au/rows?tree={tree}").content)
        assert row["key"] == receipt_of(key).handle
    delta = ask(pair, f"/inventory/v1/au/deltas/{epoch}")
    assert parse_delta(delta.content).epoch == epoch
    assert delta.content == pair.world.blobs[inventory.delta]
    pair.upload(b"one more")
    pair.close()
    assert fetch_proof(url_of(pair), "au", receipt_of(mine).handle).epoch == epoch + 1


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("eu/newest", 404, "region"),
        (f"eu/proof/{'a' * 64}", 404, "region"),
        ("au/proof/xyz", 422, "handle"),
        (f"au/proof/{'A' * 64}", 422, "handle"),
        ("au/rows?tree=roots", 422, "tree"),
        ("au/deltas/0", 404, "epoch"),
        ("au/deltas/999", 404, "epoch"),
        ("au/deltas/99999999999999999999", 404, "epoch"),
        ("au/deltas/x", 404, "epoch"),
    ],
)
def test_what_there_is_not(pair: Pair, path: str, status: int, field: str) -> None:
    answer = ask(pair, f"/inventory/v1/{path}")
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_sites_that_do_not_answer(pair: Pair) -> None:
    for url, region in (("http://127.0.0.1:9", "au"), (url_of(pair), "eu"), ("nonsense", "au")):
        with pytest.raises(SiteUnavailable):
            fetch_proof(url, region, "a" * 64)


def test_the_reference_names_the_routes(pair: Pair) -> None:
    paths = ask(pair, "/openapi.json").json()["paths"]
    assert "/inventory/v1/{region}/proof/{handle}" in paths


def test_the_commands(pair: Pair, tmp_path: Path) -> None:
    """Shown, checked, and refused with the exit codes of the gate; the evidence is the pair's."""
    from glasshouse_verify.receipt_check import format_receipt_evidence

    mine = pair.upload(b"by command")
    pair.close()
    receipt, pin = tmp_path / "receipt.json", tmp_path / "charter.json"
    receipt.write_bytes(format_envelope(mine))
    (tmp_path / "receipt.json.evidence").write_bytes(format_receipt_evidence(pair.evidence(mine)))
    pin.write_bytes(pair.world.pin)
    run = CliRunner()
    shown = run.invoke(build("receipt"), ["receipt", "show", str(receipt)])
    assert json.loads(shown.output)["commitment"] == receipt_of(mine).commitment
    base = ["receipt", "check", str(receipt), "--charter", str(pin)]
    found = run.invoke(build("receipt"), [*base, "--json"])
    answer = json.loads(found.output)
    assert (found.exit_code, answer["outcome"]) == (0, "verified")
    assert [claim["claim"] for claim in answer["claims"]][2:] == ["receipt", "inventory", "inspection", "object"]
    text = run.invoke(build("receipt"), base)
    assert "No cryptography shows that no copy exists" in text.output
    assert run.invoke(build("receipt"), [*base, "--at", "2018-01-01T00:00:00Z"]).exit_code == 5
    other = parse_envelope(pair.sites[1].upload(b"another").receipt)
    receipt.write_bytes(format_envelope(other))
    assert run.invoke(build("receipt"), base).exit_code == 4
    assert parse_statement(other.payload)
