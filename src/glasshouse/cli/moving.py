"""`glasshouse conveyor move`: build the current products at another site; draft the amendment that leaves the first."""

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from glasshouse_verify.statement import Release, Source, Use
from rich.console import Console

from glasshouse.cli.conveyor import app, open_press
from glasshouse.cli.wiring import JsonOption, NodeOption, emit, open_session
from glasshouse.conveyor.errors import BuildFailed
from glasshouse.conveyor.moving import Moved, rebuild_archived
from glasshouse.ledger.history import History, Record
from glasshouse.parties.errors import SettingsError
from glasshouse.storage import files


@app.command()
def move(
    archive: Annotated[
        Path, typer.Argument(help="the old site's releases: DIR/<product>/<version>", exists=True, file_okay=False)
    ],
    node: NodeOption = Path(),
    out: Annotated[Path, typer.Option("--out", help="the amendment to write (a merge patch)")] = Path("patch.json"),
    as_json: JsonOption = False,
) -> None:
    """Build every current product at this node's site and show that both sites get the same bytes.

    Logs this site's provenance of each, and writes the amendment after which only this jurisdiction may build and sign;
    it comes into force by the members' votes. Where one file differs nothing is logged and nothing is written.
    """
    console = Console(stderr=True, log_path=False)
    with open_session(node, "move-view") as session, open_press(session.node) as press:
        history = session.follow()
        settings = session.node.settings
        moved = []
        for record in current_releases(history, settings.party):
            release, source = record.predicate, _source(history, record)
            console.log(f"building {release.product} {release.version} at {settings.site.name}")
            place = archive / release.product.split("/")[1] / release.version
            with tempfile.TemporaryDirectory() as scratch:
                moved.append(rebuild_archived(place, release, source, press, Path(scratch) / "out"))
        differing = [f"{m.product} {m.version}" for m in moved if not m.identical]
        if differing:
            raise BuildFailed(f"the sites do not agree on {', '.join(differing)}; nothing was logged or written")
        entries = [session.post(item.provenance) for item in moved]
    country = settings.site.jurisdiction
    gate = {"build_in": [country], "sign_in": [country]}
    patch = {"products": {product: {"gate": gate} for product in sorted({item.product for item in moved})}}
    files.write(out, json.dumps(patch, indent=2).encode())
    emit(_document(moved, entries, country, out), _text(moved, country, out), as_json=as_json)


def current_releases(history: History, vendor: str) -> list[Record]:
    """The newest standing release of each product of a vendor; raises SettingsError where there is none."""
    newest: dict[str, Record] = {}
    for record in history.standing(Use.RELEASE):
        release: Release = record.predicate
        if release.party == vendor:
            newest[release.product] = record
    if not newest:
        raise SettingsError("party", f"the ledger has no release of {vendor}", "Release something before moving.")
    return list(newest.values())


def _source(history: History, record: Record) -> Source:
    source = history.records.get(record.predicate.source)
    if source is None or not isinstance(source.predicate, Source):
        raise SettingsError("release", "names a source that is not in the ledger", "Release it again, with its source.")
    return source.predicate


def _document(moved: list[Moved], entries: list[int], country: str, out: Path) -> dict[str, Any]:
    products = [
        {
            "product": item.product,
            "version": item.version,
            "entry": entry,
            "files": [{"name": f.name, "sha256": f.released, "identical": f.identical} for f in item.files],
        }
        for item, entry in zip(moved, entries, strict=True)
    ]
    return {"schema": "glasshouse.conveyor-move/v1", "jurisdiction": country, "patch": str(out), "products": products}


def _text(moved: list[Moved], country: str, out: Path) -> str:
    lines = [f"identical at both sites: {item.product} {item.version} {f.name}" for item in moved for f in item.files]
    return "\n".join(
        [*lines, f"Wrote {out}: only {country} may build and sign. Propose it: glasshouse charter amend {out}"]
    )
