"""`glasshouse rebuild`: rebuild one release now and print the verdict, without logging it."""

import time
from typing import Annotated

import typer
from glasshouse_verify.codec import encode
from glasshouse_verify.statement import Rebuild, Release, Use, Verdict

from glasshouse.cli.wiring import JsonOption, NodeOption, emit, open_session
from glasshouse.cli.working import open_workshop
from glasshouse.parties.errors import SettingsError
from glasshouse.supervision.rebuilder import awaiting, rebuild_release
from glasshouse.supervision.workshop import forget

# As `glasshouse verify` has them: other bytes are a mismatch, no result is undecided.
_EXIT = {Verdict.DIFFERS: 3, Verdict.BUILD_FAILED: 5, Verdict.PACK_NOT_RECEIVED: 5}


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(rebuild)


def rebuild(
    product: Annotated[str, typer.Argument(help="vendor/product")],
    version: Annotated[str, typer.Argument(help="the version")],
    node: NodeOption,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a logged release on this node and print the verdict; nothing is logged (glasshouse work does that).

    Exit 0 the same bytes, 3 other bytes, 5 no result.
    """
    with open_session(node, "rebuild-view") as session:
        history = session.follow()
        for record in history.standing(Use.RELEASE):
            release: Release = record.predicate
            if (release.product, release.version) == (product, version):
                break
        else:
            raise SettingsError(
                "version", f"the ledger has no release {product} {version}", "See: glasshouse status show."
            )
        with open_workshop(session.node) as workshop:
            outcome = rebuild_release(history, record, workshop, session.client.blob, int(time.time()))
            if record not in awaiting(history, session.node.settings.party):
                # The next call builds again; a build that a verdict waits for is kept for that.
                forget(release.source, workshop)
    verdict: Rebuild = outcome.rebuild
    lines = [f"{verdict.verdict}: {product} {version}", *(f"  {f.name}: {f.verdict}" for f in verdict.files)]
    if verdict.executor is not None:
        lines.append(f"built in {verdict.executor}; not varied: {'; '.join(verdict.not_varied)}")
    if verdict.explanation:
        lines.append(verdict.explanation)
    document = {"schema": "glasshouse.rebuild/v1", "rebuild": encode(verdict)}
    emit(document, "\n".join(lines), as_json=as_json)
    raise typer.Exit(_EXIT.get(verdict.verdict, 0))
