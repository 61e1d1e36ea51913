"""The page's gate and the command's are one gate: the same answer, claim by claim, on honest and hostile evidence.

The page's modules run in node, whose WebCrypto is the browser's; test_evidence_page.py drives the page itself.
"""

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from evidence_cases import Case, all_cases, case, replete
from glasshouse_verify.charter import (
    Charter,
    GateRule,
    Key,
    LedgerRule,
    Party,
    ProductRule,
    Quorum,
    Role,
    Site,
    StatusRule,
    Witness,
)
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import Evidence, format_evidence, parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Rebuild, RebuiltFile, Release, ReleasedFile, Source, Status, Use
from glasshouse_verify.status import StandingVerdict, StatusRow

MODULES = Path(__file__).resolve().parents[2] / "src" / "glasshouse" / "cli" / "page" / "js"
JUDGE = Path(__file__).with_name("judge.mjs")
NODE = 20
LINES = 500
FUNCTION_LINES = 70


def node() -> str:
    """The path of node, whose version has Ed25519 in WebCrypto."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < NODE:
        pytest.skip(f"node {version.strip()} has no Ed25519 in WebCrypto")
    return program


def by_the_page(cases: list[Case]) -> list[dict[str, Any]]:
    lines = [
        json.dumps(
            {
                "pin": encode_base64(given.pin),
                "evidence": encode_base64(given.evidence),
                "digest": given.digest,
                "at": given.at,
            }
        )
        for given in cases
    ]
    command = [node(), str(JUDGE), str(MODULES)]
    run = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def by_the_command(given: Case) -> dict[str, Any]:
    """What `glasshouse verify` does with the same bytes."""
    try:
        report = check_file(given.pin.rstrip(b"\n"), parse_evidence(given.evidence), given.digest, given.at)
    except VerifyError as error:
        return {"outcome": Outcome.UNPARSEABLE, "claims": [], "error": str(error)}
    return {
        "outcome": report.outcome,
        "claims": [
            {
                "claim": claim.claim,
                "outcome": claim.outcome,
                "text": claim.text,
                "by": list(claim.by),
                "when": None if claim.when is None else str(claim.when),
                "recheck": claim.recheck,
                "limit": claim.limit,
            }
            for claim in report.claims
        ],
    }


def test_both_gates_give_the_same_answer() -> None:
    cases = list(all_cases())
    answers = by_the_page(cases)
    assert len(answers) == len(cases)
    different = []
    outcomes = Counter[int]()
    for given, page in zip(cases, answers, strict=True):
        command = by_the_command(given)
        outcomes[command["outcome"]] += 1
        if (page["outcome"], page["claims"]) != (command["outcome"], command["claims"]) or page["unexpected"]:
            different.append((given.label, page, command))
    assert different == []
    # Every outcome is among the cases, and none of them drowns the others.
    assert len(cases) >= 1_000
    assert {outcome for outcome in outcomes if outcomes[outcome] >= 10} == {0, 1, 3, 4, 5}


def test_every_member_is_judged() -> None:
    """A member that no case has could be unknown to one of the two gates, and nobody would notice."""
    world = replete()
    assert by_the_command(case("replete", world))["outcome"] == Outcome.VERIFIED
    shown = json.loads(format_evidence(world.evidence()))
    charters = [json.loads(world.pin)["predicate"], shown["amendments"][0]["delta"]]
    charter, parties = charters[0] | charters[1], [*charters[0]["parties"].values()]
    products = charter["products"].values()
    keys = [key for party in (*parties, *charter["parties"].values()) for key in party.get("keys", {}).values()]
    for kind, values in {
        Evidence: [shown | {"handovers": []}],
        Source: [shown["source"]["predicate"]],
        Release: [shown["release"]["predicate"]],
        ReleasedFile: shown["release"]["predicate"]["files"],
        Rebuild: [logged["predicate"] for logged in shown["rebuilds"]],
        RebuiltFile: shown["rebuilds"][0]["predicate"]["files"],
        Status: [shown["status"]["predicate"]],
        StatusRow: [shown["row"]["row"]],
        StandingVerdict: shown["row"]["row"]["verdicts"].values(),
        Charter: [charter],
        Party: parties,
        Key: keys,
        Site: charter["sites"].values(),
        LedgerRule: [charter["ledger"]],
        Witness: charter["ledger"]["witnesses"].values(),
        Quorum: [charter["members"]],
        StatusRule: [charter["status"]],
        ProductRule: products,
        GateRule: [product["gate"] for product in products],
    }.items():
        assert {field.name for field in fields(kind)} == set().union(*values), kind
    assert {use for key in keys for use in key.get("uses", ())} == set(Use)
    assert {role for party in parties for role in party["roles"]} == set(Role)


def functions(text: str) -> Iterator[tuple[str, int]]:
    """Name and lines of each function and method, by the indentation of its closing brace."""
    lines = text.splitlines()
    head = re.compile(r"( *)(?:export )?(?:static )?(?:async )?(?:function )?(?:get )?(#?\w+)\([^)]*\) \{$")
    for number, line in enumerate(lines):
        match = head.match(line)
        if match and match[2] not in ("if", "for", "while", "switch"):
            yield match[2], lines[number:].index(f"{match[1]}}}") + 1


@pytest.mark.parametrize("path", sorted(MODULES.glob("*.mjs")), ids=lambda path: path.name)
def test_modules_keep_the_sizes_of_the_house(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LINES
    assert [found for found in functions(text) if found[1] > FUNCTION_LINES] == []
    assert [line for line in text.splitlines() if len(line) > 120] == []
