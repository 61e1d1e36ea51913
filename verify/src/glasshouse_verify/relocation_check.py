"""Whether a relocation was done as its statements say: decided offline from the pin, its evidence and a time.

    {"amendments":[…],"checkpoint":"ledger.acme.example\\n1042\\n…","handovers":[],"hashes":"<base64>",
     "pin":"<id of the first charter>","region":"au","relocation":"au-2026",
     "schema":"glasshouse.relocation-evidence/v1",
     "steps":[{"index":9,"predicate":{"step":"scope",…},"signatures":[…]},…]}

`steps` are the statements of the move (see `relocation`) in the ledger's order. Each was signed by the party whose step
it is, with a key at the site that it speaks for, and follows on those that `FOLLOWS` names. Eight claims, of which the
first two carry the others (see `ground`):

    charter, ledger
    opened      a quorum amended the charter; supervisor and an independent member committed to secrets before
    source      the old site and the supervisor list the same rows
    arrival     every destination has, for itself, the rows that the fence left, under ciphertexts of its own
    sample      the secrets, revealed after the arrivals, make the seed; enough was read, and nothing was wrong
    erasure     after countersignature, quarantine and a closing amendment, and read once more afterwards
    watch       the old site was tried for as long as the members asked, and refused every time

The outcome is the first that applies of: not authorised (4), mismatch (3), undecided (5), verified (0). A move that has
not ended is undecided, and the first such claim says which step is missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from shlex import quote
from typing import Any, cast

from glasshouse_verify.charter import Charter, Link, side
from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.encoding import format_json, parse_json
from glasshouse_verify.errors import CharterError
from glasshouse_verify.evidence import MAX_EVIDENCE, Basis, Logged
from glasshouse_verify.ground import Entry, Ground
from glasshouse_verify.receipt_check import LIMITS, RECHECKS, must
from glasshouse_verify.region import Moving, Region, regions_of
from glasshouse_verify.relocation import Relocation, Step, commitment_of, seed_of
from glasshouse_verify.report import Claim, Mismatch, Report, Undecided, utc
from glasshouse_verify.statement import Use

SCHEMA = "glasshouse.relocation-evidence/v1"
# So many draws find 0.1 % of bad objects with 99 %; whoever reads fewer reads everything.
SAMPLE = 4_603
# A day, and an hour for who is late: the longest time between two statements of the watch.
WATCH_SECONDS = 90_000
OLD_SITE = frozenset({Step.SCOPE, Step.OPEN, Step.SOURCE, Step.FENCE, Step.QUARANTINE, Step.ERASURE})
# What a step follows on, or on an earlier one of its own: that of the table above it, but for the last.
_ORDER: list[Step] = [step for step in Step if step not in (Step.PROGRAMME, Step.REFUSAL, Step.ALARM)]
FOLLOWS = dict(zip(_ORDER[1:], _ORDER, strict=False)) | {Step.WATCH: Step.ERASURE}
_LIMITS = {
    "opened": "What the scope says of replicas, backups and caches is the old site's word.",
    "source": "The supervisor lists what it is shown; that a store has no second face, nobody can prove.",
    "arrival": "Where a site stands is the charter's word; latency cannot tell it from its neighbours.",
    "sample": "A sample bounds what may be bad; that nothing is, only a full reading shows.",
    "erasure": "No cryptography shows that no copy exists, or that no key was exported before.",
    "watch": "Attempts are refused at the ways in that were tried; an alarm left out of this file, monitors catch.",
}


@dataclass(frozen=True, kw_only=True)
class RelocationEvidence(Basis):
    """The parsed file."""

    schema: str = SCHEMA
    region: Identifier
    relocation: Identifier
    steps: tuple[Logged, ...]


def parse_relocation_evidence(data: bytes) -> RelocationEvidence:
    """Parse the evidence of a relocation strictly; raises FormatError naming the member."""
    shown: RelocationEvidence = decode(RelocationEvidence, parse_json(data, "evidence", MAX_EVIDENCE), "evidence")
    return shown


def format_relocation_evidence(evidence: RelocationEvidence) -> bytes:
    """The canonical bytes of the evidence of a relocation."""
    return format_json(encode(evidence))


def check_relocation(pin: bytes, evidence: RelocationEvidence, at: int) -> Report:
    """Judge a relocation at Unix time `at`, given the pinned charter's payload.

    Raises FormatError where the pin or a statement in the evidence does not parse.
    """
    check = _Check(pin, evidence, at)
    if all(check.holds(foundation) for foundation in (check.charter, check.ledger)):
        for claim in (check.opened, check.source, check.arrival, check.sample, check.erasure, check.watch):
            check.holds(claim)
    return Report(claims=tuple(check.claims))


def speaks(charter: Charter, region: Region, moving: Moving, says: Relocation, keyids: Iterable[str]) -> bool:
    """Whether the step is this party's to take, at this site and with these keys."""
    at, owner = {key.site for key in map(charter.key, keyids) if key}, region.places.get(says.site or moving.site)
    if says.step in (*OLD_SITE, Step.ARRIVAL):
        sites = (moving.to or region.sites) if says.step == Step.ARRIVAL else [moving.site]
        return says.site in at.intersection(sites) and (owner is None or owner.party == says.party)
    members = charter.members.parties if says.step in (Step.COMMITMENT, Step.REVEAL) else ()
    return bool(at) and (says.party in (moving.supervisor, *members) or says.step == Step.ALARM)


class _Check(Ground):
    limits = LIMITS | _LIMITS

    def __init__(self, pin: bytes, evidence: RelocationEvidence, at: int) -> None:
        super().__init__(pin, evidence)
        self.evidence, self.at = evidence, at
        shown = [Entry(Use.RELOCATION, Relocation, logged) for logged in evidence.steps]
        self.steps: list[Entry[Any]] = sorted(shown, key=lambda entry: entry.index)
        self.entries = list(self.steps)

    def recheck(self, name: str) -> str:
        again = RECHECKS.get(name, f"glasshouse relocate status {self.evidence.relocation} --ledger {{ledger}}")
        return again.format(ledger=quote(self.chain.newest.charter.ledger.url))

    # Claims

    def opened(self) -> Claim:
        scope, opened = self._last(Step.SCOPE).says, self._last(Step.OPEN)
        by = tuple(made.says.party for made in self._told(Step.COMMITMENT) if made.id in opened.says.previous)
        let = {link.id for link, _ in self._links if link.index < opened.index}
        must(opened.says.charter in let, "opened under a charter that does not let the region move", CharterError)
        sides = {side(self.chain.newest.charter, party) for party in by}
        must(self._moving.supervisor in by and len(sides) > 1, f"opened when {' and '.join(by)} alone had committed")
        text = f"{scope.region} was let go from {self._at(scope.site)} to {self._at(*self._sites)}"
        return Claim(text=f"{text}; {' and '.join(by)} committed to secrets", by=by, when=opened.says.time)

    def source(self) -> Claim:
        listing = self._last(Step.LISTING)
        source = self._last(Step.SOURCE, by=listing).says
        must(listing.says.rows == source.rows, f"{listing.says.party} lists other rows there than {source.site} itself")
        text = f"{self._at(source.site)} and {listing.says.party} list {source.rows.size} rows, {source.size} bytes"
        return Claim(text=text, by=(source.party, listing.says.party), when=listing.says.time)

    def arrival(self) -> Claim:
        left, arrived = self._last(Step.FENCE).says, [entry.says for entry in self._arrived()]
        for says in arrived:
            must((says.rows, says.size) == (left.rows, left.size), f"{says.site} has other rows than the fence left")
            # A delete marker of a store has no content; every object of a site has.
            bare = says.rows.size - says.sealed.size
            must(not bare or (bare > 0 and not self._moving.to), f"{says.site} has no ciphertexts for {bare} rows")
        sealed = [says.sealed.root for says in arrived if says.sealed.size]
        must(len(set(sealed)) == len(sealed), "destinations have the same ciphertexts: they sealed nothing themselves")
        text = f"{self._at(*self._sites)} each list the {left.rows.size} rows that {left.site} had at the fence"
        by, when = {says.party for says in arrived}, max(says.time for says in arrived)
        return Claim(text=text, by=tuple(sorted(by)), when=when)

    def sample(self) -> Claim:
        newest = self._last(Step.COUNTERSIGN, Step.REFUSAL, Step.RESAMPLE).says
        for fault in newest.faults or ():
            raise Mismatch(f"{newest.party} refused: {fault.site}: {fault.text}")
        signed = self._last(Step.COUNTERSIGN)
        known = [refused for refused in self._told(Step.REFUSAL) if refused.index < signed.index]
        must(signed.says.full or not known, "countersigned by the sample that was refused, not by reading everything")
        must({entry.id for entry in self._arrived()} <= set(signed.says.previous), "countersigned without all arrivals")
        return self._read(signed)

    def erasure(self) -> Claim:
        for entry in self._told(Step.ERASURE):
            says, quarantine = entry.says, self._last(Step.QUARANTINE, by=entry)
            signed = self._last(Step.COUNTERSIGN, by=quarantine).says.time
            until = max(quarantine.says.until, signed + self._moving.quarantine)
            must(says.time >= until, f"erased on {utc(says.time)}, before the quarantine ended on {utc(until)}")
            since = [link for link in self.chain.links if self._links[-1][0].index < link.index < entry.index]
            closed = [regions_of(link.charter).get(says.region) for link in since if link.id == says.charter]
            kept = not closed or closed[0] is None or self._moving.site in closed[0].sites
            must(not kept, "erased under no charter that had closed the move", CharterError)
        erased = self._last(Step.ERASURE).says
        remains = ", ".join(item.name for item in erased.remains)
        left = f"{erased.rows.size} objects are at {erased.site} still: {remains or 'nothing is said to hold them'}"
        must(not erased.rows.size, left, Undecided)
        again = self._last(Step.RESAMPLE)
        read = self._read(again, self._last(Step.ERASURE, by=again).id)
        text = f"nothing is at {erased.site} since {utc(erased.time)}" + (f", but {remains}" if remains else "")
        return Claim(text=f"{text}; after that {read.text}", by=(erased.party, *read.by), when=read.when)

    def watch(self) -> Claim:
        for alarm in self._told(Step.ALARM):
            raise Mismatch(f"{alarm.says.party} raised an alarm: {alarm.says.faults[0].text}")
        last, times = self._last(Step.WATCH).says, [e.says.time for e in self._told(Step.ERASURE, Step.WATCH)]
        end, gap = times[0] + self._moving.watch, max(after - before for before, after in pairwise(times))
        must(gap <= WATCH_SECONDS, f"for {gap} s nobody watched", Undecided)
        refused = sum(count for kind, count in last.tried.items() if not kind.endswith("-unreached"))
        must(refused, f"nothing was refused at {last.site}: it could not be reached", Undecided)
        must(last.time >= end, f"not ended yet: watched until {utc(last.time)}, to be until {utc(end)}", Undecided)
        return Claim(text=f"{last.site} refused all of {refused} attempts", by=(last.party,), when=last.time)

    # What the claims share

    @cached_property
    def _links(self) -> list[tuple[Link, Region]]:
        """The charters that let the region move so, and the region by each."""
        regions = [(link, regions_of(link.charter).get(self.evidence.region)) for link in self.chain.links]
        found = [(link, of) for link, of in regions if of and of.moving and of.moving.id == self.evidence.relocation]
        must(found, f"no charter lets {self.evidence.region} move as {self.evidence.relocation}", CharterError)
        return found

    @property
    def _moving(self) -> Moving:
        return cast(Moving, self._links[-1][1].moving)

    @property
    def _sites(self) -> list[Identifier]:
        return sorted(self._moving.to or self._links[-1][1].sites)

    def _at(self, *sites: Identifier) -> str:
        return ", ".join(f"{site} ({self._links[-1][0].charter.sites[site].jurisdiction})" for site in sites)

    def _told(self, *steps: Step) -> list[Entry[Any]]:
        """The statements of some steps, each by whom it is for and after what it has to follow."""
        found = [entry for entry in self.steps if entry.says.step in steps]
        for entry in found:
            says, before = entry.says, {other.id: other.says.step for other in self.steps if other.index < entry.index}
            keys = self.chain.signers(entry.envelope, Use.RELOCATION, entry.index).get(says.party, [])
            region = [self._links[0], *(pair for pair in self._links if pair[0].index < entry.index)][-1][1]
            here = (says.region, says.relocation) == (self.evidence.region, self.evidence.relocation)
            spoken = here and speaks(self.chain.at(entry.index).charter, region, self._moving, says, keys)
            must(spoken, f"no key of {says.party} may say {says.step}", CharterError)
            must(says.time <= self.at, f"{says.step} is dated {utc(says.time)}, after the time given", Undecided)
            must(set(says.previous) <= set(before), f"{says.step} follows on what the file does not show", Undecided)
            follows = {FOLLOWS.get(says.step), says.step} & {before[name] for name in says.previous}
            must(follows or says.step not in FOLLOWS, f"{says.step} without {FOLLOWS.get(says.step)} before it")
        return found

    def _last(self, *steps: Step, by: Entry[Any] | None = None) -> Entry[Any]:
        """The newest statement of some steps, of those that `by` follows on where it is given."""
        found = [entry for entry in self._told(*steps) if by is None or entry.id in by.says.previous]
        missing = next((step for step in _ORDER if step not in {other.says.step for other in self.steps}), steps[0])
        must(found, f"not ended yet: nobody has said {missing}", Undecided)
        return found[-1]

    def _arrived(self) -> list[Entry[Any]]:
        fence = self._last(Step.FENCE)
        found = {entry.says.site: entry for entry in self._told(Step.ARRIVAL) if fence.id in entry.says.previous}
        missing = sorted(set(self._sites) - set(found))
        must(not missing, f"not ended yet: nobody has said arrival at {' and '.join(missing)}", Undecided)
        return [found[site] for site in self._sites]

    def _read(self, reading: Entry[Any], after: str = "") -> Claim:
        says, rows, arrived = reading.says, self._last(Step.FENCE).says.rows, {entry.id for entry in self._arrived()}
        told, secrets = {entry.says.party: entry.says for entry in self._told(Step.REVEAL)}, dict[str, bytes]()
        for made in (e.says for e in self._told(Step.COMMITMENT) if e.id in self._last(Step.OPEN).says.previous):
            must(made.party in told, f"not ended yet: {made.party} has not revealed its secret", Undecided)
            shown, secrets[made.party] = told[made.party], told[made.party].secret
            opens = commitment_of(made.relocation, made.party, shown.secret) == made.commitment
            must(opens, f"{made.party} revealed another secret than it had committed to")
            must(says.full or after or arrived <= set(shown.previous), f"{made.party} revealed it before all arrived")
        must(says.seed == seed_of(rows, secrets, after), f"{says.party} drew from another seed than the secrets make")
        least, enough = min(says.read.get(site, 0) for site in self._sites), rows.size if says.full else SAMPLE
        must(least >= enough, f"{says.party} read {least} objects, and {enough} were to be read", Undecided)
        how = "objects" if says.full else f"draws, which find 1 bad in {int(1 / (1 - 0.01 ** (1 / least)))} with 99 %"
        return Claim(text=f"{says.party} read at each site {least} {how}", by=tuple(secrets), when=says.time)
