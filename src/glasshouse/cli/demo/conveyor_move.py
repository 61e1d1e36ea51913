"""The vendor's conveyor moves from Moscow to Zurich: the same bytes there, then an amendment that leaves Moscow.

What was released before stays valid; what is built at the old site afterwards no customer's gate passes.
"""

import shutil
from pathlib import Path
from typing import Any

from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.forger import Forger
from glasshouse.cli.demo.record import Proof
from glasshouse.cli.demo.stage import COUNCIL, OLD_SITE, REBUILDER, SUPERVISOR, VENDOR, load
from glasshouse.cli.demo.story import Story, Ware
from glasshouse.cli.demo.wares import edition, small_ware

BEFORE, AFTER, TOO_LATE = "1.0", "1.1", "1.2"
REFUSED = 4
SECONDS = 60.0


def move_conveyor(story: Story) -> None:
    """Release in Moscow, build the same in Zurich, amend the charter, release in Zurich; then Moscow goes on alone."""
    old = _release(story, BEFORE, OLD_SITE, "moscow")
    story.await_status(small_ware(BEFORE).product, BEFORE)
    _move(story)
    new = _release(story, AFTER, VENDOR, "zurich-1")
    late = _release_too_late(story)
    story.await_status(small_ware(AFTER).product, AFTER)
    _verifies(story, old, "earlier", f"{old.name}, released from Moscow before that, still verifies")
    _verifies(story, new, "later", f"{new.name}, released from Zurich after that, verifies")
    _is_refused(story, late)


def _release(story: Story, version: str, node: str, site: str) -> Path:
    """Release an edition from a node, and give it to the customer under a name of its own."""
    ware, scratch = edition(story.stage, version), story.stage.root / "scratch" / "editions" / version
    (file,) = story.release_one(ware, scratch, node)
    download = story.stage.downloads / f"{file.name}-{version}-{site}"
    shutil.copy(file, download)
    return download


def _move(story: Story) -> None:
    stage, patch = story.stage, story.stage.root / "scratch" / "move.json"
    story.say(f"{VENDOR} builds in Zurich what it released from Moscow, and compares")
    words = ("conveyor", "move", stage.node(OLD_SITE) / "data" / "releases", "--node", stage.node(VENDOR))
    moved = load(stage.run(*words, "--out", patch, "--json"))
    (product,) = moved["products"]
    for file in product["files"]:
        name, here = f"{product['product']} {product['version']} {file['name']}", moved["place"]
        sites = " and ".join(f"{place['site']} ({place['country']})" for place in (product["built_at"], here))
        again = f"glasshouse ledger lookup {file['released']} --ledger {stage.ledger_url}"
        _prove(story, "same bytes", f"what {sites} build of {name} is identical", VENDOR, again)
    story.say(f"{VENDOR} proposes that only Zurich's country builds and signs from now on; {COUNCIL} votes for it")
    proposed = story.amend(patch)
    country = moved["place"]["country"]
    text = f"charter {proposed['version']} lets {VENDOR}'s products be built and signed in {country} only"
    _prove(story, "amendment", text, f"{VENDOR}, {COUNCIL}", f"glasshouse charter history --ledger {stage.ledger_url}")


def _release_too_late(story: Story) -> Path:
    """Moscow builds once more: its own command will not, so it goes by the charter of old."""
    ware, stage = edition(story.stage, TOO_LATE), story.stage
    words = ("release", ware.recipe, "--version", ware.version, "--lock", story.lock(ware))
    own = stage.attempt(*words, "--node", stage.node(OLD_SITE))
    if "be built in CH only, not in RU" not in own.stderr:
        raise DemoFailed(f"the command of the old site does not refuse by the charter in force: {own.stderr}")
    story.say(f"{OLD_SITE} builds {ware.product} {ware.version} all the same, by the charter of old, signs and logs it")
    return Forger(story, OLD_SITE, ware).release_by_the_pin()


def _is_refused(story: Story, file: Path) -> None:
    ware, evidence = edition(story.stage, TOO_LATE), story.fetch_evidence(file)
    answer = story.verify(file, evidence)
    if answer["exit"] != REFUSED:
        raise DemoFailed(f"what was built at the old site afterwards is not refused: {answer}")
    texts = "; ".join(claim["text"] for claim in answer["claims"] if claim["claim"] in ("provenance", "release"))
    claim = f"{ware.product} {ware.version}, built in Moscow afterwards, is refused with exit {REFUSED}: {texts}"
    _prove(story, "too late", claim, "customer", _verify_again(story, file, evidence))
    _await_findings(story, ware)


def _await_findings(story: Story, ware: Ware) -> None:
    """Both auditors log on their own that it was built where the charter does not have it."""
    auditors, what = (SUPERVISOR, REBUILDER), f"{ware.product} {ware.version} was built in RU"

    def said(party: str) -> list[str]:
        return [text for text in story.findings("provenance", party) if text.startswith(what)]

    story.stage.wait("the auditors' findings", lambda: all(map(said, auditors)), SECONDS)
    again = f"glasshouse status alarms --ledger {story.stage.ledger_url} --charter .demo/charter.json"
    _prove(story, "alarm", f"the auditors log an alarm: {said(SUPERVISOR)[0]}", ", ".join(auditors), again)


def _verifies(story: Story, file: Path, topic: str, what: str) -> None:
    evidence = story.fetch_evidence(file)
    answer: dict[str, Any] = story.verify(file)
    if answer["exit"]:
        raise DemoFailed(f"{what}: {answer}")
    (built,) = (claim["text"] for claim in answer["claims"] if claim["claim"] == "provenance")
    _prove(story, topic, f"{what}: {built}", "customer", _verify_again(story, file, evidence))


def _verify_again(story: Story, file: Path, evidence: Path) -> str:
    shown = (f".demo/{path.relative_to(story.stage.root)}" for path in (file, evidence))
    return "glasshouse verify {} --evidence {} --charter .demo/charter.json".format(*shown)


def _prove(story: Story, topic: str, claim: str, by: str, how: str) -> None:
    story.proven.append(Proof(about="the vendor's conveyor", topic=topic, claim=claim, by=by, how=how))
