"""Data keys that a site cannot open by itself any more, for sites that take over from it or join its region late.

In dual custody the custodian opens its layer, for the job `relocation` or `repair`, and counts every one. What was
opened for one of the sites stays in memory for a minute, for the others, which follow close behind, and for what is
sent again: so each is asked for once, as long as they do.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from glasshouse_verify.codec import Digest, Identifier, Text

from glasshouse.regions.custody_request import Item, Reason
from glasshouse.regions.errors import JournalConflict, KeysUnavailable
from glasshouse.regions.jobs import RELOCATION, REPAIR
from glasshouse.regions.placing import Place
from glasshouse.regions.wrapping import Wrapping

MAX_KEPT = 4_096
KEPT_SECONDS = 60.0
LEAVING = Reason(job=Identifier(RELOCATION))
JOINING = Reason(job=Identifier(REPAIR))


class Unwrapping:
    """Opens data keys with the custodian. Threads may share it."""

    def __init__(self, place: Place) -> None:
        self._place, self._lock = place, threading.Lock()
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def open(self, rows: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
        """Data keys by handle, of rows with the columns `custodian`, `wrapped` and `wrapped_by`.

        Raises KeysUnavailable at a site that knows no custodian, CustodyRefused, CustodyUnavailable, WrappingBroken.
        """
        with self._lock:
            self._forget()
            keys = {handle: self._kept[handle][0] for handle in rows if handle in self._kept}
            lacking = [handle for handle in rows if handle not in keys]
            if lacking:
                opened = self._ask(lacking, rows)
                self._keep(opened)
                keys |= opened
        return keys

    def _ask(self, handles: Sequence[str], rows: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
        rules, custodian = self._place.rules(), self._place.custodian()
        if custodian is None:
            raise KeysUnavailable(f"the data key of {handles[0][:16]}… opens with the custodian only")
        reason = JOINING if rules.moving is None or rules.left is not None else LEAVING
        items = [Item(handle=Digest(handle), blob=_bytes(rows[handle]["wrapped"])) for handle in handles]
        found, wrapper = {}, self._place.wrapper()
        for handle, inner in zip(handles, custodian.unwrap(items, reason), strict=True):
            row = rows[handle]
            wrapping = Wrapping(
                key_id=Text(str(row["wrapped_by"])),
                blob=_bytes(row["wrapped"]),
                custodian=Digest(_bytes(row["custodian"]).hex()),
            )
            found[handle] = wrapper.unwrap(wrapping, handle=handle, region=rules.region, opened=inner)
        return found

    def _keep(self, keys: Mapping[str, bytes]) -> None:
        until = time.monotonic() + KEPT_SECONDS
        for handle, key in keys.items():
            self._kept[handle] = key, until
        self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        while self._kept and (len(self._kept) > MAX_KEPT or next(iter(self._kept.values()))[1] < now):
            self._kept.popitem(last=False)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise JournalConflict("a wrapped data key in the database is not bytes")
    return value
