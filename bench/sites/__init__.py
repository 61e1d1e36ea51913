"""The processes that `bench intake` measures: python -m bench.sites PROGRAM DIRECTORY NUMBER PORT…

`ours` is a site of a region; `floor` the least that any program does which holds every file twice, sealed.
"""

import asyncio
import hashlib
import os
import secrets
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from glasshouse_verify.codec import Identifier, PublicKey, decode
from glasshouse_verify.region import Custody, Mode, Region, RegionSite

from glasshouse.parties.signer import FileSigner
from glasshouse.regions.intake import Declared, Intake, Place, SiteRules
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.peer_server import PeerProtocol, peer_config
from glasshouse.regions.peers import Credentials, client_context, server_context
from glasshouse.regions.vault import DirectoryVault
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

SITES = ("zurich-1", "zurich-2")
Scope = dict[str, Any]
Receive = Callable[[], Any]
Send = Callable[[dict[str, Any]], Any]
Take = Callable[[Scope, Receive], Any]


class App:
    """An ASGI application of one endpoint: PUT, answered by 201 and a body."""

    def __init__(self, take: Take) -> None:
        self._take = take

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self._take(scope, receive)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def pieces(receive: Receive) -> Any:
    """The pieces of a request's body."""
    while True:
        message = await receive()
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def certificate(directory: Path, name: str) -> bytes:
    """DER."""
    pem = (directory / name / "keys" / "peer.pem").read_bytes()
    return load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def credentials(directory: Path, name: str) -> Credentials:
    """The files of a site's own certificate."""
    keys = directory / name / "keys"
    return Credentials(certificate=keys / "peer.pem", key=keys / "peer.key")


# --- ours ----------------------------------------------------------------------------------------------------------


def ours(directory: Path, number: int, ports: list[int]) -> None:
    """A site: peer interface and intake in one process, with its PostgreSQL."""
    name = SITES[number]
    rules = site_rules(directory, name, ports)
    with EmbeddedPostgres(directory / name / "postgres") as postgres, Database(postgres.dsn) as database:
        place = Place(
            database=database,
            vault=DirectoryVault(directory / name / "vault"),
            keys=FileKeyring(directory / name / "keys"),
            signer=signer(name),
            rules=lambda: rules,
        )
        own = credentials(directory, name)
        with Intake(place, own) as intake:

            async def take(scope: Scope, receive: Receive) -> bytes:
                size = int(next(value for key, value in scope["headers"] if key == b"content-length"))
                declared = Declared(
                    customer="bench",
                    country="AU",
                    sha256=scope["path"].rpartition("/")[2],
                    size=size,
                    category="suspicious",
                    metadata={"name": "sample.bin"},
                )
                async with await intake.begin(declared) as upload:
                    async for piece in pieces(receive):
                        await upload.write(piece)
                    return (await upload.finish()).receipt

            peer = peer_config(place, intake.replicas, own, host="127.0.0.1", port=ports[2 + number])
            threading.Thread(target=uvicorn.Server(peer).run, daemon=True).start()
            while not intake.replication.able:
                time.sleep(0.01)
            serve(App(take), ports[number])


def signer(name: str) -> FileSigner:
    """A key that both processes can make."""
    return FileSigner(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))


def site_rules(directory: Path, name: str, ports: list[int]) -> SiteRules:
    """Two sites, dual custody."""
    custodian = X25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()
    value = {
        "name": "Australia",
        "countries": ["AU"],
        "epoch": 1,
        "sites": {},
        "replicas": 2,
        "when_short": "refuse",
        "custody": {"mode": "site"},
        "categories": {"suspicious": {"kind": "file", "retention": 31_536_000}},
        "interval": 86_400,
    }
    region: Region = decode(Region, value, "region")
    sites = {
        Identifier(site): RegionSite(
            party=Identifier("acme"),
            url=f"http://127.0.0.1:{ports[place]}",
            peer=f"https://127.0.0.1:{ports[2 + place]}",
            certificate=certificate(directory, site),
        )
        for place, site in enumerate(SITES)
    }
    custody = Custody(
        mode=Mode.DUAL, party=Identifier("council"), url="https://custody.example", key=PublicKey(custodian)
    )
    return SiteRules(
        region="au",
        site=name,
        party="acme",
        charter=hashlib.sha256(b"charter").hexdigest(),
        rules=replace(region, sites=sites, custody=custody),
        signers={site: frozenset([signer(site).public]) for site in SITES},
    )


def serve(app: App, port: int) -> None:
    """HTTP, as a site serves it."""
    uvicorn.run(
        app, host="127.0.0.1", port=port, log_level="error", lifespan="off", ws="none", loop="uvloop", http="httptools"
    )


# --- the floor -----------------------------------------------------------------------------------------------------


def floor(directory: Path, number: int, ports: list[int]) -> None:
    """Hash once, encrypt once, write and flush here and there."""
    name, threads = SITES[number], ThreadPoolExecutor(16)
    vault = directory / name / "files"
    for part in range(256):
        (vault / f"{part:02x}").mkdir(parents=True)

    def keep(data: bytes) -> None:
        digest = secrets.token_hex(32)
        path = vault / digest[:2] / digest
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
        os.close(descriptor)

    async def keep_here(data: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(threads, keep, data)

    async def body_of(receive: Receive) -> bytes:
        return b"".join([piece async for piece in pieces(receive)])

    if number == 1:

        async def store(_scope: Scope, receive: Receive) -> bytes:
            await keep_here(await body_of(receive))
            return b"ok"

        def context(*_: object) -> ssl.SSLContext:
            return server_context(credentials(directory, name), [certificate(directory, SITES[0])])

        config = uvicorn.Config(
            App(store),
            host="127.0.0.1",
            port=ports[3],
            http=PeerProtocol,
            log_level="error",
            lifespan="off",
            ws="none",
            ssl_context_factory=context,
            # Connections wait while the other program is measured.
            timeout_keep_alive=600,
        )
        threading.Thread(target=uvicorn.Server(config).run, daemon=True).start()
        serve(App(store), ports[1])
        return

    peer = Peer(ports[3], client_context(credentials(directory, name), certificate(directory, SITES[1])))

    async def take(scope: Scope, receive: Receive) -> bytes:
        content = await body_of(receive)
        if hashlib.sha256(content).hexdigest() != scope["path"].rpartition("/")[2]:
            raise RuntimeError("another digest")
        sealed = AESGCM(secrets.token_bytes(32)).encrypt(bytes(12), content, None)
        await asyncio.gather(keep_here(sealed), peer.send(sealed))
        return b"ok"

    threading.Thread(target=lambda: serve(App(take), ports[2]), daemon=True).start()
    serve(App(take), ports[0])


class Peer:
    """Connections to the other place, kept open and used by one request at a time."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, data: bytes) -> None:
        """PUT, and wait for 201."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        writer.write(b"PUT /object HTTP/1.1\r\nHost: peer\r\nContent-Length: %d\r\n\r\n" % len(data))
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(head.decode())
        await reader.readexactly(2)
        self._idle.append((reader, writer))
