"""Intake: an upload becomes a sealed object, durable at as many sites as the charter asks for, and yields a receipt.

    async with await intake.begin(declared) as upload:
        async for piece in body:
            await upload.write(piece)
        stored = await upload.finish()
    answer(stored.receipt, status=201 if stored.created else 200)

All coroutines run on the event loop of the server; what blocks (disk, database, peers) runs in threads behind them. A
small upload is sealed in memory and costs no thread of its own: the committer takes all that are ready at once.
Specification of what follows: docs/spec/journal.md and docs/spec/peer-http.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from glasshouse_verify.encoding import JSON
from glasshouse_verify.region import Region


@dataclass(frozen=True, kw_only=True)
class SiteRules:
    """What a site goes by at a moment: its place, the party that runs it, and its region's rules.

    `charter` is the statement id of the charter that `rules` stand in.
    """

    region: str
    site: str
    party: str
    charter: str
    rules: Region


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What is to be uploaded; checked by the caller against the schema, the policy and the region's rules.

    `metadata` are sealed with the content; `customer_key` is the raw Ed25519 key whose signature erases the object.
    """

    customer: str
    country: str
    sha256: str
    size: int
    category: str
    metadata: Mapping[str, JSON]
    customer_key: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The receipt, an envelope with the signatures of `replicas` sites; whether this upload is the one it was for."""

    receipt: bytes
    handle: str
    created: bool


class Upload:
    """One upload under way. One caller at a time; an async context manager: leaving it unfinished discards it."""

    @property
    def position(self) -> int:
        """Content bytes taken so far: where a broken upload goes on."""
        raise NotImplementedError

    async def write(self, piece: bytes) -> None:
        """Take a piece of content. Raises UploadRefused beyond the declared size, Short where the disk is full."""
        raise NotImplementedError

    async def resume(self, position: int) -> None:
        """Before a broken upload goes on: what is on disk is read back and authenticated.

        Raises InvalidInput for another position than ours; SealBroken, after which it must begin anew.
        """
        raise NotImplementedError

    async def finish(self) -> Stored:
        """Returns once the object is durable at `replicas` sites.

        Where the customer stored this content before, the receipt is the one given then, and `created` is False.
        Raises UploadRefused where digest or size are not as declared; Short where a peer or the disk fails: the same
        upload again, then or later, is answered with the receipt.
        """
        raise NotImplementedError

    async def abort(self) -> None:
        """Discard what was taken; it counts neither as received nor as refused."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.abort()


class Intake:
    """Takes uploads for one site. Opened once in a process; see `open_intake`."""

    def __init__(self, rules: Callable[[], SiteRules]) -> None:
        self._rules = rules

    async def begin(self, declared: Declared) -> Upload:
        """Raises AlreadyStored (large uploads only: a small one learns it from `finish`), Short, InvalidInput."""
        raise NotImplementedError

    def refused(self) -> None:
        """Count an upload that was refused before `begin` (schema, policy, category). `Upload` counts its own."""
        raise NotImplementedError
