"""What Glasshouse adds from `git tag` to published, reproduced and countersigned yara-python, over the bare build.

The whole: `git tag`, then `glasshouse release`, which makes its own lock, publishes the source, builds, waits for the
commitments of both rebuilders, signs, publishes, waits for both verdicts and the signed status, and writes the
evidence. Vendor, ledger, witnesses and both rebuilders share this machine, so three builds compete for it; with a
machine for each the whole is shorter. The bare build is the same build in the same root, without any isolation, alone
(see `build`). Before it is measured, everything is done once, which fills the caches.
"""

import shutil
import subprocess
from pathlib import Path

from bench import Figure, median_seconds
from bench.build import RECIPE, prepared
from bench.publishing import HOME, Times, circumstances, initiative, publish
from glasshouse.cli.demo.story import Ware

LIMIT_SECONDS = 120
VERSION = "4.5.4"
FILLED = HOME / "tag_to_published"


def run() -> Figure:
    """Wall clock; the unit is seconds more than the bare build."""
    if not FILLED.exists():
        _whole()
        FILLED.touch()
    times = _whole()
    with prepared() as builds:
        builds.bare()
        (bare,) = median_seconds(builds.bare, rounds=1)
    ours = times.done - bare
    return {
        "name": "tag_to_published",
        "ours": ours,
        "limit": LIMIT_SECONDS,
        "ratio": LIMIT_SECONDS / ours,
        "unit": "s",
        "target": f"at most {LIMIT_SECONDS} s more than the bare build",
        "notes": f"whole {times.done:.1f} s, bare build {bare:.1f} s; seen in the ledger after: source"
        f" {times.source:.1f} s, release {times.release:.1f} s, both verdicts {times.verdicts:.1f} s, status"
        f" {times.status:.1f} s; {circumstances()}",
    }


def _whole() -> Times:
    ware = Ware(recipe=RECIPE, version=VERSION)
    with initiative(ware) as story:
        repository = story.stage.root / "scratch" / "repository"
        recipe = repository / RECIPE.name
        shutil.copytree(RECIPE, recipe)
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Recipe"]):
            subprocess.run(_git(repository, *words), check=True, capture_output=True)
        tag = _git(repository, "tag", f"v{VERSION}")
        return publish(story, Ware(recipe=recipe, version=VERSION), [tag])


def _git(repository: Path, *words: str) -> list[str]:
    name = ("-c", "user.name=Bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false")
    return ["git", "-C", str(repository), *name, *words]
