"""`glasshouse relocate`: what was promised, how a move stands, and its report. For everybody, from the ledger alone."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.codec import Identifier
from glasshouse_verify.region import regions_of
from glasshouse_verify.relocation import Relocation, Step
from glasshouse_verify.relocation_check import format_relocation_evidence
from glasshouse_verify.report import utc

from glasshouse.cli.relocating.document import document
from glasshouse.cli.relocating.group import app
from glasshouse.cli.relocating.page import page
from glasshouse.cli.relocating.steps import MoveArgument, open_mover
from glasshouse.cli.relocating.tale import tell
from glasshouse.cli.wiring import JsonOption, LedgerOption, PinOption, emit, follow_pin, read_pin
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.history import History
from glasshouse.relocation.course import Course, Line, programme
from glasshouse.relocation.errors import InvalidInput, NotYet
from glasshouse.relocation.evidence import assemble_relocation
from glasshouse.storage import files

PROGRAMME = Identifier("programme")
SUFFIX = ".evidence"


@app.command("programme")
def show_programme(ledger: LedgerOption, pin: PinOption = Path("charter.json"), as_json: JsonOption = False) -> None:
    """Which region was promised to move by when, how far it has come, and what is late. For everybody."""
    now = int(time.time())
    lines = programme(follow_pin(ledger, read_pin(pin)), now)
    regions = [
        {
            "region": line.region,
            "relocation": line.relocation,
            "promised": utc(line.promised),
            "done": None if line.done is None else utc(line.done),
            "late": line.late,
            "state": line.state,
        }
        for line in lines
    ]
    shown = [_line(line) for line in lines]
    emit(
        {"schema": "glasshouse.relocation-programme/v1", "time": utc(now), "regions": regions},
        "\n".join(shown) or "nothing has been promised",
        as_json=as_json,
    )


def _line(line: Line) -> str:
    done = "" if line.done is None else f", done {utc(line.done)[:10]}"
    late = "  LATE" if line.late else ""
    return f"{line.region:<16} promised {utc(line.promised)[:10]}  {line.state}{done}{late}"


@app.command()
def promise(
    dates: Annotated[list[str], typer.Argument(metavar="REGION=DATE", help="a region and its date: au=2027-03-31")],
    node: Annotated[Path, typer.Option("--node", help="the vendor's node", exists=True, file_okay=False)] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Log by when regions are to have moved. The first date of a region is what it is held to; it stays in public."""
    promised = dict(map(_promise, dates))
    with open_mover(node, PROGRAMME) as mover:
        known = regions_of(mover.session.history.chain.newest.charter)
        for region in promised:
            if region not in known:
                fix = f"The charter's regions: {', '.join(known) or 'none'}."
                raise InvalidInput("region", f"{region} is no region of the charter", fix)
        says = Relocation(
            party=mover.party,
            region=sorted(promised)[0],
            relocation=PROGRAMME,
            step=Step.PROGRAMME,
            time=int(time.time()),
            previous=(),
            promised=promised,
        )
        said = mover.log(says)
    told = {"schema": "glasshouse.relocation-promise/v1", "statement": said.statement, "entry": said.entry}
    emit(told, f"Promised at entry {said.entry}: {', '.join(dates)}", as_json=as_json)


def _promise(text: str) -> tuple[Identifier, int]:
    region, _, date = text.partition("=")
    try:
        day = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput("date", f"{text[:80]} is no region and date", "Write au=2027-03-31.") from None
    return Identifier(region), int(day.timestamp())


@app.command()
def status(
    relocation: MoveArgument,
    ledger: LedgerOption,
    pin: PinOption = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """How a move stands: its steps, and who owes the next one. For everybody."""
    course = course_of(follow_pin(ledger, read_pin(pin)), relocation)
    steps = [
        {
            "step": record.predicate.step,
            "party": record.predicate.party,
            "site": record.predicate.site,
            "time": utc(record.predicate.time),
            "entry": record.index,
            "statement": record.id,
        }
        for record in steps_of(course)
    ]
    owed = [{"step": one.step, "party": one.party, "site": one.site, "why": one.why} for one in course.owed()]
    told = {
        "schema": "glasshouse.relocation-status/v1",
        "relocation": relocation,
        "region": course.region,
        "state": course.state,
        "steps": steps,
        "owed": owed,
        "strays": [record.id for record in course.strays],
    }
    lines = [f"{s['time']}  {s['step']:<12} {s['party']}{' at ' + s['site'] if s['site'] else ''}" for s in steps]
    lines += [f"next: {one['step']} by {one['party']}: {one['why']}" for one in owed]
    lines += [f"not counted: {record.id} by {record.predicate.party}, entry {record.index}" for record in course.strays]
    emit(told, "\n".join([f"{relocation}: {course.state}", *lines]), as_json=as_json)


@app.command()
def report(
    relocation: MoveArgument,
    ledger: LedgerOption,
    out: Annotated[Path, typer.Option("--out", help="the directory to write to")] = Path(),
    pin: PinOption = Path("charter.json"),
    as_json: JsonOption = False,
) -> None:
    """Write what happened in plain words, with a timeline and a picture, as MOVE.html and MOVE.pdf. For everybody."""
    history = follow_pin(ledger, read_pin(pin))
    course = course_of(history, relocation)
    records, charter = steps_of(course), history.chain.newest.charter
    if not any(record.predicate.step == Step.SCOPE for record in records):
        raise NotYet(f"{relocation}: nothing has been said yet of what is to move")
    rules = regions_of(charter).get(Identifier(str(course.region)))
    line = next((line for line in programme(history, int(time.time())) if line.relocation == relocation), None)
    told = tell(
        records,
        charter,
        str(course.region) if rules is None else str(rules.name),
        int(time.time()),
        promised=None if line is None else line.promised,
    )
    proof = out / f"{relocation}{SUFFIX}"
    files.make_directory(out)
    written = {
        "page": (
            out / f"{relocation}.html",
            page(told, evidence=proof.name if proof.exists() else None, ledger=ledger),
        ),
        "document": (out / f"{relocation}.pdf", document(told)),
    }
    for place, data in written.values():
        files.write(place, data)
    names: dict[str, Any] = {name: str(place) for name, (place, _) in written.items()}
    answer = {"schema": "glasshouse.relocation-report/v1", "headline": told.headline, **names}
    emit(answer, f"{told.headline}\nWrote {' and '.join(names.values())}", as_json=as_json)


@app.command()
def evidence(
    relocation: MoveArgument,
    ledger: LedgerOption,
    pin: PinOption = Path("charter.json"),
    out: Annotated[Path | None, typer.Option("--out", help="where to write it")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the one file that proves a move, as far as it has come. Check it with: glasshouse verify. For everybody."""
    history = follow_pin(ledger, read_pin(pin))
    course_of(history, relocation)
    with LedgerClient(ledger) as source:
        data = format_relocation_evidence(assemble_relocation(source, history, relocation))
    place = out or Path(f"{relocation}{SUFFIX}")
    files.write(place, data)
    told = {"schema": "glasshouse.relocation-evidence-get/v1", "evidence": str(place), "bytes": len(data)}
    text = f"Wrote {place}, {len(data):,} bytes. Check it with:\n  glasshouse verify {place} --charter {pin}"
    emit(told, text, as_json=as_json)


def course_of(history: History, relocation: str) -> Course:
    """The move; raises InvalidInput where nobody has said anything of it."""
    course = Course(history, relocation)
    if course.region is None and not steps_of(course):
        known = [str(line.relocation) for line in programme(history) if line.relocation is not None]
        raise InvalidInput(
            "MOVE", f"the ledger has no move {relocation[:64]}", f"It has: {', '.join(known) or 'none'}."
        )
    return course


def steps_of(course: Course) -> list[Any]:
    """The statements of a move that count, in the ledger's order."""
    return sorted((record for step in Step for record in course.records(step)), key=lambda record: record.index)
