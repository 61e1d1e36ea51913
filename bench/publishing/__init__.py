"""What the benchmarks of publishing share: an initiative of real processes, and a release timed by an onlooker.

The initiative is the demo's: a vendor with its ledger, two witnesses, two rebuilders that are auditors too, each a node
of its own on this machine. Its caches outlive the run, so that packages are fetched and unpacked once.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.statement import Use

from glasshouse.cli.demo.stage import OLD_SITE, Stage, glasshouse_command
from glasshouse.cli.demo.story import Story, Ware

HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glasshouse" / "bench"
POLL_SECONDS = 0.1
LIMIT_SECONDS = 1_200


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds from the start until anybody could see it in the cosigned ledger; `done`: the command had ended."""

    source: float
    release: float
    verdicts: float
    status: float
    done: float


@contextmanager
def initiative(ware: Ware) -> Iterator[Story]:
    """The parties, at work; nothing is released yet."""
    with Stage(root=HOME, say=lambda _: None) as stage:
        story = Story(stage, [ware], [], stage.say)
        story.found()
        # It was begun beside that; nothing of it may lie within what is measured.
        story.lock(ware)
        yield story


def publish(story: Story, ware: Ware, before: list[list[str]], *options: str | Path) -> Times:
    """Run the commands `before`, then `glasshouse release`, and watch until a signed status shows all verdicts.

    Raises RuntimeError where the command fails, or nothing comes of it within 20 minutes.
    """
    stage = story.stage
    out = stage.root / "scratch" / "evidence"
    words = [*glasshouse_command(), "release", ware.recipe, *options, "--evidence", out, "--node", stage.node(OLD_SITE)]
    seen: dict[str, float] = {}
    log = stage.root / "logs" / "release.log"
    start = time.monotonic()
    for command in before:
        subprocess.run(command, check=True, capture_output=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(list(map(str, words)), stdout=stream, stderr=stream)
        while len(seen) < 5:
            stage.check_alive()
            _look(story, ware, seen, start)
            if process.poll() is not None:
                seen.setdefault("done", time.monotonic() - start)
            if process.poll() or time.monotonic() - start > LIMIT_SECONDS:
                process.kill()
                raise RuntimeError(log.read_text(errors="replace")[-2_000:])
            time.sleep(POLL_SECONDS)
    return Times(**seen)


def _look(story: Story, ware: Ware, seen: dict[str, float], start: float) -> None:
    history = story.onlooker()
    rows = story.rows(ware.product, ware.version)
    spoken = bool(rows) and all(verdict.get("verdict") for row in rows for verdict in row["verdicts"].values())
    found = {
        "source": any(True for _ in history.standing(Use.SOURCE)),
        "release": bool(rows),
        "verdicts": spoken,
        "status": spoken and story.status_is_current(),
    }
    now = time.monotonic() - start
    for name, there in found.items():
        if there:
            seen.setdefault(name, now)


def circumstances() -> str:
    """The machine, and how busy it was in the last minute and the last five."""
    one, five, _ = os.getloadavg()
    return f"{os.cpu_count()} CPUs, load average {one:.1f} {five:.1f}"
