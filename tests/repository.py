"""Real git repositories, whose commits and reviews are signed by ssh-keygen with the developers' keys.

`seeded("ann")` is Ann's key, as everywhere in the tests; `repository.keys / "ann"` is the same as OpenSSH keeps it.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from glasshouse_verify.lineage import review_title
from lineages import BRANCH, write_ssh_key
from world import PRODUCT

SSH_KEYGEN = shutil.which("ssh-keygen") is not None
REASON = "ssh-keygen is not installed"
needs_ssh_keygen = pytest.mark.skipif(not SSH_KEYGEN, reason=REASON)
DEVELOPERS = ("ann", "bob", "eve", "mallory")
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_DATE": "1700000000 +0100",
    "GIT_COMMITTER_DATE": "1700000123 -0500",
}


class Repository:
    """A repository in a new directory, on the branch main, with a `keys` directory beside it."""

    def __init__(self, place: Path, *, object_format: str = "sha1") -> None:
        if not SSH_KEYGEN:
            pytest.skip(REASON)
        self.place, self.keys = place, place.parent / f"{place.name}-keys"
        self.keys.mkdir()
        for name in DEVELOPERS:
            write_ssh_key(self.keys, name)
        subprocess.run(["git", "init", "-q", "-b", BRANCH, f"--object-format={object_format}", place], check=True)

    def git(self, *words: str, by: str = "ann", inside: Path | None = None) -> str:
        """Run git as a developer; returns what it prints."""
        settings = {
            "user.name": by,
            "user.email": f"{by}@example.org",
            "gpg.format": "ssh",
            "user.signingKey": str(self.keys / by),
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = ["git", "-C", str(inside or self.place), *options, *words]
        run = subprocess.run(command, env={**os.environ, **_ENVIRONMENT}, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def commit(self, path: str = "main.c", text: str = "", by: str = "ann", *, signed: bool = True) -> str:
        """Write a file and commit it; returns the commit's id."""
        (self.place / path).parent.mkdir(parents=True, exist_ok=True)
        (self.place / path).write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", *(["-S"] if signed else []), "-m", f"{path}: {text[:20]}", by=by)
        return self.git("rev-parse", "HEAD")

    def merge(self, name: str, by: str = "ann") -> str:
        """Merge a branch with a signed merge commit; returns its id."""
        self.git("merge", "-q", "--no-ff", "-S", "-m", f"merge {name}", name, by=by)
        return self.git("rev-parse", "HEAD")

    def review(self, commit: str, since: str | None = None, *, by: str = "bob", product: str = PRODUCT) -> None:
        """Review a commit as `glasshouse source review` does."""
        title = review_title(product, BRANCH, since)
        self.git("tag", "-s", "-m", title, f"review/{by}/{commit[:12]}", commit, by=by)
