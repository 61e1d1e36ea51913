"""A site of a region that moves, as a process: for `python -m bench fence`.

    python -m bench.moving DIRECTORY NAME PUBLIC_PORT PUBLIC_PORT PUBLIC_PORT PEER_PORT PEER_PORT PEER_PORT

It answers lines on its standard input, each with one line: `fill N SIZE` (objects, taken at once), `open` (the charter
opens the move), `lag`, `fence`, `times` and `held PATH` (how many of the handles in a file it opens, and finds to be
what their receipts name).
"""

import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path.insert(0, str(TESTS))

from customers import KEY, counter_of  # noqa: E402
from glasshouse_verify.region import Mode  # noqa: E402
from moves import MOVE, NEW, OLD, Departure  # noqa: E402
from sites import Site, declared, put, running_site  # noqa: E402

from glasshouse.regions.customers.pace import Pace  # noqa: E402
from glasshouse.regions.journal import Kind, Note  # noqa: E402
from glasshouse.regions.keeping.fencing import fence_of, lag  # noqa: E402
from glasshouse.regions.web import Tempo  # noqa: E402
from glasshouse.storage.db import Database  # noqa: E402
from glasshouse.storage.postgres import EmbeddedPostgres  # noqa: E402

CUSTOMER, TOKEN = "kookaburra", "gh_token_of_the_bench"
AT_ONCE = 64


def departure(directory: Path, public_ports: list[int], peer_ports: list[int]) -> Departure:
    """The same charter in every process, before the move."""
    names = (OLD, *NEW)
    return Departure(
        directory,
        replicas=2,
        custody=Mode.DUAL,
        ports=dict(zip(names, peer_ports, strict=True)),
        public_ports=dict(zip(names, public_ports, strict=True)),
    )


async def fill(site: Site, count: int, size: int) -> None:
    """Take objects, many at once."""
    numbers = iter(range(count))

    async def one() -> None:
        for _ in numbers:
            content = os.urandom(size)
            await put(site.intake, declared(content, customer=CUSTOMER), content)

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))


def held(site: Site, path: Path) -> int:
    """How many of the objects listed (handle and digest) this site opens, and finds to be what they should be."""
    found = 0
    for line in path.read_text().splitlines():
        handle, sha256 = line.split()
        found += hashlib.sha256(site.content(handle)).hexdigest() == sha256
    return found


def answer(site: Site, ground: Departure, words: list[str]) -> object:
    """What a line is answered."""
    match words:
        case ["fill", count, size]:
            return (
                site.loop.loop
                and asyncio.run_coroutine_threadsafe(fill(site, int(count), int(size)), site.loop.loop).result()
            )
        case ["open"]:
            ground.open()
            return site.place.rules().state
        case ["lag"]:
            return lag(site.place)
        case ["fence"]:
            return site.intake.committer.append(Note(kind=Kind.FENCED, body={"relocation": MOVE})).result().position
        case ["times"]:
            fence = fence_of(site.place, MOVE)
            return None if fence is None else [fence.fenced_ms, fence.opened_ms, fence.first_ms, fence.refused]
        case ["held", path]:
            return held(site, Path(path))
    raise ValueError(f"unknown: {words}")


def main(directory: Path, name: str, *ports: int) -> None:
    """Serve until the standard input ends."""
    ground = departure(directory, list(ports[:3]), list(ports[3:]))
    if name != OLD:
        ground.open()
    with (
        EmbeddedPostgres(directory / name / "postgres") as server,
        Database(server.dsn) as database,
        running_site(ground, name, database) as site,
        counter_of(ground, site, pace=Pace(1e6), tempo=Tempo()) as counter,
    ):
        counter.accounts.enrol(CUSTOMER, "AU", KEY.public, hashlib.sha256(TOKEN.encode()).hexdigest())
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            print(json.dumps(answer(site, ground, line.split())), flush=True)
