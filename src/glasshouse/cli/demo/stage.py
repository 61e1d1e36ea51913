"""The stage of the demo: node directories and processes of parties that share nothing but HTTP on loopback."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

from glasshouse.cli.demo.errors import DemoFailed
from glasshouse.cli.demo.record import FILE as RECORD
from glasshouse.storage.postgres import remove_abandoned

VENDOR, SUPERVISOR, REBUILDER = "acme", "lab", "second"
# The vendor's conveyor stands there first; the node called like the vendor is at the new site.
OLD_SITE = "acme-moscow"
WITNESSES = ("witness-1", "witness-2")
TIMESTAMPER = WITNESSES[0]
COUNCIL = "council"
ORIGIN = "ledger.acme.example"
STOP_SECONDS = 20.0
BLIND_WINDOW_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class Cast:
    """One node of the demo: what `glasshouse init` is told about it; `called` where a party has another already."""

    party: str
    name: str
    site: str
    roles: tuple[str, ...]
    listens: bool = False
    extra: tuple[str, ...] = ()
    called: str = ""

    @property
    def node(self) -> str:
        """The name of the node's directory."""
        return self.called or self.party


CAST = (
    Cast(
        party=VENDOR,
        name="Acme Security",
        site="zurich-1:CH:Zurich, data centre 1",
        roles=("ledger", "conveyor", "member"),
        listens=True,
        extra=("--origin", ORIGIN),
    ),
    Cast(party=VENDOR, name="Acme Security", site="moscow:RU:Moscow", roles=("conveyor",), called=OLD_SITE),
    Cast(
        party=SUPERVISOR,
        name="Independent Supervisor Lab",
        site="bern:CH:Bern",
        roles=("rebuilder", "auditor", "member"),
        extra=("--proposes",),
    ),
    Cast(party=REBUILDER, name="Second Rebuilder", site="oslo:NO:Oslo", roles=("rebuilder", "auditor")),
    Cast(party=COUNCIL, name="Customer Council", site="vienna:AT:Vienna", roles=("member",)),
    Cast(
        party=TIMESTAMPER,
        name="First Witness",
        site="berlin:DE:Berlin",
        roles=("witness", "timestamp"),
        listens=True,
    ),
    Cast(party=WITNESSES[1], name="Second Witness", site="lisbon:PT:Lisbon", roles=("witness",), listens=True),
)


@dataclass
class Stage:
    """The directory of a demo and the processes it has started; used as a context manager, which stops them."""

    root: Path
    say: Callable[[str], None]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def node(self, party: str) -> Path:
        """A party's node directory."""
        return self.root / "nodes" / party

    @property
    def pin(self) -> Path:
        """The first charter, as the customer pins it."""
        return self.root / "charter.json"

    @property
    def downloads(self) -> Path:
        """The customer's downloads."""
        return self.root / "downloads"

    @property
    def evidence(self) -> Path:
        """The customer's evidence files."""
        return self.root / "evidence"

    @property
    def ledger_url(self) -> str:
        """Where the ledger is served."""
        url: str = json.loads((self.node(VENDOR) / "card.json").read_bytes())["ledger"]["url"]
        return url

    def clear(self) -> None:
        """Make an empty stage; what parties have downloaded and unpacked before is kept, each in its own cache."""
        for name in ("nodes", "downloads", "evidence", "customers", "logs", "scratch"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        remove_abandoned(self.root / "nodes")
        for name in (RECORD, "report.html"):
            (self.root / name).unlink(missing_ok=True)
        for name in ("downloads", "evidence", "logs", "nodes", "scratch"):
            (self.root / name).mkdir(parents=True)

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run a glasshouse command to its end and return what it printed. Raises DemoFailed with its last words."""
        done = self.attempt(*arguments, cwd=cwd)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()[-15:]
            raise DemoFailed(f"glasshouse {' '.join(map(str, arguments[:2]))}: " + "\n".join(words))
        return done.stdout

    def attempt(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a glasshouse command to its end, whatever its exit code."""
        command = [*glasshouse_command(), *map(str, arguments)]
        environment = self._environment
        return subprocess.run(
            command, cwd=cwd or self.root, env=environment, capture_output=True, text=True, check=False
        )

    def start(self, party: str, verb: str, *options: str) -> None:
        """Start `glasshouse serve` or `work` for a party, in its own directory, with its own log."""
        log = (self.root / "logs" / f"{party}-{verb}.log").open("ab")
        with log:
            command = [*glasshouse_command(), verb, *options]
            self.processes[f"{party}-{verb}"] = _spawn(command, self.node(party), self._environment, log)

    @property
    def _environment(self) -> dict[str, str]:
        """The programs' environment. Where Python may leave no bytecode beside its sources it gets a place for it:
        to compile everything anew takes more than half of a command's start."""
        environment = dict(os.environ)
        if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
            environment["PYTHONPYCACHEPREFIX"] = str(self.root / "cache" / "bytecode")
        return environment

    def stop(self, party: str, verb: str) -> None:
        """Stop a process of a party."""
        process = self.processes.pop(f"{party}-{verb}", None)
        if process is not None:
            _stop(process)

    def wait(self, what: str, ready: Callable[[], bool], seconds: float) -> None:
        """Wait for something that the other processes bring about."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.check_alive()
            if time.monotonic() > deadline:
                raise DemoFailed(f"{what} did not happen within {seconds:.0f} s; see {self.root / 'logs'}")
            time.sleep(0.2)

    def check_alive(self) -> None:
        """Raise DemoFailed where a process has ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = (self.root / "logs" / f"{name}.log").read_text(errors="replace").splitlines()[-15:]
                raise DemoFailed(f"{name} ended with {process.returncode}:\n" + "\n".join(log))

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            _stop(process)
        self.processes.clear()


def glasshouse_command() -> list[str]:
    """This installation's glasshouse command."""
    return [sys.executable, "-m", "glasshouse"]


def _spawn(command: list[str], directory: Path, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def answers(url: str) -> bool:
    """Whether an HTTP server answers there, whatever it says."""
    try:
        httpx.get(url, timeout=2.0)
    except httpx.HTTPError:
        return False
    return True


def load(text: str) -> Mapping[str, Any]:
    """A command's JSON answer."""
    document: Mapping[str, Any] = json.loads(text)
    return document


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What the charter says of a product; `authenticode` is the line that pins who signs its Windows files, or ""."""

    product: str
    platform: str
    blind: bool
    authenticode: str = ""


def terms(offers: Iterable[Offer]) -> Iterator[str]:
    """The terms of the demo's charter (TOML)."""
    yield 'initiative = "Glasshouse demo initiative"'
    yield f'proposer = "{VENDOR}"'
    yield f'[members]\nparties = ["{VENDOR}", "{SUPERVISOR}", "{COUNCIL}"]\nquorum = 2'
    yield f'[status]\nparties = ["{SUPERVISOR}", "{REBUILDER}"]\nquorum = 2\nmaximum_age = 86400'
    yield "[ledger]\nfaulty = 0"
    for offer in offers:
        yield f'[products."{offer.product}"]\nplatforms = ["{offer.platform}"]\nchannels = ["stable"]\nreviewers = 0'
        yield f'[products."{offer.product}".gate]\nrebuilders = ["{SUPERVISOR}", "{REBUILDER}"]\nquorum = 2'
        yield f"blind = {str(offer.blind).lower()}" + (
            f"\nblind_window = {BLIND_WINDOW_SECONDS}" if offer.blind else ""
        )
        accept = ["identical", "identical-modulo-signature"] if offer.authenticode else ["identical"]
        yield f'accept = {json.dumps(accept)}\nbuild_in = ["RU"]\nsign_in = ["RU"]\n{offer.authenticode}'
