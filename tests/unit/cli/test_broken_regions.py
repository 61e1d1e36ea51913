"""Nobody signs, proposes or votes for regions that break a rule, whoever has written them down."""

from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.statement import Use, make_statement
from region_examples import region
from typer.testing import CliRunner
from world import World

from glasshouse.cli.app import build
from glasshouse.parties.card import create_node
from glasshouse.parties.node import Node, NodeSettings

SITES = {name: {"name": name, "jurisdiction": "CH"} for name in ("zurich-1", "zurich-2")}
COUNCIL = {"name": "Council", "roles": [], "keys": {}}
BROKEN: dict[str, dict[str, Any]] = {
    "more copies than sites": {"replicas": 3},
    "no country": {"countries": []},
    "the vendor guards its own keys": {"custody": {"party": "acme"}},
    "unknown member": {"stranger": 1},
}


def charter_with(**changes: Any) -> bytes:
    """The payload of a first charter, written without the drafting that would refuse it."""
    world = World(parties={"council": COUNCIL}, sites=SITES)
    document = encode(world.history.chain.newest.charter)
    rules = encode(region())
    rules = {**rules, **changes, "custody": {**rules["custody"], **changes.get("custody", {})}}
    charter: Charter = decode(Charter, document | {"regions": {"au": rules}}, "charter")
    return make_statement(Use.CHARTER, charter)


@pytest.fixture
def member(tmp_path: Path) -> Path:
    site = {"id": "bern", "name": "Bern", "jurisdiction": "CH"}
    settings = NodeSettings.model_validate({"party": "lab", "name": "Lab", "site": site, "member": True})
    create_node(Node(tmp_path / "lab", settings))
    return tmp_path / "lab"


def sign(member: Path, document: bytes) -> Path:
    place, out = member.parent / "draft.json", member.parent / "signed.json"
    place.write_bytes(document)
    words = ["charter", "sign", str(place), "--node", str(member), "--out", str(out)]
    done = CliRunner().invoke(build("charter"), words)
    if done.exception is not None:
        raise done.exception
    return out


@pytest.mark.parametrize("way", BROKEN)
@pytest.mark.parametrize("form", ["draft", "envelope"])
def test_a_member_does_not_sign_them(member: Path, way: str, form: str) -> None:
    payload = charter_with(**BROKEN[way])
    document = payload if form == "draft" else format_envelope(World().envelope(payload, "acme"))
    with pytest.raises(VerifyError, match=r"regions\.au"):
        sign(member, document)
    assert not (member.parent / "signed.json").exists()


def test_a_member_signs_regions_that_hold(member: Path) -> None:
    assert sign(member, charter_with()).exists()
