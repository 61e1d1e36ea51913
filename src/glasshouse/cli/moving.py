"""`glasshouse conveyor move`: build the current products at another site; draft the amendment that leaves the first."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import encode
from glasshouse_verify.statement import Action, Release, Source, Use
from rich.console import Console

from glasshouse.cli.conveyor import app, open_press
from glasshouse.cli.wiring import JsonOption, NodeOption, Session, emit, open_session
from glasshouse.conveyor.moving import Archived, Moved, Place, open_archived, place_of, rebuild_archived
from glasshouse.conveyor.release import Press
from glasshouse.ledger.history import History, Record
from glasshouse.parties.certificates import CERTIFICATE_SUFFIX, Purpose, fingerprint, load_certificates
from glasshouse.parties.drafting import draft_move
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.node import Node
from glasshouse.storage import files

_DIFFERS = 3
_STOPPED = (Action.HOLD, Action.WITHDRAW)


@app.command()
def move(
    archive: Annotated[
        Path,
        typer.Argument(
            help="data/releases of the old site's node, or a copy: DIR/PRODUCT/VERSION", exists=True, file_okay=False
        ),
    ],
    node: NodeOption = Path(),
    out: Annotated[Path, typer.Option("--out", help="the amendment to write (a merge patch)")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Build every current product at this node's site and show that both sites get the same bytes.

    Logs this site's provenance of each, and writes the amendment after which only this jurisdiction may build and sign;
    it comes into force by the members' votes. Where one file differs nothing is logged and nothing is written.

    Exit 0 the same bytes, 3 other bytes.
    """
    say = Console(stderr=True, log_path=False).log
    with open_session(node) as session, open_press(session.node, session.agent) as press:
        history = session.follow()
        charter, vendor = history.chain.newest.charter, session.node.settings.party
        here = place_of(charter, press.conveyor.keyid)
        moved = []
        for archived in _elsewhere(list(_archived(history, vendor, archive)), here):
            release = archived.release
            say(f"building {release.product} {release.version} at {here}, as it was built at {archived.built_at}")
            moved.append(rebuild_archived(archived, press, _out(session.node, release)))
        identical = all(item.identical for item in moved)
        entries = _log(session, moved) if identical else [None] * len(moved)
    patch = _patch(charter, vendor, press, session.node) if identical else {}
    if patch:
        files.write(out, json.dumps(patch, indent=2).encode())
    document = {
        "schema": "glasshouse.conveyor-move/v1",
        "identical": identical,
        "place": encode(here),
        "patch": str(out) if patch else None,
        "products": [_told(item, entry) for item, entry in zip(moved, entries, strict=True)],
    }
    emit(document, "\n".join(_lines(moved, here, out if patch else None)), as_json=as_json)
    raise typer.Exit(0 if identical else _DIFFERS)


def _archived(history: History, vendor: str, archive: Path) -> Iterator[Archived]:
    """The current releases as the archive holds them, all checked before anything is built."""
    for record in current_releases(history, vendor):
        release: Release = record.predicate
        source = history.records.get(release.source)
        if source is None or not isinstance(source.predicate, Source):
            name = f"{release.product} {release.version}"
            raise SettingsError("release", f"{name} names a source that is not in the ledger", "Release it again.")
        place = archive / release.product.split("/")[1] / release.version
        yield open_archived(place, release, source.predicate, history.chain.at(record.index).charter)


def current_releases(history: History, vendor: str) -> list[Record]:
    """The newest release of each product of a vendor that is neither held nor withdrawn.

    Raises SettingsError where there is none.
    """
    newest: dict[str, Record] = {}
    for record in history.standing(Use.RELEASE):
        release: Release = record.predicate
        if release.party == vendor and not any(hold.action in _STOPPED for hold in history.holds(record)):
            newest[release.product] = record
    if not newest:
        raise SettingsError("party", f"the ledger has no release of {vendor} that stands", "Release something first.")
    return list(newest.values())


def _elsewhere(current: Sequence[Archived], here: Place) -> Sequence[Archived]:
    """Those that were built at another site; raises SettingsError where all were built at this one."""
    others = [archived for archived in current if archived.built_at.site != here.site]
    if not others:
        reason = f"stands at {here}, where every current product was built"
        raise SettingsError("--node", reason, "Give the node of the new site.")
    return others


def _out(node: Node, release: Release) -> Path:
    """A new place for a build, which stays where the sites do not agree."""
    place = node.data / "moves" / release.product.split("/")[1] / release.version
    shutil.rmtree(place, ignore_errors=True)
    return place


def _log(session: Session, moved: Sequence[Moved]) -> list[int | None]:
    entries: list[int | None] = [session.post(item.provenance) for item in moved]
    shutil.rmtree(session.node.data / "moves", ignore_errors=True)
    return entries


def _patch(charter: Charter, vendor: str, press: Press, node: Node) -> dict[str, Any]:
    build_in, sign_in = (charter.jurisdiction(key.keyid) for key in (press.conveyor, press.releaser))
    certificates = node.keys / f"{Purpose.CODE_SIGNING}{CERTIFICATE_SUFFIX}"
    signing = [fingerprint(one) for one in load_certificates(certificates)] if certificates.exists() else []
    return draft_move(charter, vendor, build_in, sign_in, signing)


def _told(item: Moved, entry: int | None) -> dict[str, Any]:
    """A product for programs."""
    return {
        "product": item.product,
        "version": item.version,
        "built_at": encode(item.archived.built_at),
        "entry": entry,
        "files": [
            {"name": f.name, "released": f.released, "rebuilt": f.rebuilt, "identical": f.identical} for f in item.files
        ],
    }


def _lines(moved: Sequence[Moved], here: Place, out: Path | None) -> Iterator[str]:
    """All products for people."""
    for item in moved:
        there = item.archived.built_at
        for file in item.files:
            name = f"{item.product} {item.version} {file.name}"
            if file.identical:
                yield f"identical at {there} and {here}: {name}  {file.released}"
                continue
            yield f"DIFFERS: {name}"
            yield from (
                f"  {place}: {sha or 'no such file'}" for place, sha in ((there, file.released), (here, file.rebuilt))
            )
            if file.released and file.rebuilt:
                yield f"  why: glasshouse explain {item.archived.directory / 'out' / file.name} {item.out / file.name}"
    if not all(item.identical for item in moved):
        yield "Nothing was logged and no amendment was written."
    elif out is None:
        yield f"The charter lets these products be built and signed in {here.country} only already."
    else:
        yield f"Wrote {out}: only {here.country} may build and sign. Propose it: glasshouse charter amend {out}"
