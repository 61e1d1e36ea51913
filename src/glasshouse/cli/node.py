"""`glasshouse init`, `serve` and `work`: making a node and running it."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from glasshouse.cli.wiring import JsonOption, NodeOption, Session, emit, open_session
from glasshouse.parties.card import create_node
from glasshouse.parties.errors import PinRefused, SettingsError
from glasshouse.parties.node import (
    AuditorSettings,
    ConveyorSettings,
    CustodySettings,
    IntakeSettings,
    LedgerSettings,
    Node,
    NodeSettings,
    RebuilderSettings,
    ServeSettings,
    SiteSettings,
    TimestampSettings,
    WitnessSettings,
    named_fields,
    open_node,
)

_LOG = logging.getLogger("glasshouse")
Worker: TypeAlias = Callable[[Session], Callable[[], bool]]
MAX_PAUSE_SECONDS = 60.0
ROLES = ("ledger", "witness", "conveyor", "rebuilder", "auditor", "member", "intake", "custody", "timestamp")


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the application."""
    app.command()(init)
    app.command()(serve)
    app.command()(work)


def init(
    directory: Annotated[Path, typer.Argument(help="the directory to make")],
    party: Annotated[str, typer.Option("--party", help="the party's id, such as acme")],
    name: Annotated[str, typer.Option("--name", help="its name for people")],
    site: Annotated[str, typer.Option("--site", help="where it stands: ID:COUNTRY:NAME, such as zurich-1:CH:Zurich")],
    role: Annotated[list[str], typer.Option("--role", help=f"one of {', '.join(ROLES)}; repeat for several")],
    listen: Annotated[str | None, typer.Option("--listen", help="HOST:PORT to serve on")] = None,
    origin: Annotated[str | None, typer.Option("--origin", help="the ledger's origin, with the role ledger")] = None,
    acts_for: Annotated[str | None, typer.Option("--acts-for", help="the vendor on whose side it stands")] = None,
    proposes: Annotated[bool, typer.Option("--proposes", help="this auditor proposes the status")] = False,
    cache: Annotated[Path | None, typer.Option("--cache", help="where downloads and unpacked roots are kept")] = None,
    no_keys: Annotated[
        bool, typer.Option("--no-keys", help="make no keys yet: glasshouse key new makes them, in tokens for example")
    ] = False,
    timestamps: Annotated[
        str | None, typer.Option("--timestamps", help="URL of the authority that dates this conveyor's signatures")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="what others reach it by, where not --listen")] = None,
    region: Annotated[str | None, typer.Option("--region", help="the region, with the role intake, such as au")] = None,
    peer_listen: Annotated[
        str | None, typer.Option("--peer-listen", help="HOST:PORT for the region's other sites, with the role intake")
    ] = None,
    peer: Annotated[str | None, typer.Option("--peer", help="what they reach it by, where not --peer-listen")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a node: its settings, its keys (readable by their owner alone) and its card for the other parties."""
    with named_fields("init"):
        settings = _settings(party, name, site, role, listen, origin, acts_for, proposes, cache, timestamps, url)
        if "intake" in role:
            settings = settings.model_copy(update={"intake": _intake(region, peer_listen, peer)})
    card = create_node(Node(directory, settings), with_keys=not no_keys)
    document = {"schema": "glasshouse.init/v1", "directory": str(directory), "party": party, "keys": len(card.keys)}
    emit(
        document,
        f"Made {directory} for {party} ({', '.join(role)}). Its card: {directory / 'card.json'}",
        as_json=as_json,
    )


def _settings(
    party: str,
    name: str,
    site: str,
    roles: list[str],
    listen: str | None,
    origin: str | None,
    acts_for: str | None,
    proposes: bool,
    cache: Path | None,
    timestamps: str | None,
    url: str | None,
) -> NodeSettings:
    unknown = sorted(set(roles) - set(ROLES))
    if unknown:
        raise SettingsError("--role", f"{unknown[0]} is not a role", f"Use one of {', '.join(ROLES)}.")
    parts = site.split(":", 2)
    if len(parts) != 3:
        raise SettingsError("--site", f"{site} has not three parts", "Write it as zurich-1:CH:Zurich.")
    if "ledger" in roles and origin is None:
        raise SettingsError("--origin", "is missing", "A ledger needs a name, such as ledger.acme.example.")
    if {"ledger", "witness", "timestamp", "intake", "custody"} & set(roles) and listen is None:
        raise SettingsError("--listen", "is missing", "What serves others needs an address, such as 127.0.0.1:8471.")
    return NodeSettings(
        party=party,
        name=name,
        site=SiteSettings(id=parts[0], jurisdiction=parts[1], name=parts[2]),
        member="member" in roles,
        acts_for=acts_for,
        cache=None if cache is None else str(cache),
        serve=None if listen is None else ServeSettings(listen=listen, url=url),
        ledger=LedgerSettings(origin=origin or "") if "ledger" in roles else None,
        witness=WitnessSettings(name=f"{party}.witness") if "witness" in roles else None,
        conveyor=ConveyorSettings(timestamps=timestamps) if "conveyor" in roles else None,
        rebuilder=RebuilderSettings() if "rebuilder" in roles else None,
        auditor=AuditorSettings(proposes=proposes) if "auditor" in roles else None,
        custody=CustodySettings() if "custody" in roles else None,
        timestamp=TimestampSettings() if "timestamp" in roles else None,
    )


def _intake(region: str | None, peer_listen: str | None, peer: str | None) -> IntakeSettings:
    if region is None:
        raise SettingsError("--region", "is missing", "A site is for one region of the charter, such as au.")
    if peer_listen is None:
        raise SettingsError("--peer-listen", "is missing", "Its peers need an address, such as 127.0.0.1:8472.")
    return IntakeSettings(region=region, peer_listen=peer_listen, peer=peer)


def serve(node: NodeOption = Path()) -> None:
    """Serve the node's HTTP side: its ledger, its witness. Ends on SIGTERM or Ctrl-C."""
    from glasshouse.cli.serving import run_server

    _log_to_stderr()
    run_server(open_node(node))


def work(
    node: NodeOption = Path(),
    once: Annotated[bool, typer.Option("--once", help="do what is there to do, then end")] = False,
    only: Annotated[
        str | None, typer.Option("--only", help="just this worker: rebuilder, auditor, reports, upkeep")
    ] = None,
) -> None:
    """Run the node's workers: rebuild what is released, audit, sign the status, log a custodian's counts, upkeep."""
    from glasshouse.cli.working import auditing, rebuilding

    _log_to_stderr()
    settings = open_node(node).settings
    jobs: list[tuple[str, float, Worker]] = []
    if settings.rebuilder is not None:
        jobs.append(("rebuilder", settings.rebuilder.poll_seconds, rebuilding))
    if settings.auditor is not None:
        jobs.append(("auditor", settings.auditor.poll_seconds, auditing))
    if settings.custody is not None:
        from glasshouse.cli.reporting import reporting

        jobs.append(("reports", settings.custody.poll_seconds, reporting))
    if settings.intake is not None:
        from glasshouse.cli.upkeep import POLL_SECONDS, upkeep

        jobs.append(("upkeep", POLL_SECONDS, upkeep))
    jobs = [job for job in jobs if only in (None, job[0])]
    if not jobs:
        which = "no worker" if only is None else f"no worker called {only}"
        raise SettingsError(
            "node.toml", f"switches on {which}", "Add a table [rebuilder], [auditor], [custody] or [intake]."
        )
    stop, locked_out = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threads = [
        threading.Thread(target=_loop, args=(node, name, seconds, job, stop, once, locked_out), name=name)
        for name, seconds, job in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if locked_out.is_set():
        raise typer.Exit(1)


def _loop(
    directory: Path,
    name: str,
    seconds: float,
    make: Worker,
    stop: threading.Event,
    once: bool,
    locked_out: threading.Event,
) -> None:
    """Call a job until it is stopped; what fails is said and tried again with growing pauses, a PIN never."""
    from glasshouse.cli.app import EXPECTED

    pause = seconds
    with open_session(directory, name) as session:
        job: Callable[[], bool] | None = None
        while not stop.is_set():
            try:
                job = job or make(session)
                busy = job()
                pause = seconds
            except PinRefused as error:
                _LOG.critical("%s: %s", name, error)
                locked_out.set()
                return
            except EXPECTED as error:
                _LOG.warning("%s: %s: %s", name, type(error).__name__, error)
                busy, pause = False, min(pause * 2, max(seconds, MAX_PAUSE_SECONDS))
            if once and not busy:
                return
            if not busy:
                stop.wait(pause)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.Formatter.converter = time.gmtime
    logging.getLogger("httpx").setLevel(logging.WARNING)
