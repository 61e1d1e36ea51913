"""docs/howto/add-a-product.md: the commands of the page, run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from workshop import REPOSITORY, environment

PAGE = REPOSITORY / "docs" / "howto" / "add-a-product.md"


def shell_blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def follow(blocks: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    # The packages are those of hello-c: asking for its environment skips the test where they cannot be had.
    environment()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh"],
        input="set -eu\n" + "".join(blocks),
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_works_word_for_word(tmp_path: Path) -> None:
    """A new product, from an empty directory to a program that two builds agree on."""
    blocks = shell_blocks()
    assert len(blocks) == 4
    run = follow(blocks, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("built from what you can read\n")
    digests = re.findall(r"^([0-9a-f]{64})  (?:first|second)/greeter$", run.stdout, re.MULTILINE)
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_a_difference_is_found_by_building_twice(tmp_path: Path) -> None:
    """Control: the same page with a build that writes the time down ends at `cmp`."""
    blocks = shell_blocks()
    stamp = '"sh", "-c", "sed -i s/built/$(date +%N)/ greeter.c; exec \\"$@\\"", "sh", "gcc"'
    assert '["gcc", "-O2"' in blocks[1]
    blocks[1] = blocks[1].replace('"gcc", "-O2"', stamp).replace('"libc6-dev"', '"libc6-dev", "sed"')
    run = follow(blocks, tmp_path)
    assert run.returncode != 0
    assert "differ" in run.stdout + run.stderr
