"""The customer's gate: whether a file may be installed, decided offline from the pin, the evidence and a time.

`check_file` walks the eight claims below in order and returns every one with its state, never merging the three:
verified, mismatch, undecided. The first two claims carry the others: where one of them fails, nothing after it is said.

    charter     the amendments follow from the pin, each with the votes of the version before
    ledger      one checkpoint, signed by the charter's log and cosigned under its witness quorum, holds every statement
    source      the vendor logged the source
    provenance  the vendor's conveyor, in an allowed jurisdiction, built these digests from that source
    release     the vendor logged one digest for this file, signed in an allowed jurisdiction
    rebuild     enough independent rebuilders got the same bytes, and the status agrees with each of them
    status      a fresh quorum of non-vendor parties: this release is the only one, no hold or negative verdict stands
    file        the bytes in hand are the bytes released

The outcome is the first that applies of: not authorised (4), mismatch (3), undecided (5), verified (0).
"""

from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar, cast

from glasshouse_verify.charter import Chain, Charter, GateRule, apply_patch, stands_with, vouchers
from glasshouse_verify.checkpoint import Checkpoint
from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.dsse import Envelope, format_envelope, statement_id
from glasshouse_verify.encoding import JSON, format_json
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.evidence import Evidence, Logged, envelope_of, signatures_of, split_hashes
from glasshouse_verify.manifest import ManifestRoot, RowProof, verify_row
from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import Cosigned, check_checkpoint
from glasshouse_verify.report import Claim, Outcome, Refused, Report, utc
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
    build_parameters,
    format_statement,
    parse_statement,
    predicate_type,
)
from glasshouse_verify.status import StandingVerdict, StatusRow, status_key
from glasshouse_verify.tlog import leaf_hash, verify_multiproof

P = TypeVar("P")


def check_file(pin: bytes, evidence: Evidence, digest: str, at: int) -> Report:
    """Judge the file with SHA-256 `digest` at Unix time `at`, given the pinned charter's payload.

    Raises FormatError where the pin is malformed or a statement in the evidence does not parse.
    """
    gate = _Gate(pin, evidence, digest, at)
    for name, step in gate.foundations.items():
        if gate.run(name, step) != Outcome.VERIFIED:
            return Report(claims=tuple(gate.claims))
    for name, step in gate.steps.items():
        gate.run(name, step)
    return Report(claims=tuple(gate.claims))


class _Gate:
    def __init__(self, pin: bytes, evidence: Evidence, digest: str, at: int) -> None:
        self.evidence, self.digest, self.at = evidence, digest, at
        self.chain = Chain(pin)
        self.claims: list[Claim] = []
        self.foundations = {"charter": self.charter, "ledger": self.ledger}
        self.steps = {
            "source": self.source,
            "provenance": self.provenance,
            "release": self.release,
            "rebuild": self.rebuild,
            "status": self.status,
            "file": self.file,
        }
        self.the_source = _typed(evidence.source, Source)
        self.the_release = _typed(evidence.release, Release)
        self.release_id = statement_id(envelope_of(evidence.release).payload)
        self.released = self._released()
        self.amendments: list[Envelope] = []
        self.cut_roots: dict[int, bytes] = {}
        self.cosigned: Cosigned
        self.row: StatusRow | None = None

    def run(self, name: str, step: Callable[[], Claim]) -> Outcome:
        try:
            claim = step()
        except Refused as refused:
            claim = Claim(claim=name, outcome=refused.outcome, text=refused.text)
        except FormatError:
            raise
        except VerifyError as error:
            claim = Claim(claim=name, outcome=Outcome.NOT_AUTHORISED, text=str(error))
        self.claims.append(claim)
        return claim.outcome

    # Foundations

    def charter(self) -> Claim:
        first = self.chain.newest
        if self.evidence.pin != first.id:
            raise Refused(Outcome.NOT_AUTHORISED, "the evidence starts from another first charter than the one pinned")
        for amendment in self.evidence.amendments:
            document = apply_patch(encode(self.chain.newest.charter), amendment.delta)
            subject = [("charter", sha256(format_json(document)).hexdigest())]
            payload = format_statement(predicate_type(Use.CHARTER), subject, document)
            envelope = Envelope(payload=payload, signatures=signatures_of(amendment.signatures))
            self.chain.extend(envelope, amendment.index)
            self.amendments.append(envelope)
        newest = self.chain.newest.charter
        return Claim(
            claim="charter",
            outcome=Outcome.VERIFIED,
            text=f"version {newest.version} of the charter of {newest.initiative} follows from the version you pinned",
            by=newest.members.parties,
            when=newest.time,
            recheck=f"glasshouse charter history --ledger {newest.ledger.url}",
            limit="An amendment hidden by every status party at once is caught by monitors, not here.",
        )

    def ledger(self) -> Claim:
        newest = self.chain.newest.charter
        self.cosigned = check_checkpoint(newest.policy, parse_note(self.evidence.checkpoint.encode()))
        head = self.cosigned.checkpoint
        handovers = self._handovers()
        leaves = self._leaves()
        cuts = {c.size for c in handovers}
        if self.evidence.status is not None:
            cuts.add(_typed(self.evidence.status, Status).checkpoint.size)
        if any(index >= head.size for index in leaves) or any(not 0 < cut <= head.size for cut in cuts):
            raise Refused(Outcome.NOT_AUTHORISED, f"the checkpoint covers {head.size} entries only")
        hashes = split_hashes(self.evidence.hashes)
        self.cut_roots = verify_multiproof(leaves, cuts, head.size, head.root, hashes)
        if any(self.cut_roots[c.size] != c.root for c in handovers):
            raise Refused(Outcome.NOT_AUTHORISED, "a handover checkpoint is of another history of the ledger")
        return Claim(
            claim="ledger",
            outcome=Outcome.VERIFIED,
            text=f"{len(leaves)} statements stand in {head.origin}, whose {head.size} entries the witnesses cosigned",
            by=tuple(name.rpartition("/")[0] for name in self.cosigned.witnesses),
            when=max(self.cosigned.witnesses.values()),
            recheck=f"glasshouse ledger fsck {newest.ledger.url}",
            limit="A log shows what was said and by whom, not that it is true.",
        )

    def _handovers(self) -> list[Checkpoint]:
        """A checkpoint under the older policy for each amendment that changes who vouches for the ledger."""
        notes, checkpoints = list(self.evidence.handovers), []
        for old, new in zip(self.chain.links, self.chain.links[1:], strict=False):
            if vouchers(old.charter) == vouchers(new.charter):
                continue
            if not notes:
                raise Refused(
                    Outcome.NOT_AUTHORISED,
                    f"charter {new.charter.version} changes the log key or the witnesses, but no checkpoint under"
                    f" version {old.charter.version} shows that it stands in the ledger",
                )
            checkpoint = check_checkpoint(old.charter.policy, parse_note(notes.pop(0).encode())).checkpoint
            if checkpoint.size <= new.index:
                raise Refused(Outcome.NOT_AUTHORISED, "a handover checkpoint is older than its amendment")
            checkpoints.append(checkpoint)
        if notes:
            raise FormatError("evidence.handovers", "has a checkpoint that no amendment asks for")
        return checkpoints

    def _leaves(self) -> dict[int, bytes]:
        logged = [self.evidence.source, self.evidence.release, *self.evidence.rebuilds]
        if self.evidence.status is not None:
            logged.append(self.evidence.status)
        entries = [(a.index, e) for a, e in zip(self.evidence.amendments, self.amendments, strict=True)]
        entries += [(item.index, envelope_of(item)) for item in logged]
        leaves = {index: leaf_hash(format_envelope(envelope)) for index, envelope in entries}
        if len(leaves) != len(entries):
            raise FormatError("evidence", "names one ledger index for two statements")
        return leaves

    # Claims

    @property
    def gate_charter(self) -> Charter:
        """The charter that judges the release: the one in force at its index."""
        return self.chain.at(self.evidence.release.index).charter

    @property
    def rule(self) -> GateRule:
        product = self.gate_charter.products.get(self.the_release.product)
        if product is None:
            raise Refused(Outcome.NOT_AUTHORISED, f"the charter has no product {self.the_release.product}")
        if self.the_release.channel not in product.channels:
            raise Refused(Outcome.NOT_AUTHORISED, f"the charter has no channel {self.the_release.channel} for it")
        if self.evidence.platform not in product.platforms:
            raise Refused(Outcome.NOT_AUTHORISED, f"the charter has no platform {self.evidence.platform} for it")
        return product.gate

    @property
    def vendor(self) -> Identifier:
        return Identifier(self.the_release.product.split("/")[0])

    def source(self) -> Claim:
        source = self.the_source
        self._vendor_keys(self.evidence.source, source.party, Use.SOURCE)
        names = (self.the_release.product, self.the_release.version, self.the_release.source)
        if (source.product, source.version, _id(self.evidence.source)) != names:
            raise Refused(Outcome.MISMATCH, "the release names another source than the one shown")
        return Claim(
            claim="source",
            outcome=Outcome.VERIFIED,
            text=f"{source.product} {source.version} has {source.manifest.size} source files under root "
            f"{source.manifest.root[:16]}…",
            by=(source.party,),
            when=source.time,
            recheck=self._recheck(self.evidence.source.index),
            limit="That source was shown does not say that anybody has read it.",
        )

    def provenance(self) -> Claim:
        envelope = envelope_of(self.evidence.provenance)
        if sha256(format_envelope(envelope)).hexdigest() != self.the_release.provenance:
            raise Refused(Outcome.MISMATCH, "the provenance is not the one that the release names")
        statement = parse_statement(envelope.payload)
        if statement.use != Use.PROVENANCE:
            raise FormatError("evidence.provenance", "is another kind of statement")
        keys = self.chain.signers(envelope, Use.PROVENANCE, self.evidence.release.index).get(self.vendor, [])
        places = self._places(keys, self.rule.build_in, "built")
        if sorted(statement.subject) != sorted({(f.name, f.built) for f in self.the_release.files}):
            raise Refused(Outcome.MISMATCH, "the provenance is of other files than those released")
        if provenance_parameters(statement) != build_parameters(self.the_source):
            raise Refused(Outcome.MISMATCH, "the provenance names another product, version, source or environment")
        return Claim(
            claim="provenance",
            outcome=Outcome.VERIFIED,
            text=f"the conveyor in {places} built these digests from that source",
            by=(self.vendor,),
            when=self.the_release.time,
            recheck=self._recheck(self.evidence.release.index),
            limit="Provenance is the vendor's own word; the rebuilds are the check on it.",
        )

    def release(self) -> Claim:
        keys = self._vendor_keys(self.evidence.release, self.the_release.party, Use.RELEASE)
        places = self._places(keys, self.rule.sign_in, "signed")
        return Claim(
            claim="release",
            outcome=Outcome.VERIFIED,
            text=f"{self.the_release.product} {self.the_release.version} was released, signed in {places}",
            by=(self.the_release.party,),
            when=self.the_release.time,
            recheck=self._recheck(self.evidence.release.index),
            limit="A release says what was shipped and by whom, not that it is harmless.",
        )

    def rebuild(self) -> Claim:
        rule, good, notes, when = self.rule, [], [], 0
        row = self._row()
        for logged in self.evidence.rebuilds:
            rebuild = _typed(logged, Rebuild)
            verdict = self._verdict(logged, rebuild)
            if verdict == Verdict.DIFFERS:
                raise Refused(
                    Outcome.MISMATCH, f"{rebuild.party} rebuilt it and got other bytes: {rebuild.explanation}"
                )
            standing = row.verdicts.get(rebuild.party, StandingVerdict()) if row else StandingVerdict()
            if row and standing.statement != _id(logged):
                if standing.statement is not None or logged.index < self._status().checkpoint.size:
                    raise Refused(Outcome.MISMATCH, f"the status shows another verdict of {rebuild.party}")
                notes.append(f"{rebuild.party}: not yet in the status")
            elif not self._counts(rule, rebuild, verdict):
                notes.append(f"{rebuild.party}: {verdict}, which does not count here")
            elif rebuild.party not in good:
                good.append(rebuild.party)
                when = max(when, rebuild.time)
        if len(good) < rule.quorum:
            short = f"{len(good)} of the {rule.quorum} rebuilds that the charter asks for"
            raise Refused(Outcome.UNDECIDED, "; ".join([short, *notes]))
        return Claim(
            claim="rebuild",
            outcome=Outcome.VERIFIED,
            text=f"{len(good)} independent rebuilders got the same bytes (the charter asks for {rule.quorum})",
            by=tuple(good),
            when=when,
            recheck=f"glasshouse rebuild {self.the_release.product} {self.the_release.version}",
            limit="Clock, kernel and processor cannot be hidden from a build; each verdict says what was not varied.",
        )

    def _counts(self, rule: GateRule, rebuild: Rebuild, verdict: Verdict) -> bool:
        return (
            rebuild.party in rule.rebuilders
            and not stands_with(self.gate_charter, rebuild.party, self.vendor)
            and verdict in rule.accept
            and (rebuild.blind or not rule.blind)
        )

    def _verdict(self, logged: Logged, rebuild: Rebuild) -> Verdict:
        """The verdict on this file, once it is certain who speaks and of what."""
        if rebuild.party not in self.chain.signers(envelope_of(logged), Use.REBUILD, logged.index):
            raise Refused(Outcome.NOT_AUTHORISED, f"no entitled key of {rebuild.party} signed its rebuild")
        if rebuild.release != self.release_id:
            raise Refused(Outcome.MISMATCH, f"the rebuild of {rebuild.party} is of another release")
        file = self.released
        for item in rebuild.files:
            if (item.platform, item.name, item.shipped) == (file.platform, file.name, file.sha256):
                if item.verdict == Verdict.IDENTICAL and item.rebuilt != file.built:
                    raise Refused(Outcome.MISMATCH, f"{rebuild.party} calls two different digests identical")
                return item.verdict
        raise Refused(Outcome.MISMATCH, f"the rebuild of {rebuild.party} does not speak of this file")

    def status(self) -> Claim:
        row, status, logged = self._row(), self._status(), self.evidence.status
        if row is None or logged is None:
            raise Refused(Outcome.UNDECIDED, "the oversight parties have signed no status that speaks of this release")
        judge = self.chain.at(status.checkpoint.size)
        rule = judge.charter.status
        signers = self.chain.signers(envelope_of(logged), Use.STATUS, logged.index)
        by = tuple(party for party in rule.parties if party in signers)
        if len(by) < rule.quorum:
            outcome = Outcome.UNDECIDED if by else Outcome.NOT_AUTHORISED
            raise Refused(
                outcome, f"the status has {len(by)} of the {rule.quorum} signatures that the charter asks for"
            )
        self._check_status_place(status, logged.index, judge.id)
        self._check_row(row)
        self._check_age(status.time, rule.maximum_age)
        return Claim(
            claim="status",
            outcome=Outcome.VERIFIED,
            text="this is the only release of that name, and no hold or negative verdict stands"
            + "".join(f"; superseded: {h.reason}" for h in row.holds),
            by=by,
            when=status.time,
            recheck=f"glasshouse status check --ledger {judge.charter.ledger.url}",
            limit="It holds as of its time; a hold placed since then shows in the next status.",
        )

    def _check_status_place(self, status: Status, index: int, charter_id: str) -> None:
        head = status.checkpoint
        if head.origin != self.cosigned.checkpoint.origin or bytes.fromhex(head.root) != self.cut_roots[head.size]:
            raise Refused(Outcome.NOT_AUTHORISED, "the status was made over another history of the ledger")
        if index < head.size:
            raise Refused(Outcome.NOT_AUTHORISED, "the status names a checkpoint newer than itself")
        if status.charter != charter_id:
            raise Refused(Outcome.NOT_AUTHORISED, "the status was made under a charter that the evidence does not show")
        if self.evidence.release.index >= head.size:
            raise Refused(Outcome.UNDECIDED, "the status is older than the release")

    def _check_row(self, row: StatusRow) -> None:
        file = self.released
        found = (row.release, row.index, row.sha256)
        if found != (self.release_id, self.evidence.release.index, file.sha256):
            raise Refused(Outcome.MISMATCH, "the status shows another release under this name and version")
        if row.conflicts:
            raise Refused(Outcome.MISMATCH, f"{len(row.conflicts)} other releases bear this name and version")
        for hold in row.holds:
            if hold.action in (Action.HOLD, Action.WITHDRAW):
                raise Refused(Outcome.MISMATCH, f"{hold.party} placed a {hold.action} on it: {hold.reason}")
        differing = [party for party, v in row.verdicts.items() if v.verdict == Verdict.DIFFERS]
        if differing:
            raise Refused(Outcome.MISMATCH, f"the rebuild of {', '.join(differing)} differs")
        failed = [f"{p}: {v.verdict}" for p, v in row.verdicts.items() if v.verdict in _UNDECIDED_VERDICTS]
        if failed:
            raise Refused(Outcome.UNDECIDED, "a rebuild came to no result: " + ", ".join(failed))

    def _check_age(self, time: int, maximum: int) -> None:
        if time > self.at:
            raise Refused(Outcome.UNDECIDED, f"the status is dated {utc(time)}, after the time given ({utc(self.at)})")
        if self.at - time > maximum:
            raise Refused(Outcome.UNDECIDED, f"the status of {utc(time)} is older than the {maximum} s allowed")

    def file(self) -> Claim:
        if self.digest != self.released.sha256:
            known = ", ".join(f"{f.name} {f.sha256[:16]}…" for f in self.the_release.files)
            raise Refused(Outcome.MISMATCH, f"the file in hand is {self.digest[:16]}…; released was {known}")
        return Claim(
            claim="file",
            outcome=Outcome.VERIFIED,
            text=f"the bytes in hand are {self.released.name} as released",
            by=("you",),
            when=self.at,
            recheck=f"sha256sum {self.released.name}",
        )

    # What the steps share

    def _released(self) -> ReleasedFile:
        for file in self.the_release.files:
            if (file.platform, file.name) == (self.evidence.platform, self.evidence.name):
                return file
        raise FormatError("evidence.name", "is no file of the release")

    def _status(self) -> Status:
        if self.evidence.status is None:
            raise Refused(Outcome.UNDECIDED, "the evidence holds no status")
        return _typed(self.evidence.status, Status)

    def _row(self) -> StatusRow | None:
        """The row of this file, proven in the status manifest; None without a status."""
        if self.evidence.status is None:
            return None
        rows = self._status().rows
        proof = RowProof.from_json(cast(JSON, self.evidence.row), "evidence.row")
        value = verify_row(ManifestRoot(root=bytes.fromhex(rows.root), size=rows.size), proof)
        row: StatusRow = decode(StatusRow, value, "evidence.row.row")
        if row.key != status_key(self.the_release, self.released):
            raise Refused(Outcome.MISMATCH, "the status row is of another file")
        return row

    def _vendor_keys(self, logged: Logged, party: Identifier, use: Use) -> list[str]:
        keys = self.chain.signers(envelope_of(logged), use, logged.index).get(self.vendor, [])
        if party != self.vendor or not keys:
            raise Refused(Outcome.NOT_AUTHORISED, f"no key of {self.vendor} that may sign a {use} signed it")
        return keys

    def _places(self, keys: list[str], allowed: tuple[str, ...], verb: str) -> str:
        places = sorted({self.gate_charter.jurisdiction(key) for key in keys})
        here = [place for place in places if place in allowed]
        if not here:
            where = f"in {', '.join(places)}" if places else f"with no key of {self.vendor} entitled to it"
            raise Refused(
                Outcome.NOT_AUTHORISED, f"it was {verb} {where}; the charter allows {', '.join(sorted(allowed))} only"
            )
        return ", ".join(here)

    def _recheck(self, index: int) -> str:
        return f"glasshouse ledger entry {index} --ledger {self.chain.newest.charter.ledger.url}"


_UNDECIDED_VERDICTS = (Verdict.BUILD_FAILED, Verdict.PACK_NOT_RECEIVED)


def provenance_parameters(statement: Statement) -> object:
    """The external parameters of a SLSA v1 provenance statement; None where it has none."""
    definition = statement.predicate.get("buildDefinition")
    return definition.get("externalParameters") if isinstance(definition, dict) else None


def _id(logged: Logged) -> str:
    return statement_id(envelope_of(logged).payload)


def _typed(logged: Logged, kind: type[P]) -> P:
    predicate = parse_statement(envelope_of(logged).payload).predicate
    if not isinstance(predicate, kind):
        raise FormatError(f"evidence.{kind.__name__.lower()}", "is another kind of statement")
    return predicate
