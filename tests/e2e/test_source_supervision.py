"""Source supervision end to end: a real repository, real releases, and what auditors and strangers make of them."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import Outcome, Report
from glasshouse_verify.statement import Use
from initiative import USUAL, Initiative, command, running, until
from repository import Repository
from typer.testing import CliRunner
from workshop import cache, environment
from world import PRODUCT, digest

from glasshouse.cli.app import build
from glasshouse.conveyor.errors import InvalidInput
from glasshouse.ledger.errors import NotThere
from glasshouse.ledger.evidence import assemble

RECIPE = """schema = "glasshouse.recipe/v1"
product = "engine"
platform = "linux-x86_64"

[source]
kind = "git"
location = "{repository}"
branch = "main"

[environment]
suite = "bookworm"
architecture = "amd64"
packages = ["gcc", "libc6-dev"]

[environment.links]
"/usr/bin/cc" = "gcc"

[build]
command = ["cc", "-O2", "-o", "/build/out/engine", "main.c"]
outputs = ["engine"]
"""
PROGRAM = "int main(void) {{ return {}; }}\n"


class Vendor:
    """The vendor's repository and recipe, beside the running initiative."""

    def __init__(self, initiative: Initiative, directory: Path) -> None:
        self.initiative, self.recipe = initiative, directory / "recipe"
        self.repository = Repository(directory / "repository")
        self.recipe.mkdir()
        (self.recipe / "recipe.toml").write_text(RECIPE.format(repository=self.repository.place))
        (self.recipe / "lock.jsonl").write_bytes(environment().lock.data)

    def change(self, number: int, by: str = "ann") -> str:
        return self.repository.commit(text=PROGRAM.format(number), by=by)

    def review(self, commit: str, by: str = "bob", **options: str) -> dict[str, Any]:
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        place, key = self.repository.place, self.repository.keys / by
        self.repository.git("config", "user.name", by)
        self.repository.git("config", "user.email", f"{by}@example.org")
        return command(place, "source", "review", commit, "--product", PRODUCT, "--as", by, "--key", key, *words)

    def release(self, version: str, *options: str) -> dict[str, Any]:
        """Tag what is checked out and release it."""
        if not self.repository.git("tag", "-l", f"v{version}"):
            self.repository.git("tag", f"v{version}")
        words = ("--version", version, "--lock", self.recipe / "lock.jsonl", *options)
        return self.initiative.run("acme", "release", self.recipe, *words)

    def refused(self, version: str) -> str:
        with pytest.raises(InvalidInput, match="source history") as caught:
            self.release(version)
        return str(caught.value)

    def logged(self, version: str) -> int:
        """How many sources of a version are logged."""
        return sum(r.predicate.version == version for r in self.initiative.sync().standing(Use.SOURCE))

    def verified(self, version: str) -> None:
        """Release, and wait until both rebuilders got the same and a customer may install it."""
        (path,) = self.release(version)["files"]
        initiative = self.initiative
        shipped = (initiative.stage.node("acme") / path).read_bytes()
        last: list[Report] = []

        def ready() -> bool:
            try:
                evidence = assemble(initiative.client, initiative.pin, digest(shipped))
            except NotThere:
                # The entry is durable, and published a moment later.
                return False
            last[:] = [check_file(initiative.pin, evidence, digest(shipped), int(time.time()) + 1)]
            return last[0].outcome == Outcome.VERIFIED

        until(ready, lambda: "; ".join(f"{c.claim}: {c.text}" for r in last for c in r.claims if c.outcome))

    def flagged(self, text: str) -> None:
        """Wait until both auditors have logged a finding that says so."""

        def said() -> bool:
            found = [record.predicate for record in self.initiative.sync().standing(Use.FINDING)]
            return {f.party for f in found if f.rule == "source-history" and text in f.text} == {"lab", "second"}

        until(said, lambda: text)

    def check(self, version: str, code: int = 0) -> dict[str, Any]:
        """What a stranger with the pin sees."""
        initiative = self.initiative
        where = ("--ledger", initiative.client.url, "--charter", initiative.stage.pin)
        words = ("source", "check", PRODUCT, version, *where)
        done = CliRunner().invoke(build("source"), [*map(str, words), "--json"])
        assert done.exit_code == code, done.output
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[Vendor]:
    environment()
    with running(tmp_path / "initiative", replace(USUAL, rebuilds=cache())) as initiative:
        vendor = Vendor(initiative, tmp_path)
        patch = tmp_path / "patch.json"
        patch.write_text(json.dumps({"products": {PRODUCT: {"reviewers": 1}}}))
        for name in ("ann", "bob"):
            key = vendor.repository.keys / f"{name}.pub"
            initiative.run("acme", "charter", "developer", PRODUCT, name, key, "--patch", patch)
        initiative.amend_by(patch)
        yield vendor


def test_from_review_to_release_and_what_is_flagged(vendor: Vendor) -> None:
    first = vendor.change(1)
    assert vendor.review(first)["tag"] == f"review/bob/{first[:12]}"
    vendor.verified("1.0")
    told = vendor.check("1.0")
    assert (told["authors"], told["reviewers"], told["faults"]) == (["ann"], ["bob"], [])
    assert told["slsa"] == ["SLSA_SOURCE_LEVEL_1", "SLSA_SOURCE_TWO_PARTY_REVIEWED"]

    # A change that nobody has reviewed is named before it is logged, and flagged once it is.
    second = vendor.change(2)
    rehearsed = vendor.release("1.1", "--dry-run")["history"]
    lack = f"1 of 1 commits have fewer than the 1 review by others that the charter asks for: {second[:12]}"
    assert rehearsed["faults"] == [lack]
    assert (rehearsed["before"], rehearsed["authors"], rehearsed["reviewers"]) == (first, ["ann"], [])
    assert lack in vendor.refused("1.1")
    assert vendor.logged("1.1") == 0
    vendor.release("1.1", "--flagged")
    vendor.flagged(f"{PRODUCT} 1.1: {lack}")
    assert vendor.check("1.1", 1)["faults"] == [lack]

    # History rewritten: what was released as 1.1 is gone from the branch.
    vendor.repository.git("reset", "-q", "--hard", first)
    rewritten = vendor.change(3)
    vendor.review(rewritten)
    assert "the branch was rewritten" in vendor.refused("1.2")
    vendor.release("1.2", "--flagged")
    vendor.flagged(f"{PRODUCT} 1.2: commit {rewritten[:12]} is not shown to descend from {second[:12]}")

    # A review of two changes at once, and the branch goes on from what was released last.
    vendor.change(4, by="bob")
    fifth = vendor.change(5)
    vendor.review(fifth, "bob", since=rewritten)
    vendor.review(fifth, "ann", since=rewritten)
    vendor.verified("1.3")
    assert vendor.check("1.3")["reviewers"] == ["ann", "bob"]
