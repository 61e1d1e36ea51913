"""Telemetry records per second, checked, sealed and durable at two sites, beside parsing and flushing them twice.

8 connections each post a batch of 1,000 records to the customers' interface of a site, wait for the receipt, post the
next. The floor is one thread that parses the same batches as JSON and appends each to two files, flushed.
"""

import asyncio
import contextlib
import functools
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from bench import Figure
from bench.intake import free_port, prepare, wait_for

CONNECTIONS = 8
RECORDS = 1_000
SECONDS = 5.0
MARK = b"@" * 64
_NUMBERS = itertools.count()
TOKEN = "gh_bench"  # noqa: S105  opens nothing but this run's site


def run() -> Figure:
    """Measure ours and the floor one after the other."""
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch:
        directory = Path(scratch)
        directory.chmod(0o755)
        floor = flushed(directory / "floor")
        with sites(directory) as port:
            asyncio.run(load(port, batch_request, answers=201, seconds=SECONDS / 5))
            ours = RECORDS * asyncio.run(load(port, batch_request, answers=201, seconds=SECONDS))
    return {
        "name": "telemetry",
        "ours": ours,
        "floor": floor,
        "ratio": ours / floor,
        "unit": "records/s",
        "target": ">= 20,000 records/s",
        "notes": f"{CONNECTIONS} connections, batches of {RECORDS} records ({len(batch(0)):,} bytes), each with a "
        f"receipt of both sites; all on one machine with {os.cpu_count()} cores, load included",
    }


def batch(number: int) -> bytes:
    """A batch that no other number has, in canonical JSON."""
    return template().replace(MARK, hashlib.sha256(b"%d" % number).hexdigest().encode())


@functools.cache
def template() -> bytes:
    """A batch whose records have the mark for their digest."""
    record = {"count": 1, "outcome": "blocked", "rule": "APT_Dropper_Gen", "sha256": MARK.decode()}
    records = [{**record, "time": 1_800_000_000 + place, "type": "detection"} for place in range(RECORDS)]
    value = {"category": "telemetry", "records": records, "schema": "glasshouse.telemetry/v1"}
    return json.dumps(value, separators=(",", ":")).encode()


def batch_request(number: int) -> bytes:
    """A POST of one batch."""
    return request("/intake/v1/telemetry", batch(number))


def request(path: str, body: bytes) -> bytes:
    """A POST under the bench's token."""
    lines = (f"POST {path} HTTP/1.1", "Host: bench", f"Authorization: Bearer {TOKEN}", f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def flushed(directory: Path) -> float:
    """Records per second by one thread that parses each batch and appends it to two files, flushed."""
    directory.mkdir()
    bodies, count = [batch(number) for number in range(50)], 0
    with (directory / "one").open("wb", buffering=0) as one, (directory / "two").open("wb", buffering=0) as two:
        end = time.monotonic() + SECONDS / 3
        while time.monotonic() < end:
            body = bodies[count % len(bodies)]
            json.loads(body)
            for file in (one, two):
                file.write(body)
                os.fdatasync(file.fileno())
            count += 1
    return RECORDS * count / (SECONDS / 3)


async def load(port: int, make: Callable[[int], bytes], *, answers: int, seconds: float) -> float:
    """Requests per second that are answered so, CONNECTIONS of them at a time; no two of this process are alike."""
    done = 0
    end = time.monotonic() + seconds

    async def sender() -> None:
        nonlocal done
        reader, stream = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            stream.write(make(next(_NUMBERS)))
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = (line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(int(length))
            if not head.startswith(b"HTTP/1.1 %d" % answers):
                raise RuntimeError(f"{head.decode(errors='replace')}{body[:500].decode(errors='replace')}")
            done += 1
        stream.close()
        await stream.wait_closed()

    start = time.monotonic()
    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    return done / (time.monotonic() - start)


@contextlib.contextmanager
def sites(directory: Path) -> Iterator[int]:
    """Two sites with their customers' interface, each a process; the port of the first."""
    ports = [free_port() for _ in range(4)]
    prepare(directory, ports)
    call = "from bench import telemetry; telemetry.serve({!r}, {}, {!r})"
    processes = [
        subprocess.Popen([sys.executable, "-c", call.format(str(directory), number, ports)]) for number in (1, 0)
    ]
    try:
        for port in ports:
            wait_for(port, processes)
        yield ports[0]
    finally:
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            process.wait()


def no_charter() -> NoReturn:
    """Nobody here comes from another region."""
    raise RuntimeError("the bench has no charter")


def serve(directory: str, number: int, ports: list[int]) -> None:
    """Run one of the sites until it is interrupted; what a child process does."""
    import uvicorn
    from glasshouse_verify.codec import Identifier
    from glasshouse_verify.region import Category, Kind

    from bench.sites import SITES, credentials, signer, site_rules
    from glasshouse.regions.customers.accounts import Accounts, token_digest
    from glasshouse.regions.customers.holdings import Holdings
    from glasshouse.regions.customers.pace import Pace
    from glasshouse.regions.intake import Intake, Place
    from glasshouse.regions.keys.file_keyring import FileKeyring
    from glasshouse.regions.peer_server import peer_config
    from glasshouse.regions.reception import Site
    from glasshouse.regions.reputation import Indicators, ListSource
    from glasshouse.regions.server import create_site_app
    from glasshouse.regions.vault import DirectoryVault
    from glasshouse.storage.db import Database
    from glasshouse.storage.postgres import EmbeddedPostgres

    name, place = SITES[number], Path(directory)
    rules = site_rules(place, name, ports)
    telemetry = Category(kind=Kind.TELEMETRY, retention=86_400)
    rules = replace(rules, rules=replace(rules.rules, categories={Identifier("telemetry"): telemetry}))
    own = credentials(place, name)
    with EmbeddedPostgres(place / name / "postgres") as postgres, Database(postgres.dsn) as database:
        region = Place(
            database=database,
            vault=DirectoryVault(place / name / "vault"),
            keys=FileKeyring(place / name / "keys"),
            signer=signer(name),
            rules=lambda: rules,
        )
        with Intake(region, own) as intake:
            peer = peer_config(region, intake.replicas, own, host="127.0.0.1", port=ports[2 + number])
            threading.Thread(target=uvicorn.Server(peer).run, daemon=True).start()
            while not intake.replication.able:
                time.sleep(0.01)
            accounts = Accounts(database)
            accounts.enrol("bench", "AU", token_sha256=token_digest(TOKEN).hex())
            listed = {hashlib.sha256(b"listed %d" % at).digest(): "listed" for at in range(200_000)}
            source = ListSource(sha256="0" * 64, product="bench/list", version="1")
            site = Site(
                rules=lambda: rules,
                charter=no_charter,
                intake=intake,
                accounts=accounts,
                holdings=Holdings(database, rules.region),
                pace=Pace(1e6),
                indicators=Indicators(listed, source),
            )
            app = create_site_app(site)
            uvicorn.run(app, host="127.0.0.1", port=ports[number], log_level="error", lifespan="off", ws="none")
