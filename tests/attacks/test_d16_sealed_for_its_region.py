"""D16 Plaintext or digest sent to a site outside the region.

Cheat: a site hands what it stores to a site outside the region, sealed, with the wrapped data key and even with that
site's own wrapping keys, or has a custodian open it there; the plaintext would then be read where the charter does not
allow it.

Noticed by: the sealing itself, which binds every segment and every wrapping to its region; and the region's custodian,
who answers the region's own sites only, and records who else asked.

Seen: nothing opens under another region; the custodian answers 403 (`stranger`) and counts the attempt; neither the
sealed object nor its name tells the digest.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from custodians import INTAKE, REGION, Guarded, ask, guarded, guarded_world, items_counted, request_of
from glasshouse_verify.codec import encode
from world import charter_key, seeded

from glasshouse.regions.custody import Refusal
from glasshouse.regions.custody_request import Item
from glasshouse.regions.errors import CustodyRefused, SealBroken, WrappingBroken
from glasshouse.regions.seal import Opener, Sealer, new_handle
from glasshouse.regions.wrapping import Wrapping

CONTENT = b"a document that a customer in Australia sent in"
OUTSIDE = seeded("moscow intake")


class Taken:
    """An object of the region: sealed, wrapped, and everything that its site holds of it."""

    def __init__(self, guard: Guarded) -> None:
        self.handle = new_handle()
        sealer = Sealer(handle=self.handle, region=REGION, metadata={"category": "suspicious"})
        self.sealed = sealer.update(CONTENT) + sealer.finish()
        self.key = sealer.key
        self.wrapping: Wrapping = guard.wrapper.wrap(sealer.key, handle=self.handle, region=REGION)
        self.item = Item(handle=self.handle, blob=self.wrapping.blob)  # type: ignore[arg-type]


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[Guarded]:
    """Besides the region au there is eu, of the same custodian, with the site moscow."""
    world = guarded_world()
    newest = world.history.chain.newest.charter
    eu = {**newest.regions["au"], "countries": ["DE"], "name": "Europe", "replicas": 1}
    eu["sites"] = {"moscow": dict(encode(eu["sites"]["zurich-1"]))}
    moscow = {OUTSIDE.keyid: charter_key(OUTSIDE, "moscow", ["receipt", "inventory", "access"])}
    world.amend({"regions": {"eu": eu}, "parties": {"acme": {"keys": moscow}}})
    with guarded(tmp_path, world=world) as made:
        yield made


def test_attack_the_sealed_object_under_another_region(guard: Guarded) -> None:
    taken = Taken(guard)
    with pytest.raises(SealBroken, match="another place, object or region"):
        list(Opener(taken.key, handle=taken.handle, region="eu").open([taken.sealed]))


def test_attack_the_wrapping_under_another_region(guard: Guarded) -> None:
    taken = Taken(guard)
    (inner,) = ask(guard, request_of(taken.item))
    with pytest.raises(WrappingBroken):
        guard.wrapper.unwrap(taken.wrapping, handle=taken.handle, region="eu", opened=inner)


def test_attack_a_site_of_another_region_asks_the_custodian(guard: Guarded) -> None:
    taken = Taken(guard)
    attempts = {
        "as itself, for the region that is not its own": request_of(taken.item, site="moscow"),
        "as the region's own site": request_of(taken.item),
    }
    for request in attempts.values():
        with pytest.raises(CustodyRefused) as refused:
            ask(guard, request, OUTSIDE)
        assert refused.value.reason == Refusal.STRANGER
    # For its own region it is answered, but what was sealed for the other one does not open.
    with pytest.raises(CustodyRefused) as refused:
        ask(guard, request_of(taken.item, site="moscow", region="eu"), OUTSIDE)
    assert refused.value.reason == Refusal.WRAPPING
    assert items_counted(guard.custodian) == {}
    assert guard.custodian.refused() == {("", "", Refusal.STRANGER): 2, ("eu", "moscow", Refusal.WRAPPING): 1}


def test_attack_guessing_the_content_by_its_digest(guard: Guarded) -> None:
    """Whoever has the file and sees what is stored cannot tell that it is that file."""
    taken, again = Taken(guard), Taken(guard)
    digest = sha256(CONTENT).digest()
    for shown in (taken.sealed, bytes.fromhex(taken.handle), taken.wrapping.blob):
        assert digest not in shown
        assert CONTENT[:8] not in shown
    assert taken.sealed != again.sealed
    assert taken.handle != again.handle


def test_control_the_regions_own_site_opens_it(guard: Guarded) -> None:
    taken = Taken(guard)
    (inner,) = ask(guard, request_of(taken.item), INTAKE)
    key = guard.wrapper.unwrap(taken.wrapping, handle=taken.handle, region=REGION, opened=inner)
    assert b"".join(Opener(key, handle=taken.handle, region=REGION).open([taken.sealed])) == CONTENT
    assert items_counted(guard.custodian) == {"analysis": 1}
