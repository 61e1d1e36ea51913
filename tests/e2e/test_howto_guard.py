"""docs/howto/guard-a-region.md: the commands that make a custodian, run as they stand there, and the node's tables."""

import json
import re
import tomllib
from pathlib import Path

from howto import HOWTO, blocks_of, follow

from glasshouse.parties.node import WrappingSettings, open_node

PAGE = "guard-a-region.md"


def test_a_custodian_is_made_word_for_word(tmp_path: Path) -> None:
    run = follow(blocks_of(PAGE, "Become"), tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    node = open_node(tmp_path / "council")
    assert [path.name for path in node.custody_paths] == ["custody.x25519"]
    assert node.settings.roles == ("custody",)
    card = json.loads((tmp_path / "council" / "card.json").read_text())
    assert card["custody"]["url"] == "https://custody.council.example"
    assert [key["uses"] for key in card["keys"]] == [["access"]]
    assert "signs access" in run.stdout


def test_the_tables_are_those_of_a_node() -> None:
    tables = re.findall(r"^```toml\n(.*?)^```$", (HOWTO / PAGE).read_text(), re.MULTILINE | re.DOTALL)
    assert len(tables) == 2
    for table in tables:
        WrappingSettings.model_validate(tomllib.loads(table)["wrapping"])
