"""Looking at one object, as a person who was granted that: the only way from a handle to what a customer sent.

    1. the access statement `use` is logged, before anything is opened
    2. the custodian opens its layer, checks the grant by itself, and counts
    3. the site opens its own layer; the object is opened piece by piece, each authenticated

Whoever comes without a grant is refused by 2, whatever the site says; the custodian logs that refusal. What the site
itself can see to be missing is refused before, and logged by the site.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from glasshouse_verify.codec import Digest, Text
from glasshouse_verify.encoding import JSON

from glasshouse.regions.access import Opening
from glasshouse.regions.custody_request import Item, Opens, Reason
from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.journal import QUERIES
from glasshouse.regions.placing import Place
from glasshouse.regions.seal import Opener
from glasshouse.regions.wrapping import Wrapping


@dataclass(frozen=True, kw_only=True)
class Looked:
    """One object opened: `content` is whole only once the iterator has ended without SealBroken; then `metadata`."""

    opener: Opener
    content: Iterator[bytes]

    @property
    def metadata(self) -> dict[str, JSON]:
        """What the customer said of it; once the first piece of content was read."""
        return self.opener.metadata


def wrapping_of(place: Place, handle: str) -> Wrapping:
    """The wrapped data key of an object that this site holds; raises InvalidInput for any other."""
    try:
        raw = bytes.fromhex(handle)
    except ValueError:
        raw = b""
    with place.database.transaction() as connection:
        row = connection.execute(QUERIES["object"], {"handle": raw}).fetchone()
    if row is None or row[1] != "held":
        what = "was removed" if row is not None else "is none that this site holds"
        raise InvalidInput("handle", f"{handle[:80]} {what}", "Take it from the receipt: 64 hex digits.")
    _, _, _, _, key_id, custodian, blob = row
    return Wrapping(
        key_id=Text(str(key_id)),
        blob=blob if isinstance(blob, bytes) else b"",
        custodian=Digest(custodian.hex()) if isinstance(custodian, bytes) else None,
    )


def look(place: Place, custodian: Opens | None, opening: Opening, grant: str | None) -> Looked:
    """Open one object under a grant; none is needed where the custody is the site's own.

    Raises CustodyRefused, CustodyUnavailable, InvalidInput, KeyDestroyed, WrappingBroken, ObjectMissing.
    """
    handle, region = opening.handle, place.rules().region
    wrapping = wrapping_of(place, handle)
    opened = None
    if wrapping.custodian is not None:
        if custodian is None or grant is None:
            raise InvalidInput("grant", "the custodian has to open this object", "Request access and have it granted.")
        item = Item(handle=handle, blob=wrapping.blob)
        (opened,) = custodian.unwrap([item], Reason(grant=Digest(grant), nonce=opening.nonce))
    opener = Opener(
        place.wrapper().unwrap(wrapping, handle=handle, region=region, opened=opened), handle=handle, region=region
    )
    return Looked(opener=opener, content=opener.open(place.vault.stream(handle)))
