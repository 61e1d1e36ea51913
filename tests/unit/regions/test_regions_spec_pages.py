"""The examples in docs/spec of this room's formats are what the code writes and what it reads."""

import re

from sealing import example, written
from workshop import REPOSITORY

SPEC = REPOSITORY / "docs" / "spec"


def block(page: str, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (SPEC / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_sealed_object() -> None:
    assert block("sealed-object", "sealed-object") == written(example())
