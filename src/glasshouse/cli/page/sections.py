"""The parts of the page that say something: facts, claims, and who did what. All of it is text from the evidence."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from glasshouse_verify.charter import Charter, apply_patch, entitled
from glasshouse_verify.codec import Identifier, decode, encode
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import Evidence
from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import check_checkpoint
from glasshouse_verify.report import Claim, Outcome, Report, utc
from glasshouse_verify.statement import Rebuild, Release, Source, Status, Use, parse_statement
from glasshouse_verify.status import StandingVerdict, StatusRow

from glasshouse.supervision.markup import Markup, join, lines, tag

TITLES = {
    "charter": "The charter",
    "ledger": "The public ledger",
    "source": "The source",
    "provenance": "Where it was built",
    "release": "The release",
    "rebuild": "Rebuilt by others",
    "status": "No hold, no second version",
    "file": "The file in your hands",
}
NOT_REACHED = "Not reached: what this stands on does not hold, or cannot be read."
_OPEN, _DIGEST_PART = "open", 8


@dataclass(frozen=True, kw_only=True)
class Act:
    """Something that a party signed: what, at which ledger entry, and when (Unix seconds)."""

    party: str
    text: str
    note: str = ""
    entry: int | None = None
    when: int | None = None


class Subject:
    """Evidence as a page shows it: what its statements say, and the charters that name who is who."""

    def __init__(self, pin: bytes, evidence: Evidence) -> None:
        """Raises VerifyError where something does not parse."""
        self.evidence = evidence
        self.charters = list(_charters(pin, evidence))
        self.charter = self.charters[-1][1]
        self.source: Source = decode(Source, evidence.source.predicate, "evidence.source")
        self.release: Release = decode(Release, evidence.release.predicate, "evidence.release")
        self.rebuilds: list[tuple[int, Rebuild]] = [
            (logged.index, decode(Rebuild, logged.predicate, "evidence.rebuild")) for logged in evidence.rebuilds
        ]
        self.status: Status | None = None
        if evidence.status is not None:
            self.status = decode(Status, evidence.status.predicate, "evidence.status")
        self.row: StatusRow | None = None
        if evidence.row is not None:
            self.row = decode(StatusRow, evidence.row.row, "evidence.row.row")
        named = (evidence.platform, evidence.name)
        self.file = next((f for f in self.release.files if (f.platform, f.name) == named), self.release.files[0])

    def name_of(self, party: str) -> str:
        """A party as people know it, with the id that commands take."""
        known = self.charter.parties.get(Identifier(party))
        return party if known is None else f"{known.name} ({party})"

    def fresh_until(self) -> int | None:
        """When the status becomes too old, in Unix seconds; None without a status."""
        if self.status is None:
            return None
        size = self.status.checkpoint.size
        judge = next(charter for index, charter in reversed(self.charters) if index < size)
        return self.status.time + judge.status.maximum_age


def _charters(pin: bytes, evidence: Evidence) -> Iterator[tuple[int, Charter]]:
    """The charters of the evidence with their ledger indexes; whether they follow from each other, the gate says."""
    document = encode(parse_statement(pin).predicate)
    yield -1, decode(Charter, document, "charter")
    for amendment in evidence.amendments:
        document = apply_patch(document, amendment.delta)
        yield amendment.index, decode(Charter, document, "charter")


# --- facts ---------------------------------------------------------------------------------------------------------


def time_of(seconds: int) -> Markup:
    """A moment, for people and for programs."""
    return tag("time", shown(seconds), datetime=utc(seconds))


def shown(seconds: int) -> str:
    """A moment as the page writes it."""
    return utc(seconds).replace("T", " ").replace("Z", " UTC")


def breakable(name: str) -> Markup:
    """A long name that may break after its separators."""
    return join(*(join(part, Markup("<wbr>")) for part in re.split(r"(?<=[-_.+/])", name)))


def digest(text: str) -> Markup:
    """A digest in groups that the eye can keep; copied, it is whole."""
    return join(*(tag("span", text[n : n + _DIGEST_PART]) for n in range(0, len(text), _DIGEST_PART)))


def lead(subject: Subject) -> Markup:
    """The sentence under the title."""
    release = subject.release
    return join(
        tag("b", subject.name_of(release.party)),
        f" released this file as {release.product} {release.version}. Here is who checked that it was built from the"
        " source shown, what each of them did and when; and the file in your hands can be checked against it.",
    )


def facts(subject: Subject) -> Markup:
    """Product, version, platform, channel, time and digest."""
    release = subject.release
    pairs = {
        "Product": tag("span", release.product),
        "Version": tag("span", release.version),
        "Platform": tag("span", subject.file.platform),
        "Channel": tag("span", release.channel),
        "Released": time_of(release.time),
    }
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs.items()]
    sha256 = tag("dd", tag("code", digest(subject.file.sha256)), class_="digest")
    rows.append(tag("div", tag("dt", "SHA-256 of the file that was released"), sha256, class_="row"))
    return tag("dl", lines(*rows), class_="facts")


# --- claims --------------------------------------------------------------------------------------------------------


def claims(subject: Subject, report: Report) -> Markup:
    """The eight claims as the command found them; the one about the file in hand it could not check."""
    found = {claim.claim: claim for claim in report.claims}
    if (file := found.get("file")) is not None:
        text = f"No file was in hand. The one released has SHA-256 {subject.file.sha256[:16]}…"
        found["file"] = replace(file, text=text, by=(), when=None)
    items = [_claim(subject, name, title, found.get(name)) for name, title in TITLES.items()]
    return tag("ol", lines(*items), class_="claims")


def _claim(subject: Subject, name: str, title: str, claim: Claim | None) -> Markup:
    checked = claim is not None and name != "file"
    state = claim.state.value if claim is not None and checked else _OPEN
    claim = claim or Claim(claim=name, text=NOT_REACHED)
    rows = {
        "by": ("By", ", ".join(subject.name_of(party) for party in claim.by)),
        "when": ("When", "" if claim.when is None else shown(claim.when)),
        "limit": ("Not shown", claim.limit),
        "recheck": ("Recheck", tag("code", claim.recheck) if claim.recheck else ""),
    }
    body = tag(
        "div",
        tag("h3", tag("span", title, class_="title"), " ", tag("span", word(state), class_="word")),
        tag("p", claim.text, class_="text"),
        tag("dl", *(_row(name, label, value) for name, (label, value) in rows.items())),
        class_="body",
    )
    return tag("li", icon(state), body, data_claim=name, data_state=state)


def _row(name: str, label: str, value: str) -> Markup:
    return tag(
        "div",
        tag("dt", label),
        tag("dd", value or (tag("code", "") if name == "recheck" else "")),
        class_=name,
        hidden=not value,
    )


def word(state: str) -> str:
    """What a state is called: colour and sign never stand alone."""
    return "not checked" if state == _OPEN else state


def icon(state: str) -> Markup:
    """The sign of a state."""
    return tag("svg", tag("use", href=f"#is-{state}"), class_="icon", aria_hidden="true")


def checked(report: Report, at: int) -> Markup:
    """When and by whom the claims were checked, and what came out."""
    outcome = report.outcome
    answer = {
        Outcome.VERIFIED: "Everything but the file itself was verified.",
        Outcome.MISMATCH: "It found a mismatch.",
        Outcome.NOT_AUTHORISED: "It found somebody not authorised.",
        Outcome.UNDECIDED: "The evidence did not suffice.",
    }[outcome]
    text = join("As checked by the command on ", time_of(at), f". {answer} Give this page the file to check it here.")
    state = Claim(text="", outcome=outcome).state
    return tag("p", text, id="checked", class_="checked", data_state=state)


# --- who did what --------------------------------------------------------------------------------------------------


def people(subject: Subject) -> Markup:
    """Each party with what it signed."""
    by_party: dict[str, list[Act]] = {}
    for act in _acts(subject):
        by_party.setdefault(act.party, []).append(act)
    return tag("ul", lines(*(_person(subject, party, acts) for party, acts in by_party.items())), class_="people")


def _person(subject: Subject, party: str, acts: list[Act]) -> Markup:
    known = subject.charter.parties.get(Identifier(party))
    name = party if known is None else known.name
    sites = {key.site for key in known.keys.values()} if known else set()
    places = sorted(f"{subject.charter.sites[s].name}, {subject.charter.sites[s].jurisdiction}" for s in sites)
    roles = ", ".join(known.roles) if known else "not in the charter"
    below = tag("p", tag("code", party), " · ", " · ".join([roles, *places]), class_="small")
    return tag("li", tag("h3", name), below, tag("ul", *(_act(act) for act in acts)))


def _act(act: Act) -> Markup:
    entry = () if act.entry is None else (f"ledger entry {act.entry}",)
    when = () if act.when is None else (time_of(act.when),)
    below = _between(" · ", *entry, *when)
    return tag(
        "li",
        act.text,
        tag("span", act.note, class_="note", hidden=not act.note),
        tag("span", *below, class_="when", hidden=not (entry or when)),
    )


def _between(mark: str, *parts: str) -> Iterator[str]:
    for n, part in enumerate(parts):
        if n:
            yield mark
        yield part


def _acts(subject: Subject) -> Iterator[Act]:
    evidence, source, release = subject.evidence, subject.source, subject.release
    text = f"Showed the source: {source.manifest.size} files under root {source.manifest.root[:16]}…"
    if source.commit:
        text += f", commit {source.commit}"
    yield Act(party=source.party, text=text, entry=evidence.source.index, when=source.time)
    text = f"Built and released it in the channel {release.channel}"
    yield Act(party=release.party, text=text, entry=evidence.release.index, when=release.time)
    for index, rebuild in subject.rebuilds:
        shown = StandingVerdict() if subject.row is None else subject.row.verdicts.get(rebuild.party, StandingVerdict())
        how = f" in {rebuild.executor}" if rebuild.executor else ""
        how += ", bound to its result before the release" if shown.blind else ""
        text = f"Rebuilt it from the source{how}: {rebuild.verdict}"
        if rebuild.explanation:
            text += f" ({rebuild.explanation})"
        note = "; ".join(rebuild.not_varied)
        yield Act(party=rebuild.party, text=text, note=note and f"Not varied: {note}", entry=index, when=rebuild.time)
    for hold in subject.row.holds if subject.row else ():
        yield Act(party=hold.party, text=f"Placed a {hold.action} on it: {hold.reason}", when=hold.time)
    yield from _status_acts(subject)
    yield from _witness_acts(subject)
    yield from _member_acts(subject)


def _status_acts(subject: Subject) -> Iterator[Act]:
    status, logged = subject.status, subject.evidence.status
    if status is None or logged is None:
        return
    for party in entitled(subject.charter, (signature.keyid for signature in logged.signatures), Use.STATUS):
        size = status.rows.size
        text = f"Signed the status of {'the one file' if size == 1 else f'all {size} files'} released so far"
        yield Act(party=party, text=text, entry=logged.index, when=status.time)


def _witness_acts(subject: Subject) -> Iterator[Act]:
    try:
        cosigned = check_checkpoint(subject.charter.policy, parse_note(subject.evidence.checkpoint.encode()))
    except VerifyError:
        return
    for name, when in cosigned.witnesses.items():
        text = f"Cosigned the ledger at {cosigned.checkpoint.size} entries, as an extension of all it had seen before"
        yield Act(party=name.rpartition("/")[0], text=text, when=when)


def _member_acts(subject: Subject) -> Iterator[Act]:
    for amendment, (index, charter), (_, before) in zip(
        subject.evidence.amendments, subject.charters[1:], subject.charters, strict=False
    ):
        signed = {s.keyid for s in amendment.signatures}
        for party in entitled(before, signed, Use.CHARTER):
            yield Act(party=party, text=f"Voted for charter version {charter.version}", entry=index, when=charter.time)
    members = subject.charter.members
    for party in members.parties:
        yield Act(party=party, text=f"Votes on the charter: {members.quorum} of {len(members.parties)} decide")


def until(subject: Subject) -> Markup:
    """How long the evidence stays fresh."""
    moment = subject.fresh_until()
    if moment is None:
        return Markup("")
    return join("This evidence counts as fresh until ", time_of(moment), "; after that, fetch it anew.")
