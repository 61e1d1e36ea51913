"""A vendor's code-signing key and a time-stamp authority, both real: osslsigncode signs, OpenSSL stamps.

Where a program is not installed, the test that needs it is skipped and says why.
"""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.charter import Authenticode
from glasshouse_verify.codec import encode
from ledgers import served
from pe_image import pe_image
from starlette.applications import Starlette
from world import PLATFORM, PRODUCT, World, digest

from glasshouse.cli.timestamping import timestamp_routes
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.signing import CodeSigner, embed_signature
from glasshouse.conveyor.store import Store, http_client
from glasshouse.ledger.errors import NotThere
from glasshouse.parties.certificates import Purpose, create_chain, fingerprint, load_certificates
from glasshouse.parties.timestamp import TimestampAuthority
from glasshouse.supervision.rebuilder import Outcome, rebuild_release
from glasshouse.supervision.workshop import Workshop

NAME = "engine.dll"
UNSIGNED = pe_image({".text": b"\xc3" * 700, ".rdata": b"a library that anybody can rebuild\0"})
ACCEPT = ["identical", "identical-modulo-signature"]


@dataclass(frozen=True, kw_only=True)
class Signatory:
    """`keys` as in a node; `pins` is what a charter says of them."""

    keys: Path
    url: str

    @property
    def signer(self) -> CodeSigner:
        return CodeSigner(key=self.keys / "codesign.key", certificates=self.keys / "codesign.pem", timestamps=self.url)

    @property
    def pins(self) -> Authenticode:
        leaves = [fingerprint(load_certificates(self.keys / f"{p}.pem")[0]) for p in Purpose]
        return Authenticode(signers=(leaves[0],), timestampers=(leaves[1],), chain=())

    def sign(self, unsigned: bytes = UNSIGNED) -> bytes:
        """By the conveyor's own step."""
        return self._through(unsigned, lambda a, b: embed_signature(a, b, self.signer, int(time.time())))

    def sign_with(self, *options: str, unsigned: bytes = UNSIGNED, verb: str = "sign") -> bytes:
        """By osslsigncode with options of the test's."""
        base = ["-certs", str(self.keys / "codesign.pem"), "-key", str(self.keys / "codesign.key"), "-h", "sha256"]
        base = base if verb == "sign" else []
        return self._through(
            unsigned, lambda a, b: _run("osslsigncode", verb, *base, *options, "-in", str(a), "-out", str(b))
        )

    def _through(self, data: bytes, step: Callable[[Path, Path], Any]) -> bytes:
        before, after = self.keys / "before", self.keys / "after"
        before.write_bytes(data)
        after.unlink(missing_ok=True)
        step(before, after)
        return after.read_bytes()


@contextlib.contextmanager
def signatory(directory: Path, name: str = "Acme Security") -> Iterator[Signatory]:
    """A vendor and its time-stamp authority, which answers on loopback."""
    for program in ("osslsigncode", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    directory.mkdir(exist_ok=True)
    now = int(time.time())
    create_chain(directory, Purpose.CODE_SIGNING, name, now)
    create_chain(directory, Purpose.TIME_STAMPING, "Witness", now)
    with served(Starlette(routes=[*timestamp_routes(TimestampAuthority(directory))])) as url:
        yield Signatory(keys=directory, url=f"{url}/timestamp")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def signing_world(pins: Authenticode | None, accept: Sequence[str] = ACCEPT) -> World:
    """An initiative whose charter lets signed files pass, by these certificates."""
    gate: dict[str, Any] = {"accept": list(accept)}
    return World(products={PRODUCT: {"gate": gate if pins is None else {**gate, "authenticode": encode(pins)}}})


def release_signed(world: World, shipped: bytes, unsigned: bytes = UNSIGNED, **changes: Any) -> str:
    """Log a release that says: `shipped` is `unsigned` with a signature; the ledger's blobs have it."""
    world.blobs[digest(shipped)] = shipped
    return world.release(shipped=shipped, name=NAME, unsigned=digest(unsigned), **changes)


def judge(world: World, release: str, place: Path, built: bytes = UNSIGNED, party: str = "lab") -> Outcome:
    """The rebuilder's verdict on a release, when its own build of the source gave `built`."""
    record = world.history.records[release]
    workshop = Workshop(
        party=party,
        signer=world.keys[party],
        identity=Path("/none"),
        store=Store(place / "store"),
        origins=Origins(client=http_client(), mirrors={}, keyring=Path("/none")),
        roots=place / "roots",
        kept=place / "kept",
    )
    _keep_build(place / "kept" / record.predicate.source, built, world, party)

    def get_blob(sha: str) -> bytes:
        if sha not in world.blobs:
            raise NotThere(f"the ledger has no blob {sha[:16]}…")
        return world.blobs[sha]

    return rebuild_release(world.history, record, workshop, get_blob, world.now)


def _keep_build(place: Path, built: bytes, world: World, party: str) -> None:
    """What the workshop keeps of a finished build, see glasshouse.supervision.workshop."""
    (place / "out").mkdir(parents=True, exist_ok=True)
    (place / "out" / NAME).write_bytes(built)
    (place / "out" / "build.log").write_bytes(b"")
    (place / "provenance.dsse").write_bytes(b"provenance of " + party.encode())
    record = {
        "platform": PLATFORM,
        "outputs": [{"name": NAME, "sha256": digest(built), "size": len(built)}],
        "executor": "bubblewrap 0.8.0",
        "not_varied": ["kernel"],
        "opaque": [],
        "nonce": digest(b"nonce"),
    }
    (place / "built.json").write_text(json.dumps(record))
