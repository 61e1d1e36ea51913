"""The report of a move as one HTML page: no script, nothing from elsewhere."""

import time
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files as resources
from string import Template

from glasshouse.cli.page.parts import read, source, styled
from glasshouse.cli.page.sections import digest, icon, time_of
from glasshouse.cli.relocating.flows import picture
from glasshouse.cli.relocating.tale import LIMITS, Event, Tale
from glasshouse.supervision.markup import Markup, join, lines, tag

_PARTS = resources("glasshouse.cli.relocating")


def page(tale: Tale, *, evidence: str | None = None, ledger: str) -> bytes:
    """The page. `evidence` is the name of the evidence file beside it, `ledger` the URL of the ledger."""
    style = styled((_PARTS / "report.css").read_text(encoding="utf-8"))
    values = {
        "policy": f"default-src 'none'; style-src {source(style)}; base-uri 'none'; form-action 'none'",
        "style": style,
        "symbols": read("symbols.html"),
        "headline": join(tale.headline),
        "lead": join(tale.lead),
        "sums": _sums(tale),
        "picture": picture(tale),
        "timeline": tag("ol", lines(*map(_event, tale.events)), class_="timeline"),
        "limits": lines(*(tag("li", tag("b", name), f" {text}") for name, text in LIMITS)),
        "again": _again(tale, evidence, ledger),
        "release": join(version("glasshouse")),
        "written": time_of(int(time.time())),
    }
    template = Template((_PARTS / "report.html").read_text(encoding="utf-8"))
    return template.substitute(values).encode()


def _sums(tale: Tale) -> Markup:
    items = [tag("li", tag("b", value), text, data_state=state) for value, text, state in _figures(tale)]
    return tag("ul", lines(*items), class_="sums")


def _figures(tale: Tale) -> Iterator[tuple[str, str, str]]:
    moved = [place.objects for place in tale.new if place.objects is not None]
    if moved:
        yield f"{min(moved):,}", f"objects at each of {len(moved)} new sites", "verified"
    if tale.old.objects is not None:
        state = "verified" if tale.old.objects == 0 else "open"
        yield f"{tale.old.objects:,}", "objects left at the old site", state
    if tale.promised is not None:
        state = "mismatch" if tale.late else "verified"
        yield _day(tale.promised), "promised" + (", and late" if tale.late else ""), state
    wrong = sum(event.state == "mismatch" for event in tale.events)
    if wrong:
        yield str(wrong), "refusals and alarms by the supervisor", "mismatch"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _event(event: Event) -> Markup:
    when = tag("p", time_of(event.time), class_="small")
    said = f"Said by {event.by}, entry {event.entry} of the ledger: "
    return tag(
        "li",
        tag("div", icon(event.state), tag("h3", event.title), when, class_="title"),
        tag("p", event.text),
        tag("p", said, tag("code", digest(event.statement)), class_="small digest"),
        data_state=event.state,
    )


def _again(tale: Tale, evidence: str | None, ledger: str) -> Markup:
    offline = f"glasshouse verify {evidence or tale.relocation + '.evidence'} --charter charter.json"
    commands = (f"glasshouse relocate status {tale.relocation} --ledger {ledger}", f"glasshouse ledger fsck {ledger}")
    said = tag("p", "Offline, from one file and the charter that you have pinned:")
    return join(
        said,
        tag("pre", tag("code", offline), class_="command"),
        tag("p", "From the ledger itself:"),
        tag("pre", tag("code", "\n".join(commands)), class_="command"),
    )
