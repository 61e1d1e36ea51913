"""docs/howto/review-source.md: the commands of the page, run as they stand there."""

import json
import os
from pathlib import Path
from subprocess import CompletedProcess

from glasshouse_verify.statement import Use
from howto import blocks_of, follow
from initiative import running, until
from repository import needs_ssh_keygen
from workshop import cache, environment
from world import PRODUCT

PAGE = "review-source.md"


@needs_ssh_keygen
def test_the_page_works_word_for_word(tmp_path: Path) -> None:
    """From two keys to a release that a stranger finds reviewed."""
    lock = environment().lock
    with running(tmp_path / "initiative") as initiative:
        (tmp_path / "acme").symlink_to(initiative.stage.node("acme"))
        (tmp_path / "acme/cache").symlink_to(cache())
        (tmp_path / "charter.json").write_bytes(initiative.pin)
        (tmp_path / "engine.lock.jsonl").write_bytes(lock.data)

        def section(number: int) -> CompletedProcess[str]:
            blocks = blocks_of(PAGE, f"{number}. ")
            assert blocks
            variables = {"LEDGER": initiative.client.url, "GIT_CONFIG_GLOBAL": os.devnull}
            run = follow(blocks, tmp_path, **variables)
            assert run.returncode == 0, run.stdout + run.stderr
            return run

        for number in (1, 2):
            section(number)
        until(lambda: bool(initiative.sync().proposals))
        (proposed,) = initiative.history.proposals
        initiative.run("council", "charter", "vote", proposed)
        until(lambda: initiative.sync().chain.newest.charter.version == 2)
        for number in (3, 4, 5):
            printed = section(number).stdout
        assert "  history  1 commit, signed by ann, reviewed by bob\n" in printed
        assert "flagged" not in printed
        told = section(6).stdout
        assert told.startswith(f"{PRODUCT} 1.0: commit ")
        assert "SLSA_SOURCE_LEVEL_1, SLSA_SOURCE_TWO_PARTY_REVIEWED" in told
        (source,) = [record.predicate for record in initiative.sync().standing(Use.SOURCE)]
        assert (source.authors, source.reviewers) == (("ann",), ("bob",))
        assert set(json.loads((tmp_path / "patch.json").read_text())["products"][PRODUCT]["developers"]) == {
            "ann",
            "bob",
        }
