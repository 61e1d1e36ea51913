"""The customer's gate: whether a file may be installed, decided offline from the pin, the evidence and a time.

`check_file` walks the eight claims below in order and returns every one with its state, never merging the three:
verified, mismatch, undecided. The first two claims carry the others: where one of them fails, nothing after it is said.

    charter     the amendments follow from the pin, each with the votes of the version before
    ledger      one checkpoint, signed by the charter's log and cosigned under its witness quorum, holds every statement
    source      the vendor logged the source, reviewed by as many as the charter asks for
    provenance  the vendor's conveyor, in an allowed jurisdiction, built these digests from that source
    release     the vendor logged one digest for this file, signed in an allowed jurisdiction
    rebuild     enough independent rebuilders got the same bytes, and the status agrees with each of them
    status      a fresh quorum of non-vendor parties: this release is the only one, no hold or negative verdict stands
    file        the bytes in hand are the bytes released

The outcome is the first that applies of: not authorised (4), mismatch (3), undecided (5), verified (0).
"""

from functools import cached_property
from hashlib import sha256
from shlex import quote

from glasshouse_verify import statement
from glasshouse_verify.charter import Charter, ProductRule, side
from glasshouse_verify.codec import Identifier, decode
from glasshouse_verify.dsse import Envelope, format_envelope
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import CharterError, FormatError, ProofError, QuorumError
from glasshouse_verify.evidence import Evidence
from glasshouse_verify.ground import Entry, Ground
from glasshouse_verify.report import Claim, Mismatch, Report, Undecided, utc
from glasshouse_verify.row import ManifestRoot, verify_row
from glasshouse_verify.statement import Action, Rebuild, Release, Source, Status, Use, Verdict
from glasshouse_verify.status import StandingVerdict, StatusRow, status_key

_LIMITS = {
    "charter": "An amendment hidden by every status party at once is caught by monitors, not here.",
    "ledger": "A log shows what was said and by whom, not that it is true.",
    "source": "That source was shown does not say that anybody has read it.",
    "provenance": "Provenance is the vendor's own word; the rebuilds are the check on it.",
    "release": "A release says what was shipped and by whom, not that it is harmless.",
    "rebuild": "Clock, kernel and processor cannot be hidden from a build; each verdict says what was not varied.",
    "status": "It holds as of its time; a hold placed since then shows in the next status.",
    "file": "",
}
_RECHECKS = {
    "charter": "glasshouse charter history --ledger {ledger}",
    "ledger": "glasshouse ledger fsck {ledger}",
    "source": "glasshouse ledger entry {source.index} --ledger {ledger}",
    "provenance": "glasshouse ledger entry {release.index} --ledger {ledger}",
    "release": "glasshouse ledger entry {release.index} --ledger {ledger}",
    "rebuild": "glasshouse rebuild {release.says.product} {release.says.version} --node NODE",
    "status": "glasshouse status check --ledger {ledger}",
    "file": "sha256sum {file}",
}


def check_file(pin: bytes, evidence: Evidence, digest: str, at: int) -> Report:
    """Judge the file with SHA-256 `digest` at Unix time `at`, given the pinned charter's payload.

    Raises FormatError where the pin is malformed or a statement in the evidence does not parse.
    """
    gate = _Gate(pin, evidence, digest, at)
    if all(gate.holds(foundation) for foundation in (gate.charter, gate.ledger)):
        for step in (gate.source, gate.provenance, gate.release, gate.rebuild, gate.status, gate.file):
            gate.holds(step)
    return Report(claims=tuple(gate.claims))


class _Gate(Ground):
    limits = _LIMITS

    def __init__(self, pin: bytes, evidence: Evidence, digest: str, at: int) -> None:
        super().__init__(pin, evidence)
        self.evidence, self.digest, self.at = evidence, digest, at
        self.the_source = Entry(Use.SOURCE, Source, evidence.source)
        self.the_release = Entry(Use.RELEASE, Release, evidence.release)
        self.the_rebuilds = [Entry(Use.REBUILD, Rebuild, logged) for logged in evidence.rebuilds]
        self.the_status = None if evidence.status is None else Entry(Use.STATUS, Status, evidence.status)
        statements = (self.the_source, self.the_release, *self.the_rebuilds, self.the_status)
        self.entries = [entry for entry in statements if entry is not None]
        self.cuts = set() if self.the_status is None else {self.the_status.says.checkpoint.size}
        self.vendor = Identifier(self.the_release.says.product.split("/")[0])
        files = {(file.platform, file.name): file for file in self.the_release.says.files}
        if (evidence.platform, evidence.name) not in files:
            raise FormatError("evidence.name", "is no file of the release")
        self.released = files[evidence.platform, evidence.name]

    def recheck(self, name: str) -> str:
        ledger, file = quote(self.chain.newest.charter.ledger.url), quote(self.released.name)
        return _RECHECKS[name].format(ledger=ledger, file=file, source=self.the_source, release=self.the_release)

    # Claims

    @cached_property
    def gate_charter(self) -> Charter:
        """The charter that judges the release: the one in force at its index."""
        return self.chain.at(self.the_release.index).charter

    @cached_property
    def product(self) -> ProductRule:
        release = self.the_release.says
        product = self.gate_charter.products.get(release.product)
        if product is None:
            raise CharterError(f"the charter has no product {release.product}")
        if release.channel not in product.channels or self.evidence.platform not in product.platforms:
            place = f"{release.channel} for {self.evidence.platform}"
            raise CharterError(f"the charter has {release.product} not in {place}")
        return product

    def source(self) -> Claim:
        source, release = self.the_source.says, self.the_release.says
        self._vendor_keys(self.the_source)
        if (source.product, source.version, self.the_source.id) != (release.product, release.version, release.source):
            raise Mismatch("the release names another source than the one shown")
        reviewed, asked = set(source.reviewers or ()), self.product.reviewers
        # Who wrote a part of it has reviewed the rest only.
        if (counted := len(reviewed) - bool(reviewed & set(source.authors or ()))) < asked:
            raise Undecided(f"the source names {counted} of the {asked} reviewers that the charter asks for")
        tree = f"{source.manifest.size} source files under root {source.manifest.root[:16]}…"
        text = f"{source.product} {source.version} has {tree}"
        return Claim(text=text, by=(source.party, *sorted(reviewed)), when=source.time)

    def provenance(self) -> Claim:
        shown, release = self.evidence.provenance, self.the_release.says
        envelope = Envelope(payload=format_json(shown.statement), signatures=shown.signatures)
        if sha256(format_envelope(envelope)).hexdigest() != release.provenance:
            raise Mismatch("the provenance is not the one that the release names")
        built = statement.parse_statement(envelope.payload)
        if built.use != Use.PROVENANCE:
            raise FormatError("evidence.provenance", "is another kind of statement")
        keys = self.chain.signers(envelope, Use.PROVENANCE, self.the_release.index).get(self.vendor, [])
        places = self._places(keys, self.product.gate.build_in, "built")
        if sorted(built.subject) != sorted({(f.name, f.built) for f in release.files}):
            raise Mismatch("the provenance is of other files than those released")
        definition = built.predicate.get("buildDefinition")
        parameters = definition.get("externalParameters") if isinstance(definition, dict) else None
        if parameters != statement.build_parameters(self.the_source.says):
            raise Mismatch("the provenance names another product, version, source or environment")
        text = f"the conveyor in {places} built these digests from that source"
        return Claim(text=text, by=(self.vendor,), when=release.time)

    def release(self) -> Claim:
        release = self.the_release.says
        places = self._places(self._vendor_keys(self.the_release), self.product.gate.sign_in, "signed")
        text = f"{release.product} {release.version} was released, signed in {places}"
        return Claim(text=text, by=(release.party,), when=release.time)

    def rebuild(self) -> Claim:
        rule, good, notes, failed = self.product.gate, dict[Identifier, int](), list[str](), list[str]()
        for entry in self.the_rebuilds:
            party, verdict = entry.says.party, self._verdict(entry)
            if verdict == Verdict.DIFFERS:
                raise Mismatch(f"{party} rebuilt it and got other bytes: {entry.says.explanation}")
            if verdict in _UNDECIDED_VERDICTS:
                failed.append(f"{party}: {verdict}")
            elif party not in rule.rebuilders or not self._counts(entry, verdict):
                notes.append(f"{party}: {verdict}, which does not count here")
            elif self._in_status(entry):
                good[party] = entry.says.time
            else:
                notes.append(f"{party}: not yet in the status")
        if failed:
            raise Undecided("a rebuild came to no result: " + ", ".join(failed))
        if len(good) < rule.quorum:
            short = f"{len(good)} of the {rule.quorum} rebuilds that the charter asks for"
            raise Undecided("; ".join([short, *notes]))
        apart = " but for the signature inside" if self.released.unsigned else ""
        text = f"{len(good)} independent rebuilders got the same bytes{apart} (the charter asks for {rule.quorum})"
        return Claim(text=text, by=tuple(good), when=max(good.values()))

    def _verdict(self, entry: Entry[Rebuild]) -> Verdict:
        """The verdict on this file, once it is certain who speaks and of what."""
        rebuild, release, file = entry.says, self.the_release.says, self.released
        if rebuild.party not in self.chain.signers(entry.envelope, Use.REBUILD, entry.index):
            raise CharterError(f"no entitled key of {rebuild.party} signed its rebuild")
        about = (self.the_release.id, release.source, release.product, release.version)
        if (rebuild.release, rebuild.source, rebuild.product, rebuild.version) != about:
            raise Mismatch(f"the rebuild of {rebuild.party} is of another release or from another source")
        for item in rebuild.files:
            if (item.platform, item.name, item.shipped) == (file.platform, file.name, file.sha256):
                if item.verdict == Verdict.IDENTICAL_MODULO_SIGNATURE and item.rebuilt != file.unsigned:
                    raise Mismatch(f"{rebuild.party} calls two different digests equal but for a signature")
                return item.verdict
        raise Mismatch(f"the rebuild of {rebuild.party} does not speak of this file")

    def _counts(self, entry: Entry[Rebuild], verdict: Verdict) -> bool:
        """Whether a verdict is one that the gate asks for, from a party that had not changed sides since."""
        rule, later = self.product.gate, self.chain.at(max(entry.index, self.the_release.index)).charter
        independent = side(later, entry.says.party) != side(later, self.vendor)
        blind = self.row is not None and self.row.verdicts.get(entry.says.party, StandingVerdict()).blind
        return independent and verdict in rule.accept and (bool(blind) or not rule.blind)

    def _in_status(self, entry: Entry[Rebuild]) -> bool:
        """Whether the status, if there is one, shows this very verdict; it must unless the verdict is younger."""
        if self.the_status is None or self.row is None:
            return True
        shown = self.row.verdicts.get(entry.says.party, StandingVerdict()).statement
        if shown != entry.id and entry.index < self.the_status.says.checkpoint.size:
            raise Mismatch(f"the status shows another verdict of {entry.says.party}")
        return shown == entry.id

    def status(self) -> Claim:
        entry, row = self.the_status, self.row
        if entry is None or row is None:
            raise Undecided("the oversight parties have signed no status that speaks of this release")
        judge = self.chain.at(entry.says.checkpoint.size)
        rule = judge.charter.status
        signers = self.chain.signers(entry.envelope, Use.STATUS, entry.index)
        by = tuple(party for party in rule.parties if party in signers)
        if len(by) < rule.quorum:
            text = f"the status has {len(by)} of the {rule.quorum} signatures that the charter asks for"
            raise Undecided(text) if by else QuorumError(text)
        self._check_status_place(entry, judge.id)
        self._check_row(row)
        self._check_age(entry.says.time, rule.maximum_age)
        text = "this is the only release of that name, and no hold or negative verdict stands"
        superseded = "".join(f"; superseded: {hold.reason}" for hold in row.holds)
        return Claim(text=text + superseded, by=by, when=entry.says.time)

    def _check_status_place(self, entry: Entry[Status], charter_id: str) -> None:
        head = entry.says.checkpoint
        origin = self.chain.newest.charter.ledger.origin
        if head.origin != origin or bytes.fromhex(head.root) != self.cut_roots[head.size]:
            raise ProofError("the status was made over another history of the ledger")
        if entry.index < head.size:
            raise ProofError("the status names a checkpoint newer than itself")
        if entry.says.charter != charter_id:
            raise CharterError("the status was made under a charter that the evidence does not show")
        if self.the_release.index >= head.size:
            raise Undecided("the status is older than the release")

    def _check_row(self, row: StatusRow) -> None:
        shown = (self.the_release.id, self.the_release.index, self.released.sha256)
        if (row.release, row.index, row.sha256) != shown:
            raise Mismatch("the status shows another release under this name and version")
        if row.conflicts:
            raise Mismatch(f"{len(row.conflicts)} other releases bear this name and version")
        for hold in row.holds:
            if hold.action in (Action.HOLD, Action.WITHDRAW):
                raise Mismatch(f"{hold.party} placed a {hold.action} on it: {hold.reason}")
        differing = [party for party, given in row.verdicts.items() if given.verdict == Verdict.DIFFERS]
        if differing:
            raise Mismatch(f"the rebuild of {', '.join(differing)} differs")
        failed = [f"{p}: {given.verdict}" for p, given in row.verdicts.items() if given.verdict in _UNDECIDED_VERDICTS]
        if failed:
            raise Undecided("a rebuild came to no result: " + ", ".join(failed))

    def _check_age(self, time: int, maximum: int) -> None:
        if time > self.at:
            raise Undecided(f"the status is dated {utc(time)}, after the time given ({utc(self.at)})")
        if self.at - time > maximum:
            raise Undecided(f"the status of {utc(time)} is older than the {maximum} s allowed")

    def file(self) -> Claim:
        if self.digest != self.released.sha256:
            known = ", ".join(f"{f.name} {f.sha256[:16]}…" for f in self.the_release.says.files)
            raise Mismatch(f"the file in hand is {self.digest[:16]}…; released was {known}")
        return Claim(text=f"the bytes in hand are {self.released.name} as released", by=("you",), when=self.at)

    # What the steps share

    @cached_property
    def row(self) -> StatusRow | None:
        """The row of this file, proven in the status manifest; None without a status."""
        if self.the_status is None or self.evidence.row is None:
            return None
        rows = self.the_status.says.rows
        value = verify_row(ManifestRoot(root=bytes.fromhex(rows.root), size=rows.size), self.evidence.row)
        row: StatusRow = decode(StatusRow, value, "evidence.row.row")
        if row.key != status_key(self.the_release.says, self.released):
            raise Mismatch("the status row is of another file")
        return row

    def _vendor_keys(self, entry: Entry[Source] | Entry[Release]) -> list[str]:
        keys = self.chain.signers(entry.envelope, entry.use, entry.index).get(self.vendor, [])
        if entry.says.party != self.vendor or not keys:
            raise CharterError(f"no key of {self.vendor} that may sign a {entry.use} signed it")
        return keys

    def _places(self, keys: list[str], allowed: tuple[str, ...], verb: str) -> str:
        places = sorted({self.gate_charter.jurisdiction(key) for key in keys})
        here = [place for place in places if place in allowed]
        if not here:
            where = f"in {', '.join(places)}" if places else f"with no key of {self.vendor} entitled to it"
            raise CharterError(f"it was {verb} {where}; the charter allows {', '.join(sorted(allowed))} only")
        return ", ".join(here)


_UNDECIDED_VERDICTS = (Verdict.BUILD_FAILED, Verdict.PACK_NOT_RECEIVED)
