"""The proof that a region has left a site, without which no key service destroys its last key epoch.

    opened    a charter of the chain has the relocation in its region's `moving`, from this site
    closed    the next one has not, and by the newest charter the site is not in that region, nor left by it again

A data centre has a node, and keys, for each region; so what other regions have there is nothing to this one.

Every link of the chain stands by the vote of the members' quorum (`glasshouse_verify.charter.Chain`).
"""

from dataclasses import dataclass
from functools import cached_property

from glasshouse_verify.charter import Chain, Charter, Link
from glasshouse_verify.codec import Identifier
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.region import Moving, Origin, Region, regions_of

from glasshouse.regions.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The members have closed a relocation: what it moved has no place at the old site any more.

    Making one is the check, so there is none without the amendment: raises InvalidInput where the chain, which was
    verified from a pin on, does not say so.
    """

    chain: Chain
    region: str
    relocation: str
    site: str

    def __post_init__(self) -> None:
        if not self._opened:
            raise _refused(f"no charter has opened the relocation {self.relocation} from {self.site}")
        if self._opened[-1] + 1 == len(self.chain.links):
            raise _refused(f"the relocation {self.relocation} is still open")
        try:
            newest = regions_of(self.chain.newest.charter)
        except VerifyError as error:
            raise _refused(f"the newest charter breaks a rule: {error}") from error
        region = newest.get(Identifier(self.region))
        if region is None:
            return
        if region.moving is not None and region.moving.site == self.site:
            raise _refused(f"the region {self.region} moves from {self.site}")
        if self.moving.source == Origin.SITE and self.site in region.places:
            raise _refused(f"{self.site} is a site of the region {self.region}")

    @property
    def link(self) -> Link:
        """The amendment that closed it."""
        return self.chain.links[self._opened[-1] + 1]

    @cached_property
    def moving(self) -> Moving:
        """The relocation, as the last charter before has it."""
        found = _moving(self.chain.links[self._opened[-1]].charter, self)
        if found is None:
            raise _refused(f"no charter has opened the relocation {self.relocation}")
        return found

    @cached_property
    def _opened(self) -> list[int]:
        return [at for at, link in enumerate(self.chain.links) if _moving(link.charter, self) is not None]


def _moving(charter: Charter, asked: Closed) -> Moving | None:
    try:
        regions: dict[str, Region] = {str(name): region for name, region in regions_of(charter).items()}
    except VerifyError:
        # Rules that nobody can read open nothing.
        return None
    moving = regions[asked.region].moving if asked.region in regions else None
    return moving if moving is not None and (moving.id, moving.site) == (asked.relocation, asked.site) else None


def _refused(reason: str) -> InvalidInput:
    return InvalidInput("charter", reason, "The members close a relocation by an amendment: glasshouse charter region.")
