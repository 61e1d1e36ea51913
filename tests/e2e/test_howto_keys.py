"""docs/howto/key-ceremony.md: the commands of the first ceremony, run as they stand there. The rest: test_rotation."""

import json
from pathlib import Path

from howto import blocks_of, follow
from tokens import needs_softhsm, token_store

PAGE = "key-ceremony.md"


@needs_softhsm
def test_the_ceremony_works_word_for_word(tmp_path: Path) -> None:
    with token_store(tmp_path):
        run = follow(blocks_of(PAGE, "A ceremony"), tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("; never extractable\n") == 3
    keys = json.loads((tmp_path / "minutes.json").read_text())["keys"]
    assert [(key["name"], key["never_extractable"]) for key in keys] == [
        ("conveyor", True),
        ("release", True),
        ("member", True),
    ]
    card = json.loads((tmp_path / "acme" / "card.json").read_text())
    assert {key["public"] for key in card["keys"]} == {key["public"] for key in keys}
    assert list((tmp_path / "acme" / "keys").iterdir()) == [tmp_path / "acme" / "keys" / "pin"]
    assert (tmp_path / "acme" / "keys" / "pin").stat().st_mode & 0o077 == 0
