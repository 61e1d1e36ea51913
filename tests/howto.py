"""Pages of docs/howto followed word for word: their shell blocks, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

HOWTO = Path(__file__).resolve().parents[1] / "docs" / "howto"


def blocks_of(page: str, heading: str = "") -> list[str]:
    """The shell blocks of a page, or of its sections whose headings begin so."""
    sections = re.split(r"^## ", (HOWTO / page).read_text(), flags=re.MULTILINE)
    chosen = "".join(section for section in sections if section.startswith(heading))
    return re.findall(r"^```sh\n(.*?)^```$", chosen, re.MULTILINE | re.DOTALL)


def follow(blocks: list[str], directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run blocks in one shell that stops at the first failure; this installation's glasshouse is on its path."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh"],
        input="set -eu\n" + "".join(blocks),
        cwd=directory,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
