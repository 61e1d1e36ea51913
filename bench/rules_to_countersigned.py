"""From a published rule database to both rebuilders' verdicts and the countersigned status.

Published means that the source can be seen in the cosigned ledger, which is when a rebuilder can begin: the vendor's
own build and release lie within the time, and both rebuilders share the machine with it. The rules are those of
signature-base, from the git bundle beside the checkout or --bundle PATH; without one those of guarddog, from the
package index. Before it is measured, everything is done once, which fills the caches.
"""

import re
import shutil
from pathlib import Path

import yara_x

from bench import Figure
from bench.publishing import HOME, Times, circumstances, initiative, publish
from glasshouse.cli.demo.story import Ware
from glasshouse.cli.demo.wares import RULES, RULES_VERSION, recipes_directory, rules_ware

LIMIT_SECONDS = 60
FILLED = HOME / "rules_to_countersigned"
LOCATION = re.compile(r'^location = ".*"$', re.MULTILINE)


def run(bundle: Path | None = None) -> Figure:
    """Wall clock; the unit is seconds."""
    if not FILLED.exists():
        _whole(bundle)
        FILLED.touch()
    times, product, count = _whole(bundle)
    ours = times.status - times.source
    return {
        "name": "rules_to_countersigned",
        "ours": ours,
        "limit": LIMIT_SECONDS,
        "ratio": LIMIT_SECONDS / ours,
        "unit": "s",
        "target": f"at most {LIMIT_SECONDS} s",
        "notes": f"{product}, {count:,} rules; after the source: release {times.release - times.source:.1f} s, both"
        f" verdicts {times.verdicts - times.source:.1f} s, status {ours:.1f} s; from the release to the status"
        f" {times.status - times.release:.1f} s; {circumstances()}",
    }


def _whole(bundle: Path | None) -> tuple[Times, str, int]:
    """The times of one release, its product, and how many rules it has."""
    ware = rules_ware()
    if bundle is not None:
        place = HOME / "given" / RULES
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(recipes_directory() / RULES, place)
        text = (place / "recipe.toml").read_text()
        (place / "recipe.toml").write_text(LOCATION.sub(f'location = "{bundle.resolve()}"', text))
        ware = Ware(recipe=place, version=RULES_VERSION)
    with initiative(ware) as story:
        lock = story.lock(ware)
        times = publish(story, ware, [], "--version", ware.version, "--lock", lock)
        (database,) = (story.stage.root / "nodes").glob("*/data/releases/*/*/out/*.yarc")
        return times, f"{ware.product} {ware.version}", _count(database)


def _count(database: Path) -> int:
    """How many rules a compiled database holds."""
    with database.open("rb") as stream:
        return len(list(yara_x.Rules.deserialize_from(stream)))
