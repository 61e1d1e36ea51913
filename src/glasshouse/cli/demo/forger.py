"""The vendor's (or a thief's) bad hand: releases that are not what they claim, made with the vendor's real keys."""

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.alarm import Hold
from glasshouse_verify.charter import Chain, Charter
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.codec import Digest, FileName, Identifier, Product, Text, Version
from glasshouse_verify.codec import Path as TreePath
from glasshouse_verify.dsse import Envelope, format_envelope, parse_envelope, statement_id
from glasshouse_verify.evidence import format_evidence
from glasshouse_verify.note import parse_note
from glasshouse_verify.statement import (
    Action,
    Pack,
    Rebuild,
    RebuiltFile,
    Release,
    ReleasedFile,
    Source,
    Tree,
    Use,
    Verdict,
    build_parameters,
    format_statement,
    make_statement,
    parse_statement,
    predicate_type,
)

from glasshouse.cli.conveyor import open_press
from glasshouse.cli.demo.stage import VENDOR
from glasshouse.cli.demo.story import START_SECONDS, Story, Ware
from glasshouse.cli.demo.wares import edition
from glasshouse.cli.wiring import post
from glasshouse.conveyor.release import Order, ReleaseRun
from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.errors import NotThere, Refused
from glasshouse.ledger.evidence import assemble
from glasshouse.parties.node import open_node
from glasshouse.parties.signer import FileSigner, sign_statement
from glasshouse.storage import files

_Kind = TypeVar("_Kind")


class Forger:
    """One cheat's releases of the small program, under a version nobody used before."""

    def __init__(self, story: Story, node: str = VENDOR, ware: Ware | None = None) -> None:
        self.story = story
        self.node = open_node(story.stage.node(node))
        self.ware = ware or edition(story.stage, f"6.{int(time.time())}.{secrets.token_hex(2)}")
        self.version, self.product = self.ware.version, self.ware.product

    def release_honest(self) -> list[Path]:
        """An honest release, by the vendor's own command."""
        return self.story.release_one(self.ware, self._scratch())

    def release_altered(self, addition: bytes) -> Path:
        """Build honestly, then ship other bytes: what a back-doored conveyor does."""
        return self._release(self.story.onlooker().chain.newest.charter, addition)

    def release_by_the_pin(self) -> Path:
        """An honest release by the first charter, whatever has been amended since."""
        return self._release(Chain(self.node.pin).newest.charter)

    def _release(self, charter: Charter, addition: bytes = b"") -> Path:
        directory = self.node.data / "releases" / "forged" / self.version
        order = Order(
            recipe=self.ware.recipe,
            version=self.version,
            channel="stable",
            lock=self.story.lock(self.ware).read_bytes(),
        )
        with open_press(self.node) as press, LedgerClient(self.story.stage.ledger_url) as client:
            run = ReleaseRun(directory, charter, order, press)
            source = run.publish_source(int(time.time()))
            post(client, source.envelope, source.blobs)
            run.build()
            (output,) = run.outputs
            if addition:
                files.write(output, output.read_bytes() + addition)
                record = json.loads((directory / "build.json").read_bytes())
                record["outputs"][0] |= {"sha256": _sha256(output.read_bytes()), "size": output.stat().st_size}
                files.write(directory / "build.json", json.dumps(record).encode())
            released = run.sign_release(int(time.time()))
            post(client, released.envelope, released.blobs)
        return self._download(output.name, output.read_bytes())

    def release_without_source(self, content: bytes) -> Path:
        """What a thief of the vendor's keys can do: sign source, provenance and release of his own file."""
        now = int(time.time())
        source = Source(
            party=Identifier(VENDOR),
            product=Product(self.product),
            version=Version(self.version),
            manifest=Tree(root=Digest(_sha256(b"no tree")), size=1),
            lock=Tree(root=Digest(_sha256(b"no lock")), size=1),
            lock_file=Digest(_sha256(b"no lock file")),
            indexes=(),
            recipe=TreePath("glasshouse/recipe.toml"),
            epoch=now,
            time=now,
            pack=Pack(sha256=Digest(_sha256(b"no pack")), size=7, recipients=()),
        )
        file = ReleasedFile(
            platform=Identifier(self.ware.platform), name=FileName("hello"), sha256=Digest(_sha256(content))
        )
        with LedgerClient(self.story.stage.ledger_url) as client:
            envelope = sign_statement(make_statement(Use.SOURCE, source), self.node.signer("release"))
            post(client, envelope, {})
            self._log_release(client, source, statement_id(envelope.payload), file, {file.sha256: content}, now)
        return self._download("hello", content)

    def release_again(self, honest: Path, addition: bytes) -> Path:
        """A second release statement under the same version, for other bytes."""
        content = honest.read_bytes() + addition
        file = ReleasedFile(
            platform=Identifier(self.ware.platform), name=FileName(honest.name), sha256=Digest(_sha256(content))
        )
        with LedgerClient(self.story.stage.ledger_url) as client:
            first = next(self._said(client, _sha256(honest.read_bytes()), Release))
            source = next(self._said(client, first.source, Source))
            self._log_release(client, source, first.source, file, {file.sha256: content}, int(time.time()))
        return self._download(honest.name, content)

    def copy_release(self, released: str, party: str) -> None:
        """What a lazy rebuilder does: call a release identical, with the released digests for its own."""
        release: Release = self.story.onlooker().records[released].predicate
        copied = tuple(
            RebuiltFile(platform=f.platform, name=f.name, shipped=f.sha256, rebuilt=f.sha256, verdict=Verdict.IDENTICAL)
            for f in release.files
        )
        rebuild = Rebuild(
            party=Identifier(party),
            product=release.product,
            version=release.version,
            release=Digest(released),
            source=release.source,
            verdict=Verdict.IDENTICAL,
            files=copied,
            explanation=Text(""),
            not_varied=(),
            time=int(time.time()),
        )
        signer = open_node(self.story.stage.node(party)).signer("rebuild")
        with LedgerClient(self.story.stage.ledger_url) as client:
            post(client, sign_statement(make_statement(Use.REBUILD, rebuild), signer), {})

    def _said(self, client: LedgerClient, sha256: str, kind: type[_Kind]) -> Iterator[_Kind]:
        """What the entries of a kind say that name a digest; waits until they are published."""
        for index in client.lookup(sha256):
            self.story.stage.wait("an entry's publication", partial(_is_published, client, index), START_SECONDS)
            predicate = parse_statement(parse_envelope(client.entry(index)).payload).predicate
            if isinstance(predicate, kind):
                yield predicate

    def _log_release(
        self,
        client: LedgerClient,
        source: Source,
        source_id: str,
        file: ReleasedFile,
        blobs: dict[str, Path | bytes],
        now: int,
    ) -> None:
        predicate = {"buildDefinition": {"externalParameters": build_parameters(source)}}
        payload = format_statement(predicate_type(Use.PROVENANCE), [(file.name, file.sha256)], predicate)
        provenance = format_envelope(sign_statement(payload, self.node.signer("conveyor")))
        release = Release(
            party=Identifier(VENDOR),
            product=source.product,
            version=source.version,
            channel=Identifier("stable"),
            source=Digest(source_id),
            provenance=Digest(_sha256(provenance)),
            sbom=Digest(_sha256(b"{}")),
            files=(file,),
            time=now,
        )
        envelope = sign_statement(make_statement(Use.RELEASE, release), self.node.signer("release"))
        post(client, envelope, {release.provenance: provenance, release.sbom: b"{}", **blobs})

    def _download(self, name: str, content: bytes) -> Path:
        place = self._scratch() / "offered" / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(content)
        return place

    def _scratch(self) -> Path:
        place = self.story.stage.root / "scratch" / self.version
        place.mkdir(parents=True, exist_ok=True)
        return place

    def evidence_without_rebuilds(self, file: Path) -> Path:
        """Evidence assembled by the vendor, who leaves out what the rebuilders said."""
        place = file.with_name(f"{file.name}.evidence")
        with LedgerClient(self.story.stage.ledger_url) as client:
            source = _WithoutRebuilds(client)
            evidence = assemble(source, self.node.pin, _sha256(file.read_bytes()))
        place.write_bytes(format_evidence(evidence))
        return place

    def submit(self, witness: str, old_size: int, note: bytes) -> int:
        """Ask a witness to cosign; returns its HTTP status."""
        card = json.loads((self.story.stage.node(witness) / "card.json").read_bytes())
        body = f"old {old_size}\n\n".encode() + note
        return httpx.post(f"{card['witness']['url']}/add-checkpoint", content=body, timeout=10.0).status_code

    def add_as_outsider(self) -> str:
        """Try to log a well-formed statement with a key that no party has; returns the refusal."""
        hold = Hold(
            party=Identifier(VENDOR),
            action=Action.HOLD,
            release=Digest(_sha256(b"anything")),
            reason=Text("an outsider's"),
            time=int(time.time()),
        )
        signer = FileSigner(Ed25519PrivateKey.generate())
        envelope: Envelope = sign_statement(make_statement(Use.HOLD, hold), signer)
        try:
            with LedgerClient(self.story.stage.ledger_url) as client:
                index = client.add(format_envelope(envelope))
        except Refused as refusal:
            return f"{refusal.status}: {refusal}"
        return f"accepted at {index}"


class _WithoutRebuilds:
    """A ledger seen through the eyes of somebody who passes over the rebuilders' statements."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client
        self.checkpoint, self.handover, self.entry = client.checkpoint, client.handover, client.entry
        self.read, self.blob = client.read, client.blob

    def lookup(self, sha256: str) -> list[int]:
        """Indexes of the entries that name a digest, without rebuilds."""
        return [index for index in self._client.lookup(sha256) if not self._is_rebuild(index)]

    def _is_rebuild(self, index: int) -> bool:
        try:
            data = self._client.entry(index)
        except NotThere:
            return True
        return isinstance(parse_statement(parse_envelope(data).payload).predicate, Rebuild)


def _is_published(client: LedgerClient, index: int) -> bool:
    return parse_checkpoint(parse_note(client.checkpoint()).text).size > index


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
