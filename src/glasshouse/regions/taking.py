"""Routes by which a site takes data: a file at once, a file in parts, telemetry."""

import asyncio
import hashlib

from glasshouse_verify.region import Kind
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from glasshouse.regions.errors import AlreadyStored, InvalidInput, RegionError
from glasshouse.regions.intake import Stored, Upload
from glasshouse.regions.metadata import as_json, parse_metadata
from glasshouse.regions.reception import Admitted, Site, Visit, admit, counted, receive
from glasshouse.regions.telemetry import MAX_BATCH_BYTES, SCHEMA, parse_batch
from glasshouse.regions.uploads import Broken
from glasshouse.regions.web import PRIVATE, Declined, content_length, number_in, pieces, read_all
from glasshouse.storage.errors import StorageError

JSON_TYPE = "application/json"
PART_TYPE = "application/partial-upload"
METADATA_HEADER, DIGEST_HEADER = "Glasshouse-Metadata", "Glasshouse-SHA256"
LENGTH_HEADER, OFFSET_HEADER, COMPLETE_HEADER = "Upload-Length", "Upload-Offset", "Upload-Complete"
# Parsing more than this takes long enough to keep others waiting.
_INLINE_BYTES = 64 << 10


class TakingRoutes:
    """The endpoints. Everything is judged before the body is read."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def file(self, request: Request) -> Response:
        """One file in one request."""
        visit = await receive(self._site, request)
        with counted(self._site):
            size = content_length(request)
            if size is None:
                raise Declined(411, "Content-Length", "is missing", "Send the size, or: POST /intake/v1/uploads.")
        admitted = await self._admit_file(request, visit, request.path_params["sha256"], size)
        return await self._take(request, admitted)

    async def telemetry(self, request: Request) -> Response:
        """A batch of records, one object. Its digest is that of the body."""
        visit = await receive(self._site, request)
        with counted(self._site):
            body = await read_all(request, self._site.tempo, MAX_BATCH_BYTES, "batch")
            batch = parse_batch(body) if len(body) <= _INLINE_BYTES else await asyncio.to_thread(parse_batch, body)
        admitted = await admit(
            self._site,
            visit,
            kind=Kind.TELEMETRY,
            sha256=hashlib.sha256(body).hexdigest(),
            size=len(body),
            category=batch.category,
            metadata={"category": batch.category, "records": len(batch.records), "schema": SCHEMA},
        )
        return await self._take(request, admitted, body)

    async def _admit_file(self, request: Request, visit: Visit, sha256: str, size: int) -> Admitted:
        with counted(self._site):
            metadata = parse_metadata(request.headers.get(METADATA_HEADER))
        return await admit(
            self._site,
            visit,
            kind=Kind.FILE,
            sha256=sha256,
            size=size,
            category=metadata.category,
            metadata=as_json(metadata),
        )

    async def _take(self, request: Request, admitted: Admitted, body: bytes | None = None) -> Response:
        created = False
        try:
            async with await self._site.intake.begin(admitted.declared) as upload:
                if body is not None:
                    await upload.write(body)
                else:
                    async for piece in pieces(request, self._site.tempo):
                        await upload.write(piece)
                stored = await upload.finish()
            created = stored.created
        except AlreadyStored as error:
            return _receipt(error.receipt, created=False)
        finally:
            if not created:
                await asyncio.to_thread(admitted.give_back)
        return _receipt(stored.receipt, created=created)

    # --- uploads that may go on ------------------------------------------------------------------------------------

    async def begin(self, request: Request) -> Response:
        """Begin an upload: its digest, length and metadata are declared now, its content follows in parts."""
        visit = await receive(self._site, request)
        with counted(self._site):
            size = number_in(request, LENGTH_HEADER)
            if size is None:
                raise InvalidInput(LENGTH_HEADER, "is missing", "Send the size of the content in bytes.")
        await self._site.uploads.make_room(visit.customer.id)
        admitted = await self._admit_file(request, visit, request.headers.get(DIGEST_HEADER, ""), size)
        try:
            upload = await self._site.intake.begin(admitted.declared)
        except AlreadyStored as error:
            await asyncio.to_thread(admitted.give_back)
            return _receipt(error.receipt, created=False)
        except (RegionError, StorageError):
            await asyncio.to_thread(admitted.give_back)
            raise
        name = self._site.uploads.add(visit.customer.id, size, upload, admitted.give_back)
        place = f"/intake/v1/uploads/{name}"
        return Response(status_code=201, headers={**_progress(upload, size), "location": place})

    async def position(self, request: Request) -> Response:
        """How far an upload is."""
        _, broken = await self._find(request)
        return Response(status_code=204, headers=_progress(broken.upload, broken.size))

    async def cancel(self, request: Request) -> Response:
        """Discard an upload."""
        name, broken = await self._find(request)
        async with self._site.uploads.alone(broken):
            await self._site.uploads.discard(name)
        return Response(status_code=204)

    async def go_on(self, request: Request) -> Response:
        """The next part; after the last one, the receipt."""
        name, broken = await self._find(request)
        offset, last = number_in(request, OFFSET_HEADER), request.headers.get(COMPLETE_HEADER)
        if request.headers.get("content-type") != PART_TYPE:
            raise Declined(415, "Content-Type", f"is not {PART_TYPE}", "Send the part under that type.")
        if offset is None or last not in ("?0", "?1"):
            fix = f"Send {OFFSET_HEADER} with a decimal and {COMPLETE_HEADER} with ?0 or ?1."
            raise InvalidInput(OFFSET_HEADER if offset is None else COMPLETE_HEADER, "is missing", fix)
        async with self._site.uploads.alone(broken):
            if offset != broken.upload.position:
                reason = f"is {offset}, the upload goes on at {broken.upload.position}"
                raise Declined(409, OFFSET_HEADER, reason, "Ask for it first: HEAD.")
            try:
                if broken.interrupted:
                    await broken.upload.resume(offset)
                broken.interrupted = True
                async for piece in pieces(request, self._site.tempo):
                    await broken.upload.write(piece)
                broken.interrupted = False
                if last == "?0":
                    return Response(status_code=204, headers=_progress(broken.upload, broken.size))
                return await self._finish(name, broken)
            except (ClientDisconnect, Declined):
                # What has come stays: the client asks how far it is, and goes on.
                raise
            except (RegionError, StorageError):
                await self._site.uploads.discard(name)
                raise

    async def _finish(self, name: str, broken: Broken) -> Response:
        stored: Stored = await broken.upload.finish()
        self._site.uploads.forget(name)
        if not stored.created:
            await asyncio.to_thread(broken.give_back)
        return _receipt(stored.receipt, created=stored.created)

    async def _find(self, request: Request) -> tuple[str, Broken]:
        visit = await receive(self._site, request)
        name = request.path_params["name"]
        return name, self._site.uploads.find(name, visit.customer.id)


def _progress(upload: Upload, size: int) -> dict[str, str]:
    return {OFFSET_HEADER: str(upload.position), LENGTH_HEADER: str(size), COMPLETE_HEADER: "?0", **PRIVATE}


def _receipt(envelope: bytes, *, created: bool) -> Response:
    """The receipt as it was signed. Where the body was not read, the connection has to end."""
    headers = dict(PRIVATE) if created else {**PRIVATE, "connection": "close"}
    return Response(envelope, 201 if created else 200, headers, JSON_TYPE)
