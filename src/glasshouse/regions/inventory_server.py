"""What a site shows of its inventories, to anybody, without signing in.

    GET /inventory/v1/{region}/newest           {"schema":"glasshouse.inventory-newest/v1","inventory":id,"epoch":3,…}
    GET /inventory/v1/{region}/proof/{handle}   {"schema":"glasshouse.inventory-proof/v1","held":…,"erased":…,…}
    GET /inventory/v1/{region}/rows?tree=held   the rows of the newest, a manifest at rest
    GET /inventory/v1/{region}/deltas/{epoch}   what an epoch changed

Nothing of it needs to be believed: proofs lead to the roots that the site has signed, and everything else follows from
the deltas, which are stored beside the ledger too.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Generator

from glasshouse_verify.codec import encode
from glasshouse_verify.shards import ShardProof
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from glasshouse.ledger.web import FRESH, json_response
from glasshouse.regions.inventory import Closed, read_last
from glasshouse.regions.inventory_tables import (
    ERASED,
    HELD,
    QUERIES,
    Connection,
    Trees,
    all_rows,
    load_trees,
    prove,
    to_bytes,
)
from glasshouse.regions.placing import SiteRules
from glasshouse.regions.web import Declined
from glasshouse.storage.db import Database

LINES = "application/jsonl"
# What an epoch changed never changes itself.
LASTING = {"cache-control": "public, max-age=31536000, immutable"}
_DIGITS = re.compile(r"[1-9][0-9]{0,15}")
_HANDLE = re.compile(r"[0-9a-f]{64}")


class InventoryRoutes:
    """The endpoints. Trees are kept between requests and read anew once another epoch was closed."""

    def __init__(self, database: Database, rules: Callable[[], SiteRules]) -> None:
        self._database, self._rules = database, rules
        self._lock = threading.Lock()
        self._kept: tuple[int, Trees] | None = None

    async def newest(self, request: Request) -> Response:
        """The newest inventory: the id under which the ledger has it."""
        rules = self._region(request)
        last = await asyncio.to_thread(self._last)
        document = {"schema": "glasshouse.inventory-newest/v1", "region": rules.region, "site": rules.site}
        return json_response({**document, "epoch": last.epoch, "inventory": last.statement, "time": last.time}, FRESH)

    async def proof(self, request: Request) -> Response:
        """That a handle is, or is not, among the held and among the erased of the newest inventory."""
        rules, handle = self._region(request), request.path_params["handle"]
        if not _HANDLE.fullmatch(handle):
            raise Declined(422, "handle", "is not 64 lowercase hex digits", "Take it from the receipt.")
        last, held, erased = await asyncio.to_thread(self._prove, handle)
        document = {"schema": "glasshouse.inventory-proof/v1", "region": rules.region, "site": rules.site}
        about = {"epoch": last.epoch, "inventory": last.statement, "held": encode(held), "erased": encode(erased)}
        return json_response({**document, **about}, FRESH)

    async def rows(self, request: Request) -> Response:
        """All rows of the newest inventory."""
        self._region(request)
        tree = request.query_params.get("tree", HELD)
        if tree not in (HELD, ERASED):
            raise Declined(422, "tree", f"{tree} is no tree", f"Ask for {HELD} or {ERASED}.")
        last = await asyncio.to_thread(self._last)
        return StreamingResponse(
            self._stream(tree), headers={**FRESH, "glasshouse-epoch": str(last.epoch)}, media_type=LINES
        )

    async def delta(self, request: Request) -> Response:
        """What one epoch changed."""
        self._region(request)
        epoch = request.path_params["epoch"]
        data = await asyncio.to_thread(self._delta, int(epoch)) if _DIGITS.fullmatch(epoch) else None
        if data is None:
            raise Declined(404, "epoch", f"this site has closed no epoch {epoch}", "Ask for the newest first.")
        return Response(data, headers=LASTING, media_type=LINES)

    # --- what blocks ---------------------------------------------------------------------------------------------

    def _region(self, request: Request) -> SiteRules:
        rules, asked = self._rules(), request.path_params["region"]
        if asked != rules.region:
            raise Declined(404, "region", f"{rules.site} is a site of {rules.region}", "The charter has its sites.")
        return rules

    def _last(self) -> Closed:
        with self._database.transaction() as connection:
            return _some(read_last(connection))

    def _prove(self, handle: str) -> tuple[Closed, ShardProof, ShardProof]:
        with self._lock, self._database.transaction() as connection:
            connection.execute("set transaction isolation level repeatable read, read only")
            last = _some(read_last(connection))
            held, erased = prove(connection, self._trees(connection, last.epoch), handle)
            return last, held, erased

    def _trees(self, connection: Connection, epoch: int) -> Trees:
        if self._kept is None or self._kept[0] != epoch:
            self._kept = (epoch, load_trees(connection))
        return self._kept[1]

    def _delta(self, epoch: int) -> bytes | None:
        with self._database.transaction() as connection:
            row = connection.execute(QUERIES["delta_of"], {"epoch": epoch}).fetchone()
        return None if row is None else to_bytes(row[0])

    async def _stream(self, tree: str) -> AsyncIterator[bytes]:
        pieces = self._pieces(tree)
        try:
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                yield piece
        finally:
            await asyncio.to_thread(pieces.close)

    def _pieces(self, tree: str) -> Generator[bytes, None, None]:
        with self._database.transaction() as connection:
            connection.execute("set transaction isolation level repeatable read, read only")
            yield from all_rows(connection, tree)


def _some(last: Closed) -> Closed:
    if last.statement is None:
        raise Declined(404, "inventory", "this site has closed no epoch yet", "Ask again later.")
    return last
