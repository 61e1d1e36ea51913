"""docs/howto/add-a-product.md: the commands of the page, run as they stand there."""

import re
from pathlib import Path

from howto import blocks_of, follow
from workshop import environment

PAGE = "add-a-product.md"


def test_the_page_works_word_for_word(tmp_path: Path) -> None:
    """A new product, from an empty directory to a program that two builds agree on."""
    # The packages are those of hello-c: asking for its environment skips the test where they cannot be had.
    environment()
    blocks = blocks_of(PAGE)
    assert len(blocks) == 4
    run = follow(blocks, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.endswith("built from what you can read\n")
    digests = re.findall(r"^([0-9a-f]{64})  (?:first|second)/greeter$", run.stdout, re.MULTILINE)
    assert len(digests) == 2
    assert digests[0] == digests[1]


def test_a_difference_is_found_by_building_twice(tmp_path: Path) -> None:
    """Control: the same page with a build that writes the time down ends at `cmp`."""
    environment()
    blocks = blocks_of(PAGE)
    stamp = '"sh", "-c", "sed -i s/built/$(date +%N)/ greeter.c; exec \\"$@\\"", "sh", "gcc"'
    assert '["gcc", "-O2"' in blocks[1]
    blocks[1] = blocks[1].replace('"gcc", "-O2"', stamp).replace('"libc6-dev"', '"libc6-dev", "sed"')
    run = follow(blocks, tmp_path)
    assert run.returncode != 0
    assert "differ" in run.stdout + run.stderr
