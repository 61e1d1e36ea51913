"""`glasshouse access`: looking at what a region stores takes a purpose and the custodian's approval, both in public."""

import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import Digest, Identifier, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.region import Mode, regions_of
from glasshouse_verify.report import utc

from glasshouse.cli.beside import Beside, open_beside, say, say_and_see, wait_for
from glasshouse.cli.siting import PURPOSE
from glasshouse.cli.wiring import (
    JsonOption,
    LedgerOption,
    NodeOption,
    PinOption,
    Session,
    emit,
    follow_pin,
    open_session,
    read_pin,
)
from glasshouse.parties.errors import SettingsError
from glasshouse.regions.access import Accesses, Course, Opening, ask, check_standing, new_nonce
from glasshouse.regions.custody_request import access_commitment
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable, InvalidInput, Unverifiable
from glasshouse.regions.keeping.looking import look, wrapping_of
from glasshouse.storage import files

app = typer.Typer(no_args_is_help=True, help="Request, grant, use and see access to what a region stores.")
RequestArgument = Annotated[str, typer.Argument(help="the statement id of the request")]
MAX_OPENING = 4_096
TRY_SECONDS = 90.0


@app.command()
def request(
    handle: Annotated[str, typer.Argument(help="the object's handle, as its receipt has it")],
    purpose: Annotated[str, typer.Option("--purpose", help="why, for everybody to read")],
    uses: Annotated[int, typer.Option("--uses", help="how often it is to be read", min=1, max=100)] = 1,
    hours: Annotated[int, typer.Option("--hours", help="for how long", min=1, max=720)] = 24,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Ask to look at one object (the site). The ledger shows why, and hides which."""
    now = int(time.time())
    with open_beside(node, "access") as site:
        wrapping_of(site.place, handle)
        rules = site.place.rules()
        asked, opening = ask(
            handle,
            party=rules.party,
            region=rules.region,
            site=rules.site,
            purpose=purpose,
            uses=uses,
            until=now + 3_600 * hours,
            now=now,
        )
        path = _opening_path(site.session, asked.about or "")
        files.create(path, format_json(encode(opening)), mode=0o600)
        statement, entry = say_and_see(site.session, site.place.signer, asked)
    document = {"schema": "glasshouse.access-request/v1", "request": statement, "entry": entry, "about": asked.about}
    emit(document, f"Requested at entry {entry}: {statement}", as_json=as_json)


@app.command()
def grant(
    request: RequestArgument,
    uses: Annotated[int | None, typer.Option("--uses", help="how often; as asked for where not given", min=1)] = None,
    hours: Annotated[int | None, typer.Option("--hours", help="for how long; as asked for", min=1)] = None,
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Agree to a request (the custodian); never to more than was asked for."""
    now = int(time.time())
    with open_session(node, "beside") as session:
        signer = session.signer("custody")
        accesses = Accesses(session.follow())
        course = _course(accesses, request)
        asked = course.request.predicate
        rules = regions_of(session.history.chain.newest.charter).get(asked.region)
        party = session.node.settings.party
        if rules is None or rules.custody.party != party:
            raise SettingsError("node.toml", f"{party} does not guard {asked.region}", "See the charter.")
        if not accesses.may_ask(course.request):
            raise InvalidInput("request", f"{asked.party} has no such site there", "Grant to the site's own party.")
        until = asked.until or now + 3_600
        given = Access(
            party=Identifier(party),
            region=asked.region,
            site=asked.site,
            step=Step.GRANT,
            request=Digest(request),
            uses=min(uses or asked.uses or 1, asked.uses or 1),
            until=until if hours is None else min(until, now + 3_600 * hours),
            time=now,
        )
        statement, entry = say_and_see(session, signer, given)
    document = {"schema": "glasshouse.access-grant/v1", "grant": statement, "entry": entry, "until": given.until}
    text = f"Granted at entry {entry}: {given.uses} times until {utc(given.until or 0)}, for: {asked.purpose}"
    emit(document, text, as_json=as_json)


@app.command()
def read(
    request: RequestArgument,
    out: Annotated[Path, typer.Option("--out", help="the file to write the content to; it must not be there yet")],
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Read the object of a granted request (the site). The use is logged before anything is opened."""
    now = int(time.time())
    with open_beside(node, "read") as site:
        accesses = Accesses(site.session.follow())
        course = _course(accesses, request)
        opening = _opening(site.session, course)
        allowed = None
        if site.place.rules().rules.custody.mode == Mode.DUAL:
            try:
                allowed = check_standing(accesses, course, now)
            except CustodyRefused as error:
                _refuse(site, opening.handle, error)
        # Two uses within a second are two statements: each has a commitment of its own.
        about = access_commitment(opening.handle, new_nonce())
        entry = _log(site, Step.USE, request=request, about=about, uses=1)
        looked = look(site.place, site.custodian, opening, None if allowed is None else allowed.grant.id)
        size = _write(out, looked.content)
    document = {"schema": "glasshouse.access-read/v1", "entry": entry, "size": size, "metadata": looked.metadata}
    told = json.dumps(looked.metadata, ensure_ascii=False)
    emit(document, f"Logged the use at entry {entry}; wrote {size} bytes to {out}\n{told}", as_json=as_json)


@app.command()
def close(request: RequestArgument, node: NodeOption = Path(), as_json: JsonOption = False) -> None:
    """End an access before its time (the site or the custodian)."""
    with open_session(node, "beside") as session:
        settings = session.node.settings
        signer = session.signer(PURPOSE if settings.intake is not None else "custody")
        asked = _course(Accesses(session.follow()), request).request.predicate
        said = Access(
            party=Identifier(settings.party),
            region=asked.region,
            site=asked.site,
            step=Step.CLOSE,
            request=Digest(request),
            time=int(time.time()),
        )
        _, entry = say_and_see(session, signer, said)
    emit({"schema": "glasshouse.access-close/v1", "entry": entry}, f"Closed at entry {entry}", as_json=as_json)


@app.command("try")
def attempt(
    handle: Annotated[str, typer.Argument(help="the object's handle, as its receipt has it")],
    node: NodeOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Try to open an object without a grant, with the site's own keys, and watch the refusal reach the ledger.

    Exit 0 where it was refused and the ledger says so; 1 otherwise.
    """
    invented = Opening(handle=Digest(handle), nonce=new_nonce())
    marker = secrets.token_hex(32)
    with open_beside(node, "try") as site:
        if wrapping_of(site.place, handle).custodian is None:
            told = "custody of this region is the site's own: recorded, not enforced; whoever has its keys can look"
            _refuse(site, handle, CustodyRefused("not-enforced", told))
        try:
            look(site.place, site.custodian, invented, marker)
        except CustodyRefused as error:
            reason, told = error.reason, str(error)
        else:
            raise Unverifiable("the custodian opened the object without a grant: tell the members of the charter")
        found: list[Any] = []

        def seen() -> bool:
            found[:] = [
                r for r in Accesses(site.session.follow()).of(Step.REFUSAL) if marker in (r.predicate.purpose or "")
            ]
            return bool(found)

        if not wait_for(seen, TRY_SECONDS):
            raise CustodyUnavailable(f"refused ({reason}), and not logged yet: does the custodian run glasshouse work?")
    record = found[0]
    document = {
        "schema": "glasshouse.access-try/v1",
        "refused": reason,
        "said": told,
        "entry": record.index,
        "statement": record.id,
        "by": record.predicate.party,
    }
    text = f"Refused ({reason}): {told}\nEntry {record.index} of the ledger says so, by {record.predicate.party}"
    emit(document, text, as_json=as_json)


@app.command("list")
def show(ledger: LedgerOption, pin: PinOption = Path("charter.json"), as_json: JsonOption = False) -> None:
    """What the ledger shows of access to every region: requests and their course, refusals, counts. For everybody."""
    accesses, now = Accesses(follow_pin(ledger, read_pin(pin))), int(time.time())
    requests = [_shown(accesses, course, now) for course in accesses.courses.values()]
    refusals = [
        {"entry": r.index, "by": r.predicate.party, "site": r.predicate.site, "why": r.predicate.purpose}
        for r in accesses.of(Step.REFUSAL)
    ]
    guards = sorted({record.predicate.party for record in accesses.of(Step.TALLY) if accesses.guards(record)})
    counts = [
        {"by": party, "region": region, "site": site, "for": reason, "data_keys": count}
        for party in guards
        for (region, site, reason), count in sorted(accesses.tallies(party).items())
    ]
    document = {"schema": "glasshouse.accesses/v1", "requests": requests, "refusals": refusals, "counts": counts}
    lines = [
        f"{r['request'][:16]}…  {r['region']} {r['site'] or '-'}  {r['state']}, used {r['used']} times: {r['purpose']}"
        for r in requests
    ]
    lines += [f"entry {r['entry']}: {r['by']} refused {r['site'] or '-'}: {r['why']}" for r in refusals]
    lines += [f"{c['data_keys']} data keys opened by {c['by']} at {c['site']} for {c['for']}" for c in counts]
    emit(document, "\n".join(lines) or "nobody has asked for anything", as_json=as_json)


def _shown(accesses: Accesses, course: Course, now: int) -> dict[str, Any]:
    asked = course.request.predicate
    return {
        "request": course.request.id,
        "entry": course.request.index,
        "region": asked.region,
        "site": asked.site,
        "purpose": asked.purpose,
        "time": utc(asked.time),
        "state": accesses.state(course, now),
        "used": accesses.used(course),
    }


def _course(accesses: Accesses, request: str) -> Course:
    course = accesses.courses.get(request)
    if course is None:
        raise InvalidInput("request", f"the ledger has no request {request[:80]}", "See: glasshouse access list.")
    return course


def _log(site: Beside, step: Step, **members: Any) -> int:
    """Log a step of this site's; its entry."""
    rules = site.place.rules()
    place = {"party": rules.party, "region": rules.region, "site": rules.site}
    said = decode(Access, {**place, "step": step.value, "time": int(time.time()), **members}, "access")
    return say(site.session, site.place.signer, said)[1]


def _refuse(site: Beside, handle: str, error: CustodyRefused) -> NoReturn:
    """Log what this site refuses by itself, and raise it."""
    _log(site, Step.REFUSAL, about=access_commitment(handle, new_nonce()), purpose=f"{error.reason}: {error}")
    raise error


def _opening_path(session: Session, about: str) -> Path:
    directory = session.node.data / "access"
    files.make_directory(directory, mode=0o700)
    return directory / f"{about}.json"


def _opening(session: Session, course: Course) -> Opening:
    """What this site keeps of its own request; raises InvalidInput for another's."""
    path = _opening_path(session, course.request.predicate.about or "")
    try:
        data = path.read_bytes()
    except OSError as error:
        fix = "Read it at the node that has requested it."
        raise InvalidInput("request", f"{path}: {error.strerror}", fix) from error
    opening: Opening = decode(Opening, parse_json(data, "opening", MAX_OPENING), "opening")
    return opening


def _write(out: Path, content: Iterator[bytes]) -> int:
    """Write the content to a new private file, which appears only once it is whole."""
    if out.exists():
        raise InvalidInput("--out", f"{out} is there already", "Name a new file.")
    partial, size = out.with_name(f".{out.name}.part"), 0
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for piece in content:
                size += file.write(piece)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return size
