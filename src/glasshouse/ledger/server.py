"""The ledger's HTTP interface: C2SP tlog-tiles for readers, and ways to add, look up and prove.

    POST /add                  one entry, 1 to 65,535 bytes → its index
    POST /add-batch            an entry bundle, at most 1,024 entries and 4 MiB → a JSON array of indexes, all or none
    GET  /checkpoint           the witnessed checkpoint
    GET  /checkpoint/pending   the newest one signed by the log, perhaps short of cosignatures
    GET  /tile/…               tiles and entry bundles (c2sp.org/tlog-tiles)
    GET  /lookup/<sha256>      which entries name a digest
    GET  /proof/<index>        a tlog-proof against the witnessed checkpoint
    GET, PUT /blob/<sha256>    content that an entry names by digest
    GET  /charter              the newest charter the log goes by
    GET  /handover/<version>   the checkpoint that shows this amendment under the policy of the charter before

Specification: docs/spec/ledger-http.md. Reading needs no sign-in; adding is judged by the entry alone (admission.py).
"""

import asyncio
import gzip
import hashlib
import tempfile
from pathlib import Path

from glasshouse_verify.codec import Digest, decode
from glasshouse_verify.dsse import MAX_ENTRY
from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError
from glasshouse_verify.tile import parse_bundle, parse_tile_path
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from glasshouse.ledger.admission import CharterAdmission
from glasshouse.ledger.edge import stored_bundle, stored_tile
from glasshouse.ledger.errors import EntryRefused, EntryTooLong, LogAlarm, NotAdmitted, NotThere
from glasshouse.ledger.log import BLOB_PREFIX, CHECKPOINT_KEY, PENDING_KEY
from glasshouse.ledger.running import RunningLog
from glasshouse.ledger.web import FRESH, IMMUTABLE, guarded, json_response, read_body
from glasshouse.storage.errors import ObjectMissing, from_os_error

MAX_BATCH_BYTES = 4 << 20
MAX_BATCH_ENTRIES = 1024
MAX_BLOB_BYTES = 64 << 20
_OCTETS = "application/octet-stream"


def create_app(log: RunningLog, *, spool: Path, max_blob_bytes: int = MAX_BLOB_BYTES) -> Starlette:
    """The application that serves a running log. ``spool`` is a directory for blobs while they are being received."""
    return Starlette(routes=ledger_routes(log, spool=spool, max_blob_bytes=max_blob_bytes))


def ledger_routes(log: RunningLog, *, spool: Path, max_blob_bytes: int = MAX_BLOB_BYTES) -> list[Route]:
    """The routes alone, for a process that serves other roles too."""
    api = _Api(log, spool, max_blob_bytes)
    return [
        Route("/add", guarded(api.add), methods=["POST"]),
        Route("/add-batch", guarded(api.add_batch), methods=["POST"]),
        Route("/checkpoint", guarded(api.checkpoint), methods=["GET"]),
        Route("/checkpoint/pending", guarded(api.pending), methods=["GET"]),
        Route("/tile/{path:path}", guarded(api.tile), methods=["GET"]),
        Route("/lookup/{digest}", guarded(api.lookup), methods=["GET"]),
        Route("/proof/{index}", guarded(api.proof), methods=["GET"]),
        Route("/blob/{digest}", guarded(api.get_blob), methods=["GET"]),
        Route("/blob/{digest}", guarded(api.put_blob), methods=["PUT"]),
        Route("/charter", guarded(api.charter), methods=["GET"]),
        Route("/handover/{version}", guarded(api.handover), methods=["GET"]),
    ]


class _Api:
    """The endpoints. What blocks (disk, database) runs in worker threads."""

    def __init__(self, log: RunningLog, spool: Path, max_blob_bytes: int) -> None:
        self._log = log
        self._spool = spool
        self._max_blob_bytes = max_blob_bytes

    async def add(self, request: Request) -> Response:
        entry = await read_body(request, MAX_ENTRY, "entry")
        (index,) = await asyncio.wrap_future(self._log.add([entry]))
        return Response(f"{index}\n", media_type="text/plain", headers=FRESH)

    async def add_batch(self, request: Request) -> Response:
        entries = parse_bundle(await read_body(request, MAX_BATCH_BYTES, "batch"))
        if not entries:
            raise EntryRefused("the batch is empty", field="batch", fix="send at least one entry")
        if len(entries) > MAX_BATCH_ENTRIES:
            raise EntryTooLong(
                f"the batch has {len(entries)} entries", field="batch", fix=f"send at most {MAX_BATCH_ENTRIES}"
            )
        indexes = await asyncio.wrap_future(self._log.add(entries))
        return json_response(indexes)

    async def checkpoint(self, _request: Request) -> Response:
        return await self._note(CHECKPOINT_KEY, "no checkpoint has been published yet")

    async def pending(self, _request: Request) -> Response:
        return await self._note(PENDING_KEY, "no checkpoint has been signed yet")

    async def tile(self, request: Request) -> Response:
        try:
            path = parse_tile_path(f"tile/{request.path_params['path']}")
        except FormatError as error:
            raise NotThere(str(error)) from None
        if path.level is not None:
            data = await asyncio.to_thread(stored_tile, self._log.store, path.level, path.index, path.width)
            return Response(data, media_type=_OCTETS, headers=IMMUTABLE)
        data = await asyncio.to_thread(stored_bundle, self._log.store, path.index, path.width)
        headers = {**IMMUTABLE, "vary": "accept-encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            data = await asyncio.to_thread(gzip.compress, data, 5, mtime=0)
            headers["content-encoding"] = "gzip"
        return Response(data, media_type=_OCTETS, headers=headers)

    async def lookup(self, request: Request) -> Response:
        digest = _digest(request)
        after = request.query_params.get("after")
        above = -1 if after is None else parse_decimal(after, "after")
        indexes = await asyncio.to_thread(lambda: self._log.lookup(digest, after=above))
        return json_response({"schema": "glasshouse.lookup/v1", "digest": digest.hex(), "indexes": indexes})

    async def proof(self, request: Request) -> Response:
        index = parse_decimal(request.path_params["index"], "index")
        data = await asyncio.to_thread(self._log.proof, index)
        return Response(data, media_type="text/plain; charset=utf-8", headers=FRESH)

    async def handover(self, request: Request) -> Response:
        version = parse_decimal(request.path_params["version"], "version")
        data = await asyncio.to_thread(self._log.handover, version)
        return Response(data, media_type="text/plain; charset=utf-8", headers=FRESH)

    async def charter(self, _request: Request) -> Response:
        if not isinstance(self._log.admission, CharterAdmission):
            raise NotThere("this log goes by no charter: it takes any entry")
        newest = self._log.admission.newest
        return json_response(
            {
                "schema": "glasshouse.charter-in-force/v1",
                "version": newest.charter.version,
                "statement": newest.id,
                "index": newest.index if newest.index >= 0 else None,
            }
        )

    async def get_blob(self, request: Request) -> Response:
        key = BLOB_PREFIX + _digest(request).hex()
        size = await asyncio.to_thread(self._log.store.size, key)
        if size is None:
            raise ObjectMissing(key)
        pieces = await asyncio.to_thread(self._log.store.stream, key)
        return StreamingResponse(pieces, media_type=_OCTETS, headers={**IMMUTABLE, "content-length": str(size)})

    async def put_blob(self, request: Request) -> Response:
        digest = _digest(request)
        if self._log.alarm is not None:
            raise LogAlarm(self._log.alarm)
        if not await asyncio.to_thread(self._log.lookup, digest):
            raise NotAdmitted(
                "no entry of this log names the digest", field="path", fix="log a statement that names it, then send it"
            )
        with tempfile.TemporaryDirectory(dir=self._spool) as scratch:
            received = Path(scratch) / "blob"
            try:
                found = await self._receive(request, received)
            except OSError as error:
                raise from_os_error(error, "receiving a blob") from error
            if found != digest:
                raise EntryRefused(
                    f"the content has the SHA-256 {found.hex()}", field="body", fix="send the content of that digest"
                )
            created = await asyncio.to_thread(self._log.store.create, BLOB_PREFIX + digest.hex(), received)
        return Response(status_code=201 if created else 200, headers=FRESH)

    async def _receive(self, request: Request, path: Path) -> bytes:
        sha256, size = hashlib.sha256(), 0
        with path.open("wb") as file:
            async for piece in request.stream():
                size += len(piece)
                if size > self._max_blob_bytes:
                    limit = f"send at most {self._max_blob_bytes} bytes"
                    raise EntryTooLong("the blob is too long", field="body", fix=limit)
                sha256.update(piece)
                await asyncio.to_thread(file.write, piece)
        return sha256.digest()

    async def _note(self, key: str, absent: str) -> Response:
        try:
            data = await asyncio.to_thread(self._log.store.get, key)
        except ObjectMissing:
            raise NotThere(absent) from None
        return Response(data, media_type="text/plain; charset=utf-8", headers=FRESH)


def _digest(request: Request) -> bytes:
    return bytes.fromhex(decode(Digest, request.path_params["digest"], "digest"))
