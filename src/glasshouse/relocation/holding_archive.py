"""What a destination has of a foreign store that was moved to it: the lists of its arrival, and what opens its archive.

<directory>/rows      the rows of all versions, as this site has made them anew of its archive (listing.py)
<directory>/sealed    its ciphertexts then
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.codec import Digest, Identifier

from glasshouse.regions.placing import Place
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet
from glasshouse.relocation.giving import ROWS, SEALED
from glasshouse.relocation.holding import data_keys
from glasshouse.relocation.landing import Landings
from glasshouse.relocation.lists import RowList, known_list
from glasshouse.relocation.openings import Opening, VersionFacts


@dataclass(frozen=True, kw_only=True)
class ArchiveHoldings:
    """See giving.Holdings."""

    place: Place
    landings: Landings
    course: Course
    directory: Path

    def list(self, name: str) -> RowList:
        """See giving.Holdings."""
        site, course = self.place.rules().site, self.course
        said = course.arrivals.get(Identifier(site))
        if said is None or name not in (ROWS, SEALED):
            raise NotYet(f"{course.id}: {site} has not said what it has")
        return known_list(self.directory / name, getattr(said.predicate, name), f"{site}'s {name}")

    def open(self, handles: Sequence[str]) -> tuple[Opening, ...]:
        """See giving.Holdings. Nothing of an archive is erased while the move is open; what is missing was lost."""
        found = {one.handle: one for one in self.landings.of(handles)}
        wrapped = {handle: one.wrapping for handle, one in found.items() if one.wrapping is not None}
        keys = data_keys(self.place, wrapped)

        def opening(handle: str) -> Opening:
            one = found.get(handle)
            if one is None:
                return Opening(handle=Digest(handle))
            version = VersionFacts(key=one.key, ordinal=one.ordinal, marker=one.content is None)
            sealed = None if one.sealed is None else Digest(one.sealed)
            return Opening(handle=Digest(handle), data_key=keys.get(handle), sealed=sealed, version=version)

        return tuple(map(opening, handles))
