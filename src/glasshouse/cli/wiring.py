"""What the commands share: options, opening a node's session with its ledger, and printing."""

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from glasshouse_verify.dsse import Envelope, format_envelope

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.following import feed, follow
from glasshouse.ledger.history import History
from glasshouse.ledger.promises import Promises
from glasshouse.ledger.view import View
from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.node import KEY_USES, Node, is_entitled, open_node
from glasshouse.parties.signer import AgentSigner, Signer
from glasshouse.storage import files

_S = TypeVar("_S", bound=Signer)
DIGEST_CHARACTERS = 64

NodeOption = Annotated[Path, typer.Option("--node", help="the node's directory", exists=True, file_okay=False)]
LedgerOption = Annotated[str, typer.Option("--ledger", help="the ledger's URL")]
PinOption = Annotated[Path, typer.Option("--charter", help="the pinned first charter", exists=True, dir_okay=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON with a schema member")]


def emit(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print an answer for a program or for a person."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else text)


def read_pin(path: Path) -> bytes:
    """The payload of a pinned first charter."""
    return path.read_bytes().rstrip(b"\n")


@dataclass(kw_only=True)
class Session:
    """A node at work: its ledger, its own verified view of it, and what the entries say."""

    node: Node
    place: Path
    client: LedgerClient
    view: View
    history: History
    promises: Promises
    _opened: dict[str, Signer] = field(default_factory=dict)
    newest: int = -1

    @property
    def caught_up(self) -> bool:
        """Whether this party's own words are published and seen; until then it would say them again."""
        return self.history.size > self.newest

    def follow(self) -> History:
        """Bring view and history up to the newest witnessed checkpoint."""
        now = int(time.time())
        follow(self.client, self.view, self.history, now=now)
        self.promises.settle(self.view, now)
        self._send_kept()
        return self.history

    def signer(self, purpose: str) -> Signer:
        """This party's key of a purpose, in this process: the newest that the charter in force counts.

        Raises KeyUnavailable where none counts.
        """
        return self._counting(purpose, self._open_once)

    def _open_once(self, node: Node, name: str) -> Signer:
        if name not in self._opened:
            self._opened[name] = node.signer(name)
        return self._opened[name]

    def agent(self, purpose: str) -> AgentSigner:
        """The same in a process of its own; close it."""
        return self._counting(purpose, lambda node, name: node.agent(name))

    def _counting(self, purpose: str, open_key: Callable[[Node, str], _S]) -> _S:
        node, charter = open_node(self.node.directory), self.follow().chain.newest.charter
        names = node.key_names(purpose)
        for name in reversed(names):
            signer = open_key(node, name)
            if is_entitled(charter, signer.keyid, KEY_USES[purpose], self.history.size):
                return signer
            if isinstance(signer, AgentSigner):
                signer.close()
        held = "it has no such key"
        if names:
            held = f"of its keys {', '.join(names)} none counts (bring its card in with: glasshouse charter join)"
        raise KeyUnavailable(f"{node.directory} cannot sign as {purpose} by charter {charter.version}: {held}")

    def post(self, envelope: Envelope, blobs: Mapping[str, Path | bytes] | None = None) -> int:
        """Log an envelope, then store the blobs that it names; returns its index once both are durable."""
        entry = format_envelope(envelope)
        self._keep(blobs or {})
        index = self.client.add(entry)
        self.promises.keep(index, entry, int(time.time()))
        self._send_kept()
        self.newest = max(self.newest, index)
        return index

    @property
    def _kept(self) -> Path:
        """Blobs on their way: kept until the ledger has them, so that a crash after the entry loses none."""
        return self.place / "blobs"

    def _keep(self, blobs: Mapping[str, Path | bytes]) -> None:
        files.make_directory(self._kept, mode=0o700)
        for digest, content in blobs.items():
            files.create(self._kept / digest, content)

    def _send_kept(self) -> None:
        for path in sorted(self._kept.glob("*")):
            if len(path.name) == DIGEST_CHARACTERS and self.client.lookup(path.name):
                self.client.put_blob(path.name, path)
                path.unlink(missing_ok=True)


def post(client: LedgerClient, envelope: Envelope, blobs: Mapping[str, Path | bytes]) -> int:
    """Log an envelope, then store the blobs that it names."""
    index = client.add(format_envelope(envelope))
    put_blobs(client, blobs)
    return index


def put_blobs(client: LedgerClient, blobs: Mapping[str, Path | bytes]) -> None:
    """Store blobs that logged statements name."""
    for digest, content in blobs.items():
        client.put_blob(digest, content)


@contextlib.contextmanager
def open_session(directory: Path, name: str = "view") -> Iterator[Session]:
    """Open a node's session; `name` tells apart the views of a node's workers."""
    node = open_node(directory)
    history = History(node.pin)
    with View(node.data / name, history.chain.newest.charter.policy) as view:
        # The ledger may have moved to another URL since the pin; what this node has seen says where to.
        feed(view, history)
        with LedgerClient(history.chain.newest.charter.ledger.url) as client:
            place = node.data / name
            promises = Promises(place / "promises")
            yield Session(node=node, place=place, client=client, view=view, history=history, promises=promises)


def follow_pin(url: str, pin: bytes) -> History:
    """What a ledger says to somebody who has only a pin: everything is verified, nothing is kept."""
    history = History(pin)
    policy = history.chain.newest.charter.policy
    with tempfile.TemporaryDirectory() as scratch, LedgerClient(url) as client, View(Path(scratch), policy) as view:
        follow(client, view, history)
    return history
