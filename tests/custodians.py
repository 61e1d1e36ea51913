"""A region in dual custody for tests: a charter with real keys, a site with its wrapping keys, and a custodian.

acme's site zurich-1 (key `intake`) keeps data of the region au; lab (key `custody`) guards its keys.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from glasshouse_verify.access import Access, Step
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.statement import Use, make_statement
from ledgers import served
from region_examples import records
from world import NOW, World, charter_key, seeded

from glasshouse.parties.signer import FileSigner
from glasshouse.regions.custody import Custodian
from glasshouse.regions.custody_client import CustodyClient
from glasshouse.regions.custody_request import (
    KEY_HEADER,
    SIGNATURE_HEADER,
    Item,
    Reason,
    UnwrapRequest,
    access_commitment,
    format_request,
    new_id,
    parse_answer,
    sign_request,
)
from glasshouse.regions.custody_server import create_custody_app
from glasshouse.regions.grants import LedgerGrants
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.seal import new_handle
from glasshouse.regions.wrapping import Wrapper, Wrapping

REGION, SITE, CUSTODIAN = "au", "zurich-1", "lab"
PRIVATE = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = PRIVATE.public_key().public_bytes_raw()
INTAKE, INTAKE_2, CUSTODY = (seeded(name) for name in ("zurich-1 intake", "zurich-2 intake", "lab custody"))
JOBS = ("analysis", "rewrap")
ANALYSIS = Reason(job="analysis")  # type: ignore[arg-type]


def guarded_world(**changes: Any) -> World:
    """The usual world, with a region whose custody is dual."""
    regions: dict[str, Any] = records()["region"]
    regions["au"]["custody"] |= {"party": CUSTODIAN, "key": encode_base64(PUBLIC)}
    uses = ["receipt", "inventory", "access"]
    acme = {
        INTAKE.keyid: charter_key(INTAKE, "zurich-1", uses),
        INTAKE_2.keyid: charter_key(INTAKE_2, "zurich-2", uses),
    }
    patch = {
        "regions": regions,
        "sites": {"zurich-2": {"name": "Zurich 2", "jurisdiction": "CH"}},
        "parties": {"acme": {"keys": acme}, "lab": {"keys": {CUSTODY.keyid: charter_key(CUSTODY, "bern", ["access"])}}},
    }
    world = World(**(patch | changes))
    world.keys |= {"intake": INTAKE, "intake-2": INTAKE_2, "custody": CUSTODY}
    return world


def say(world: World, by: str, step: Step, /, party: str = "", **members: Any) -> str:
    """Log one step of an access; returns its statement id."""
    party = party or (CUSTODIAN if by == "custody" else "acme")
    access = Access(party=party, region=REGION, step=step, time=NOW, **members)  # type: ignore[arg-type]
    return world.post(make_statement(Use.ACCESS, access), by)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An access that was requested and granted, and what its reason looks like."""

    request: str
    grant: str
    reason: Reason


def grant_access(world: World, handle: str, *, uses: int = 1, until: int = NOW + 3_600) -> Opened:
    """Request access to an object by the site, grant it by the custodian."""
    nonce = secrets.token_bytes(32)
    request = say(
        world, "intake", Step.REQUEST, about=access_commitment(handle, nonce), purpose="a false alarm", site=SITE
    )
    grant = say(world, "custody", Step.GRANT, request=request, uses=uses, until=until)
    return Opened(request=request, grant=grant, reason=Reason(grant=grant, nonce=nonce))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """Everything at once. `item` wraps a new data key of an object."""

    world: World
    keys: FileKeyring
    wrapper: Wrapper
    custodian: Custodian

    def wrapping(self) -> tuple[str, Wrapping]:
        handle = new_handle()
        return handle, self.wrapper.wrap(secrets.token_bytes(32), handle=handle, region=REGION)

    def item(self) -> Item:
        handle, wrapping = self.wrapping()
        return Item(handle=handle, blob=wrapping.blob)  # type: ignore[arg-type]


@contextlib.contextmanager
def guarded(
    directory: Path, *, clock: Callable[[], float] = lambda: NOW, world: World | None = None
) -> Iterator[Guarded]:
    """A custodian and a site, in a new directory or one that was used before."""
    initiative = world or guarded_world()
    (directory / "keys").mkdir(exist_ok=True)
    keys = FileKeyring(directory / "keys")
    if not keys.epochs():
        keys.next_epoch()
    with contextlib.closing(
        Custodian(
            directory / "custody.sqlite3",
            party=CUSTODIAN,
            keys=(PRIVATE,),
            grants=LedgerGrants(lambda: initiative.history, custodian=CUSTODIAN),
            jobs=JOBS,
            clock=clock,
        )
    ) as custodian:
        yield Guarded(world=initiative, keys=keys, wrapper=Wrapper(keys, PUBLIC), custodian=custodian)


@contextlib.contextmanager
def asking(guard: Guarded, *, clock: Callable[[], float] = lambda: NOW) -> Iterator[CustodyClient]:
    """The site's client, of the custodian served over HTTP."""
    with (
        served(create_custody_app(guard.custodian)) as url,
        CustodyClient(url, custodian=CUSTODIAN, region=REGION, site=SITE, signer=INTAKE, clock=clock) as client,
    ):
        yield client


class Moment:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def request_of(*items: Item, **changes: Any) -> UnwrapRequest:
    members: dict[str, Any] = {
        "custodian": CUSTODIAN,
        "region": REGION,
        "site": SITE,
        "reason": ANALYSIS,
        "items": items,
        "time": NOW,
        "id": new_id(),
    }
    return UnwrapRequest(**(members | changes))


def ask(guard: Guarded, request: UnwrapRequest, signer: FileSigner = INTAKE) -> tuple[bytes, ...]:
    body = format_request(request)
    headers = sign_request(body, signer)
    answer = guard.custodian.unwrap(body, headers[KEY_HEADER], headers[SIGNATURE_HEADER])
    return parse_answer(answer, len(request.items))


def items_counted(custodian: Custodian) -> dict[str, int]:
    return {count.reason: count.items for count in custodian.counts()}
