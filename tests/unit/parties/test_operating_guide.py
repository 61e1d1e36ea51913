"""The settings that the page about running a region shows are settings that a node takes."""

import re
import tomllib
from pathlib import Path

import pytest

from glasshouse.parties.drafting import parse_region_terms
from glasshouse.parties.node import NodeSettings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "run-a-region.md"
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_there_are_such_blocks() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS)
def test_each_is_taken(block: str) -> None:
    tables = tomllib.loads(block)
    if "regions" in tables:
        assert list(parse_region_terms(block)) == ["au"]
        return
    site = {"id": "zurich-1", "name": "Zurich", "jurisdiction": "CH"}
    settings = NodeSettings.model_validate({"party": "acme", "name": "Acme Security", "site": site, **tables})
    assert all(getattr(settings, name) is not None for name in tables)


def test_the_defaults_that_it_names_are_the_defaults() -> None:
    intake = NodeSettings.model_validate(
        {
            "party": "acme",
            "name": "Acme",
            "site": {"id": "a", "name": "A", "jurisdiction": "CH"},
            "intake": {"region": "au", "peer_listen": "127.0.0.1:9101"},
        }
    ).intake
    assert intake is not None
    found = (intake.requests_per_second, intake.max_file_bytes >> 30, intake.scrub_hours, intake.rekey_days)
    assert found == (100, 64, 24, 14)
    words = "(100)", "(64 GiB)", "(24)", "(14)"
    assert all(word in PAGE.read_text() for word in words)
