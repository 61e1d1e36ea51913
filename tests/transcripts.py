"""Transcripts of HTTP: what the pages under docs/spec show, replayed against real servers.

    ```transcript
    POST /add-batch
    |x 0001 31 0001 32

    200 OK
    content-type: application/json
    | [1,2]
    ```

A request line and headers, the body, an empty line, the status, the headers that matter, the body. A body line after
"| " ends in a newline, one after "|- " does not, "|x " is hex. To write the answers anew:

    python tests/transcripts.py
"""

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from ledgers import ledger_node, own_database, policy_of, witness_node
from notary import Notary
from world import World

from glasshouse.ledger.admission import CharterAdmission
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.cosign import Witnessing
from glasshouse.storage.db import Database

PAGES = Path(__file__).resolve().parent.parent / "docs" / "spec"
LOG = Notary("ledger.example/2026")
TIME = 1_767_225_600.0

BLOCK = re.compile(r"^```transcript(?: ([a-z]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = ("content-type", "content-encoding", "cache-control", "retry-after", "vary")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One block of a page: the server it is for, the request as written, and the answer as written."""

    server: str
    request: str
    answer: str


def exchanges(page: Path) -> list[Exchange]:
    found = []
    for block in BLOCK.finditer(page.read_text()):
        request, _, answer = block[2].partition("\n\n")
        found.append(Exchange(server=block[1] or "", request=request + "\n", answer=answer))
    return found


def send(http: httpx.Client, request: str) -> str:
    """Make a written request; the answer in writing."""
    first, *rest = request.splitlines()
    method, path = first.split(" ")
    headers = dict(line.split(": ", 1) for line in rest if not line.startswith("|"))
    body = b"".join(_body(line) for line in rest if line.startswith("|"))
    sent = http.request(method, path, headers={"accept-encoding": "identity", **headers}, content=body or None)
    lines = [f"{sent.status_code} {sent.reason_phrase}"]
    lines += [f"{name}: {sent.headers[name]}" for name in SHOWN if name in sent.headers]
    return "\n".join([*lines, *_written(sent.content)]) + "\n"


def _body(line: str) -> bytes:
    if line.startswith("|x "):
        return bytes.fromhex(line[3:])
    if line.startswith("|- "):
        return line[3:].encode()
    return line[2:].encode() + b"\n"


def _written(body: bytes) -> list[str]:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if any(char < " " and char != "\n" for char in text):
        return [f"|x {body[at : at + 32].hex()}" for at in range(0, len(body), 32)]
    *lines, last = text.split("\n")
    return [f"| {line}".rstrip() for line in lines] + ([f"|- {last}"] if last else [])


@contextlib.contextmanager
def ledgers(database: Database, directory: Path) -> Iterator[Mapping[str, httpx.Client]]:
    """The servers of ledger-http.md: an open log with two witnesses, to which the page adds; one with a charter."""
    world = World()
    world.honest()
    for name in ("plain", "charter"):
        (directory / name).mkdir()
    with (
        witness_node(directory / "w1", "witness.acme.example", [LOG.key], clock=lambda: TIME) as acme,
        witness_node(directory / "w2", "w1.lab.example", [LOG.key], clock=lambda: TIME) as lab,
        ledger_node(
            database,
            directory / "plain",
            LOG.key.name,
            witnessing=Witnessing(policies=(policy_of(LOG.key, acme, lab),), endpoints=(acme.endpoint, lab.endpoint)),
        ) as plain,
        ledger_node(
            database, directory / "charter", "transcripts.example/log", admission=CharterAdmission(world.pin)
        ) as charter,
        httpx.Client(base_url=plain.url) as plain_http,
        httpx.Client(base_url=charter.url) as charter_http,
    ):
        with LedgerClient(charter.url) as client:
            charter.published(client.add_batch(world.entries)[-1] + 1)
        # The page reads what its first entries have been published as.
        plain_http.event_hooks["request"] = [lambda request: plain.published(7) if request.method == "GET" else None]
        yield {"": plain_http, "charter": charter_http}


@contextlib.contextmanager
def witnesses(directory: Path) -> Iterator[Mapping[str, httpx.Client]]:
    """The server of witness-http.md."""
    with (
        witness_node(directory / "witness", "w1.lab.example", [LOG.key], clock=lambda: TIME) as node,
        httpx.Client(base_url=node.url) as http,
    ):
        yield {"": http}


def main() -> None:
    """Write the answers into the pages."""
    with tempfile.TemporaryDirectory() as name, own_database(Path(name) / "postgres") as database:
        directory = Path(name)
        with ledgers(database, directory) as of_ledger, witnesses(directory) as of_witness:
            for page, servers in (("ledger-http", of_ledger), ("witness-http", of_witness)):
                _rewrite(PAGES / f"{page}.md", servers)


def _rewrite(page: Path, servers: Mapping[str, httpx.Client]) -> None:
    def answered(block: re.Match[str]) -> str:
        request = block[2].partition("\n\n")[0].rstrip("\n") + "\n"
        mark = f" {block[1]}" if block[1] else ""
        return f"```transcript{mark}\n{request}\n{send(servers[block[1] or ''], request)}```"

    page.write_text(BLOCK.sub(answered, page.read_text()))


if __name__ == "__main__":
    main()
