"""The pages of statements, charter, status, evidence, gate, card and node show what the code writes and reads."""

import tomllib
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest
from examples import BLOCK, PAGES, examples, payloads, shown
from glasshouse_verify.access import Access
from glasshouse_verify.charter import (
    Authenticode,
    Charter,
    GateRule,
    Key,
    LedgerRule,
    Party,
    ProductRule,
    Quorum,
    Site,
    StatusRule,
    Witness,
)
from glasshouse_verify.codec import _members, decode, encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.evidence import Evidence, parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.manifest import ManifestTree
from glasshouse_verify.receipt import Counts, Inspection, Inventory, Receipt, Tombstone
from glasshouse_verify.receipt_check import ReceiptEvidence
from glasshouse_verify.region import Category, Custody, Moving, Region, RegionSite
from glasshouse_verify.relocation import Fault, Relocation, Remaining
from glasshouse_verify.relocation_check import RelocationEvidence
from glasshouse_verify.report import Claim, Outcome
from glasshouse_verify.row import ManifestRoot, RowProof, verify_row
from glasshouse_verify.shards import Sharded, ShardProof
from glasshouse_verify.statement import Status, Use, Verdict, parse_statement
from glasshouse_verify.status import StatusRow
from world import NOW, SHIPPED, World, digest

from glasshouse.parties.card import Card, parse_card
from glasshouse.parties.node import KEY_USES, NodeSettings
from glasshouse.regions.delta import Delta, HeldRow
from glasshouse.relocation.descriptions import Described
from glasshouse.relocation.openings import ObjectFacts, Opening, OpeningsRequest, VersionFacts

EXAMPLES = examples()
SHOWN = {
    "relocation-http": {"openings-request", "openings-answer", "ciphertext-row", "store-row", "description"},
    "statement": {"release", "source", "commit", "rebuild", "hold", "finding", "trap"},
    "charter": {"charter"},
    "status": {"status", "status-row", "status-row-held", "status-row-proof"},
    "evidence": {"evidence"},
    "gate": {"answer"},
    "card": {"card"},
    "node": {"node"},
    "region": {"region", "moving"},
    "relocation": {"relocation"},
    "relocation-evidence": {"relocation-evidence"},
    "receipt": {"receipt"},
    "inventory": {"inventory", "inspection", "inventory-row", "tombstone"},
    "access": {"access"},
    "receipt-evidence": {"receipt-evidence"},
    "inventory-delta": {"inventory-delta"},
    "intake-http": {"intake-metadata", "telemetry"},
}
KINDS: dict[str, list[Any]] = {
    "statement": [
        type(parse_statement(data).predicate) for use, data in payloads().items() if use.value in SHOWN["statement"]
    ],
    "charter": [
        Charter,
        Party,
        Key,
        Site,
        Quorum,
        LedgerRule,
        Witness,
        StatusRule,
        ProductRule,
        GateRule,
        Authenticode,
    ],
    "status": [Status, StatusRow],
    "evidence": [Evidence],
    "gate": [Claim],
    "card": [Card],
    "region": [Region, RegionSite, Custody, Category, Moving],
    "relocation": [Relocation, Fault, Remaining],
    "relocation-evidence": [RelocationEvidence],
    "receipt": [Receipt],
    "inventory": [Inventory, Inspection, Tombstone, Counts, Sharded, ShardProof],
    "access": [Access],
    "receipt-evidence": [ReceiptEvidence],
    "inventory-delta": [Delta, HeldRow],
    "relocation-http": [OpeningsRequest, Opening, ObjectFacts, VersionFacts, Described],
}


def text_of(page: str) -> str:
    return (PAGES / f"{page}.md").read_text()


@pytest.mark.parametrize("page", SHOWN)
def test_examples_are_those_of_the_code(page: str) -> None:
    """To write them anew: python tests/examples.py"""
    found = {name: text for _, name, text in BLOCK.findall(text_of(page))}
    assert set(found) == SHOWN[page]
    assert found == {name: shown(EXAMPLES[name]) for name in found}


def test_every_page_with_such_examples_is_named_above() -> None:
    assert {path.stem for path in PAGES.glob("*.md") if BLOCK.search(path.read_text())} == set(SHOWN)


def test_statements_parse() -> None:
    for use in Use:
        if use != Use.CHARTER:
            payload = format_json(EXAMPLES[use.value])
            assert parse_statement(payload).use == use
    charter = decode(Charter, EXAMPLES["charter"], "charter")
    assert encode(charter) == EXAMPLES["charter"]


def test_the_evidence_verifies() -> None:
    evidence = parse_evidence(format_json(EXAMPLES["evidence"]))
    assert check_file(World().pin, evidence, digest(SHIPPED), NOW).outcome == Outcome.VERIFIED


def test_the_rows_and_the_proof_hold() -> None:
    row = EXAMPLES["status-row"]
    tree = ManifestTree([row])
    proof = decode(RowProof, EXAMPLES["status-row-proof"], "proof")
    assert verify_row(ManifestRoot(root=tree.root, size=tree.size), proof) == row
    for name in ("status-row", "status-row-held"):
        assert encode(decode(StatusRow, EXAMPLES[name], "row")) == EXAMPLES[name]
    assert EXAMPLES["status-row-held"]["holds"][0]["action"] == "hold"


def test_the_answer_and_the_card() -> None:
    assert EXAMPLES["answer"]["outcome"] == "verified"
    assert encode(parse_card(format_json(EXAMPLES["card"]))) == EXAMPLES["card"]


def test_the_settings_are_all_there_are() -> None:
    settings = tomllib.loads(EXAMPLES["node"])
    for name, field in NodeSettings.model_fields.items():
        assert name in settings, name
        kinds = (field.annotation, *get_args(field.annotation))
        table: Any = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
        for member in table.model_fields if table else ():
            assert name in ("keys", "wrapping") or member in settings[name], f"{name}.{member}"
            assert f"`{member}`" in text_of("node"), f"{name}.{member}"
        assert f"`{name}`" in text_of("node") or f"`[{name}]`" in text_of("node") or f"[{name}." in text_of("node")
    assert NodeSettings.model_validate(settings).model_dump(exclude_defaults=True).keys() == settings.keys()
    for name in KEY_USES:
        assert f"`{name}`" in text_of("node")


@pytest.mark.parametrize("page", KINDS)
def test_every_member_is_explained(page: str) -> None:
    text = text_of(page)
    for kind in KINDS[page]:
        assert is_dataclass(kind)
        for name in (field.name for field in fields(kind)):
            if name not in ("party", "time", "product", "version", "reason", "action", "rule", "about", "text", "key"):
                assert f"`{name}`" in text, f"{kind.__name__}.{name}"


def test_every_verdict_and_outcome_is_explained() -> None:
    assert all(f"`{verdict}`" in text_of("statement") for verdict in Verdict)
    for outcome in Outcome:
        assert f"| {int(outcome)} | {outcome.name.lower().replace('_', ' ')} |" in text_of("gate")


def test_members_that_may_be_absent_are_marked() -> None:
    """Every member of the kinds on the page that may be left out stands in a row that says so."""
    rows = [line for line in text_of("statement").splitlines() if line.startswith("|")]
    for kind in KINDS["statement"]:
        for name, (_, default) in _members(kind).items():
            if default is None and name not in ("lifts", "successor"):
                assert any(f"`{name}`" in row and "optional" in row for row in rows), f"{kind.__name__}.{name}"
