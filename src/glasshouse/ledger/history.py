"""What the ledger's statements say, judged entry by entry in the ledger's order.

A `History` is fed every entry from index 0 on and never asks anybody. Two parties that feed it the same entries get the
same records, the same anomalies and, byte for byte, the same status rows: that is what lets one propose a status and
the others recompute it. Rules are those of the design's Statements section: signers are judged at their own index,
stop indexes of the newest charter apply to all, a statement stands at its lowest entry whose signatures alone
suffice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from glasshouse_verify.alarm import Hold
from glasshouse_verify.blind import Commit, opens
from glasshouse_verify.charter import NEGATIVE, Chain, Charter, Role, StatusRule, entitled, verified_keyids
from glasshouse_verify.codec import Digest, Identifier, Text, encode
from glasshouse_verify.dsse import Envelope, parse_envelope, statement_id
from glasshouse_verify.errors import QuorumError, VerifyError
from glasshouse_verify.statement import (
    Action,
    Rebuild,
    Release,
    ReleasedFile,
    Source,
    Statement,
    Status,
    Use,
    Verdict,
    parse_statement,
)
from glasshouse_verify.status import StandingHold, StandingVerdict, StatusRow, status_key
from glasshouse_verify.trap import Trap, TrapOpening, is_trap

from glasshouse.ledger.digests import named_digests

# One party must not be able to make a row, and with it every status, too long to be written.
MAX_NAMED = 16
MAX_REASON = 200

_WORST = list(Verdict)
_NAMES_OUTPUTS = frozenset({Use.RELEASE, Use.REBUILD, Use.PROVENANCE, Use.FINDING})


@dataclass(frozen=True, kw_only=True)
class Record:
    """A statement that stood when it was logged: its lowest sufficient entry and the keys that signed it there."""

    index: int
    id: str
    envelope: Envelope
    statement: Statement
    keyids: tuple[str, ...]

    @property
    def predicate(self) -> Any:
        """The typed predicate."""
        return self.statement.predicate


@dataclass(frozen=True, kw_only=True)
class Anomaly:
    """An entry that breaks a rule of the ledger's own order; auditors report it, nothing else counts it."""

    index: int
    rule: str
    about: tuple[str, ...]
    text: str


class History:
    """The judged entries of one ledger. `size` entries have been fed."""

    def __init__(self, pin: bytes) -> None:
        self.pin = pin
        self.pin_id = statement_id(pin)
        self.chain = Chain(pin)
        self.size = 0
        self.records: dict[str, Record] = {}
        self.anomalies: list[Anomaly] = []
        self.proposals: dict[str, Envelope] = {}
        self._votes: dict[tuple[str, str], str] = {}
        self._by_use: dict[Use, list[Record]] = {use: [] for use in Use}
        self._about: dict[tuple[Use, str], list[Record]] = {}
        # The lowest entry that names the digest of a built or shipped file.
        self._first_named: dict[str, int] = {}

    def feed(self, data: bytes) -> Record | None:
        """Judge the next entry; returns its record where it is the one that makes its statement stand."""
        index, self.size = self.size, self.size + 1
        try:
            envelope = parse_envelope(data)
            statement = parse_statement(envelope.payload)
            keyids = tuple(verified_keyids(self.chain.at(index).charter, envelope))
        except VerifyError as error:
            self._anomaly(index, "unreadable-entry", (), str(error))
            return None
        identity = statement_id(envelope.payload)
        record = Record(index=index, id=identity, envelope=envelope, statement=statement, keyids=keyids)
        if statement.use in _NAMES_OUTPUTS:
            for digest in named_digests(statement):
                self._first_named.setdefault(digest, index)
        if statement.use == Use.CHARTER:
            self._take_votes(record)
        if identity in self.records:
            # Where the key of the first entry is stopped one day, the statement stands at the next one.
            if statement.use != Use.CHARTER and self._still_signed(record):
                self._keep(record)
            return None
        if not self._stands(record):
            return None
        self.records[identity] = record
        self._keep(record)
        self.proposals.pop(identity, None)
        return record

    def _keep(self, record: Record) -> None:
        self._by_use[record.statement.use].append(record)
        said = record.predicate
        if isinstance(said, Trap):
            said = said.opening
        if isinstance(said, Rebuild | Hold | TrapOpening):
            self._about.setdefault((record.statement.use, said.release), []).append(record)

    def _stands(self, record: Record) -> bool:
        use, index = record.statement.use, record.index
        parties = self.chain.count(record.keyids, use, index)
        if use == Use.CHARTER:
            return self._charter_stands(record, parties)
        if use == Use.STATUS:
            rule = self._status_rule(record)
            signed = [party for party in rule.parties if party in parties]
            if signed and len(signed) < rule.quorum:
                self.proposals[record.id] = record.envelope
            return len(signed) >= rule.quorum
        if use == Use.PROVENANCE:
            return bool(parties)
        if use == Use.TRAP and record.predicate.opening is None:
            return self._has_quorum(record, parties)
        if record.predicate.party not in parties:
            self._anomaly(
                index, "not-entitled", (record.id,), f"no key of {record.predicate.party} may sign this {use}"
            )
            return False
        return True

    def _charter_stands(self, record: Record, parties: Iterable[str]) -> bool:
        charter: Charter = record.predicate
        if record.id == self.pin_id:
            return True
        members = self.chain.newest.charter.members.parties
        if charter.previous != self.chain.newest.id:
            if charter.version <= self.chain.newest.charter.version:
                self._anomaly(record.index, "second-successor", (record.id,), f"another charter {charter.version}")
            return False
        try:
            self.chain.extend(record.envelope, record.index)
        except QuorumError as error:
            self.proposals[record.id] = record.envelope
            if not set(parties) & set(members):
                self._anomaly(record.index, "charter-without-quorum", (record.id,), str(error))
            return False
        except VerifyError as error:
            self._anomaly(record.index, "invalid-charter", (record.id,), str(error))
            return False
        return True

    def _take_votes(self, record: Record) -> None:
        """Members vote for one successor of a charter; a second vote is kept as an anomaly (attack S6).

        Every entry is looked at, also those that add a vote to a charter in force, and votes are judged by the charter
        that the successor names, whether or not its members are still members.
        """
        before = next((link for link in self.chain.links if link.id == record.predicate.previous), None)
        if before is None:
            return
        counted = self.chain.count(record.keyids, Use.CHARTER, record.index)
        signed = entitled(before.charter, (kid for kids in counted.values() for kid in kids), Use.CHARTER)
        for party in before.charter.members.parties:
            first = self._votes.setdefault((party, before.id), record.id) if party in signed else record.id
            if first != record.id:
                text = f"{party} signed two successors of one charter"
                self._anomaly(record.index, "two-successors", (first, record.id), text)

    def _anomaly(self, index: int, rule: str, about: tuple[str, ...], text: str) -> None:
        self.anomalies.append(Anomaly(index=index, rule=rule, about=about, text=text))

    # Queries

    def standing(self, use: Use) -> Iterator[Record]:
        """Records of one kind that still stand under the newest charter's stop indexes, by index."""
        return self._still_standing(self._by_use[use])

    def _still_standing(self, records: list[Record]) -> Iterator[Record]:
        """Each statement of `records` that still stands, at its lowest entry that is still signed."""
        seen: set[str] = set()
        for record in records:
            if record.id not in seen and (record.statement.use == Use.CHARTER or self._still_signed(record)):
                seen.add(record.id)
                yield record

    def _status_rule(self, record: Record) -> StatusRule:
        """Rules and quorum of a status are those of the charter at its checkpoint, whatever came between."""
        return self.chain.at(min(record.predicate.checkpoint.size, record.index)).charter.status

    def _still_signed(self, record: Record) -> bool:
        parties = self.chain.count(record.keyids, record.statement.use, record.index)
        if isinstance(record.predicate, Status):
            rule = self._status_rule(record)
            return sum(1 for party in rule.parties if party in parties) >= rule.quorum
        if isinstance(record.predicate, Trap) and record.predicate.opening is None:
            return self._has_quorum(record, parties)
        return record.statement.use == Use.PROVENANCE or record.predicate.party in parties

    def _has_quorum(self, record: Record, parties: Iterable[str]) -> bool:
        """Whether so many members as amend the charter have signed."""
        members = self.chain.at(record.index).charter.members
        return len(set(parties) & set(members.parties)) >= members.quorum

    def released(self) -> Iterator[tuple[Record, ReleasedFile, list[str]]]:
        """Each released file once, by its lowest valid release, and the ids of all other releases of that version.

        A version is released by one statement: a second one is another artifact under the same name, however it names
        its files.
        """
        files: dict[str, tuple[Record, ReleasedFile]] = {}
        versions: dict[tuple[str, str], list[str]] = {}
        for record in self.standing(Use.RELEASE):
            release: Release = record.predicate
            if release.party != release.product.split("/")[0]:
                continue
            versions.setdefault((release.product, release.version), []).append(record.id)
            for file in release.files:
                files.setdefault(status_key(release, file), (record, file))
        for _, (record, file) in sorted(files.items()):
            version = (record.predicate.product, record.predicate.version)
            yield record, file, [other for other in versions[version] if other != record.id]

    def verdicts(self, release: Record) -> dict[Identifier, list[Record]]:
        """Party → its standing rebuild statements on a release: those that it has not replaced by a later one.

        A rebuild that names another source or version than the release does is no verdict on it.
        """
        found: dict[Identifier, list[Record]] = {}
        asked: Release = release.predicate
        for record in self._still_standing(self._about.get((Use.REBUILD, release.id), [])):
            rebuild: Rebuild = record.predicate
            if (rebuild.source, rebuild.product, rebuild.version) != (asked.source, asked.product, asked.version):
                continue
            mine = found.setdefault(rebuild.party, [])
            mine[:] = [earlier for earlier in mine if earlier.id != rebuild.replaces]
            mine.append(record)
        return found

    def holds(self, release: Record) -> list[StandingHold]:
        """What stands against a release, placed by a party entitled to it and not lifted by the same party."""
        vendor = Identifier(release.predicate.product.split("/")[0])
        found: dict[str, StandingHold] = {}
        for record in self._still_standing(self._about.get((Use.HOLD, release.id), [])):
            hold: Hold = record.predicate
            if not self._may_hold(hold, record.index, vendor):
                continue
            if hold.action == Action.LIFT:
                if hold.lifts in found and found[hold.lifts].party == hold.party:
                    del found[hold.lifts]
            else:
                found[record.id] = StandingHold(
                    party=hold.party,
                    action=hold.action,
                    statement=Digest(record.id),
                    reason=hold.reason,
                    time=hold.time,
                )
        trap = self.trap(release)
        return [*([] if trap is None else [_withdrawn(trap)]), *found.values()]

    def trap(self, release: Record) -> Record | None:
        """The opening that shows a release to be a trap, committed to by a quorum of the members before the release."""
        for record in self._still_standing(self._about.get((Use.TRAP, release.id), [])):
            opened: Trap = record.predicate
            laid = (r for r in self.standing(Use.TRAP) if r.predicate.opening is None and r.index < release.index)
            committed = any(r.predicate.commitment == opened.commitment for r in laid)
            if committed and opened.opening is not None and is_trap(release.predicate, opened.opening):
                return record
        return None

    def _may_hold(self, hold: Hold, index: int, vendor: Identifier) -> bool:
        if hold.party == vendor:
            return True
        party = self.chain.at(index).charter.parties[hold.party]
        return hold.action in (Action.HOLD, Action.LIFT) and Role.VENDOR not in party.roles and party.acts_for is None

    def status_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the status over the entries fed so far, in order of their keys."""
        for record, file, others in self.released():
            release: Release = record.predicate
            product = self.chain.at(record.index).charter.products.get(release.product)
            given = self.verdicts(record)
            rebuilders = product.gate.rebuilders if product else ()
            row = StatusRow(
                key=status_key(release, file),
                release=Digest(record.id),
                index=record.index,
                sha256=file.sha256,
                verdicts={party: self._standing_verdict(given.get(party, []), file) for party in rebuilders},
                holds=tuple(_shortened(self.holds(record))),
                conflicts=tuple(Digest(other) for other in others[:MAX_NAMED]),
            )
            yield encode(row)

    def _standing_verdict(self, records: list[Record], file: ReleasedFile) -> StandingVerdict:
        """The worst standing verdict of one party on one file; of two equal ones the earlier."""
        spoken = [
            (_WORST.index(item.verdict), record, item.verdict)
            for record in records
            for item in record.predicate.files
            if (item.platform, item.name, item.shipped) == (file.platform, file.name, file.sha256)
        ]
        if not spoken:
            return StandingVerdict()
        _, record, verdict = max(spoken, key=lambda entry: (entry[0], -entry[1].index))
        return StandingVerdict(verdict=verdict, statement=Digest(record.id), blind=self.is_blind(record))

    def is_blind(self, record: Record) -> bool:
        """Whether a rebuild opens a commitment that was logged before any entry named a digest of its outputs.

        A file whose digest was named before the source was logged, as one that has not changed since the last version,
        is left out of this: it was no secret. Where that is so of every file, a commitment below the release is enough.
        """
        rebuild: Rebuild = record.predicate
        source = self.records.get(rebuild.source)
        if rebuild.opening is None or source is None or not isinstance(source.predicate, Source):
            return False
        found = self.records.get(rebuild.opening.commit)
        if found is None or not isinstance(found.predicate, Commit) or not self._still_signed(found):
            return False
        if any(file.rebuilt is None and file.verdict not in NEGATIVE for file in rebuild.files):
            # Good words about a file of which no digest was committed to: that takes no rebuild.
            return False
        named = [self._first_named[file.rebuilt] for file in rebuild.files if file.rebuilt is not None]
        release = self.records.get(rebuild.release)
        return (
            found.predicate.party == rebuild.party
            and release is not None
            and found.index < release.index
            and all(found.index < index for index in named if index > source.index)
            and opens(found.predicate, rebuild.opening, rebuild.source, source.predicate, rebuild.files)
        )


def _withdrawn(trap: Record) -> StandingHold:
    """What an opened trap says to every gate, whatever else is placed or lifted."""
    said: Trap = trap.predicate
    return StandingHold(
        party=said.party,
        action=Action.WITHDRAW,
        statement=Digest(trap.id),
        reason=Text("a trap release: its digest is wrong on purpose, and no such file was ever shipped"),
        time=said.time,
    )


def _shortened(holds: list[StandingHold]) -> Iterator[StandingHold]:
    """As many holds as fit into a row, those that stop an installation first."""
    for hold in sorted(holds, key=lambda hold: hold.action == Action.SUPERSEDE)[:MAX_NAMED]:
        yield replace(hold, reason=Text(hold.reason[:MAX_REASON]))
