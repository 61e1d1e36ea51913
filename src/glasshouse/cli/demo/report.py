"""The demo's report: one page for the whole run that a person can open, without scripts or anything from elsewhere.

It shows what the record of the stage holds, beside what the charter in force and the newest cosigned checkpoint say;
each shipped file leads to its own evidence page, which checks the file in the browser.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import file_digest
from importlib.metadata import version
from importlib.resources import files as resources
from pathlib import Path
from string import Template
from urllib.parse import quote

from glasshouse_verify.charter import Charter, Party, ProductRule
from glasshouse_verify.codec import Identifier
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.evidence import parse_evidence
from glasshouse_verify.policy import Cosigned

from glasshouse.cli.demo.picture import picture
from glasshouse.cli.demo.record import Played, Proof, Record, Told
from glasshouse.cli.page.parts import read, source, styled
from glasshouse.cli.page.sections import TITLES, Subject, breakable, digest, icon, shown, time_of
from glasshouse.conveyor.detached import SUFFIX
from glasshouse.storage import files
from glasshouse.supervision.markup import Markup, join, lines, tag

_PARTS = resources("glasshouse.cli.demo")
EXITS = {0: "verified", 1: "failed", 2: "usage", 3: "mismatch", 4: "not authorised", 5: "undecided"}
_BAR = 1_000
_KIB = 1_024


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What the initiative stood on at the end: pin, charter in force, newest cosigned checkpoint and its note."""

    pin: bytes
    charter: Charter
    cosigned: Cosigned
    note: str


class Report:
    """The page of a stage: its directory, its record, and the ground it stands on."""

    def __init__(self, root: Path, record: Record, ground: Ground) -> None:
        self.root, self.record, self.ground = root, record, ground
        self.told = sorted(record.told.values(), key=lambda told: told.began)
        self.proven = [proof for told in self.told for proof in told.proven]
        self.played = [played for told in self.told for played in told.played]

    @cached_property
    def shipped(self) -> list[Path]:
        """The customer's downloads, in the order in which something was proven of them."""
        named = list(dict.fromkeys(proof.about for proof in self.proven))
        found = (place for place in (self.root / "downloads").iterdir() if place.suffix != SUFFIX)
        return sorted(found, key=lambda place: (named.index(place.name) if place.name in named else len(named), place))

    def write(self) -> Path:
        """Write report.html and return its path."""
        style = styled((_PARTS / "report.css").read_text(encoding="utf-8"))
        sections = list(self._sections())
        values = {
            "policy": f"default-src 'none'; style-src {source(style)}; base-uri 'none'; form-action 'none'",
            "style": style,
            "symbols": read("symbols.html"),
            "headline": join(self._headline()),
            "cast": join(_enumerated([party.name for party in self.ground.charter.parties.values()])),
            "sums": self._sums(),
            "contents": lines(*(_anchor(name, title) for name, title, _ in [*sections, _LIMITS])),
            "sections": lines(*(_section(name, title, *body) for name, title, body in sections)),
            "release": join(version("glasshouse")),
            "written": time_of(int(time.time())),
        }
        template = Template((_PARTS / "report.html").read_text(encoding="utf-8"))
        place = self.root / "report.html"
        files.write(place, template.substitute(values).encode())
        return place

    def _sections(self) -> Iterable[tuple[str, str, Sequence[Markup]]]:
        names = {place.name for place in self.shipped}
        if self.shipped:
            cards = [self._file(place, shown=place == self.shipped[0]) for place in self.shipped]
            yield "files", "What was proven of each file", (_cards(cards),)
        for told in self.told:
            others = [proof for proof in told.proven if proof.about not in names]
            if others:
                title = told.title[:1].upper() + told.title[1:]
                shown = (picture(told.placed),) if told.placed else ()
                matters = _cards([self._matter(about, mine) for about, mine in _grouped(others)])
                yield told.name, title, (*shown, matters)
        if self.played:
            text = (
                "Each cheat is played with what the cheater really controls: its keys, its node, its files. Who"
                " notices never asks the cheater."
            )
            yield "cheats", "The cheats that were played", (tag("p", text), _cards(map(self._cheat, self.played)))
        yield "parties", "The parties, and where they are", tuple(self._parties())
        yield "terms", "What the charter asks of a release", (self._terms(),)
        yield "ledger", "The ledger", tuple(self._ledger())
        yield "times", "How long it took", (self._times(),)

    # --- the head ---------------------------------------------------------------------------------------------------

    def _headline(self) -> str:
        caught = sum(played.caught for played in self.played)
        parts = [f"{_count(len(self._checked), 'file')} verified"] if self._checked else []
        if self.played:
            parts.append(f"{caught} of {_count(len(self.played), 'cheat')} caught")
        return ", ".join(parts) or f"the charter of {self.ground.charter.initiative}"

    @cached_property
    def _checked(self) -> list[Path]:
        """The files whose evidence lies there: a customer has checked them."""
        return [place for place in self.shipped if self._evidence(place).exists()]

    def _evidence(self, place: Path) -> Path:
        return self.root / "evidence" / f"{place.name}.evidence"

    def _sums(self) -> Markup:
        caught, size = sum(played.caught for played in self.played), self.ground.cosigned.checkpoint.size
        sums: list[tuple[str, str, str]] = []
        if self._checked:
            sums.append((str(len(self._checked)), "files verified by the customer, offline", "verified"))
        if self.played:
            state = "verified" if caught == len(self.played) else "mismatch"
            sums.append((f"{caught} of {len(self.played)}", "cheats caught", state))
        witnesses = len(self.ground.cosigned.witnesses)
        sums.append((f"{size:,}", f"ledger entries, cosigned by {_count(witnesses, 'witness')}", ""))
        sums.append((f"{round(sum(told.seconds for told in self.told))} s", f"from {shown(self.told[0].began)}", ""))
        items = [
            tag("li", tag("b", value), text, **({"data_state": state} if state else {})) for value, text, state in sums
        ]
        return tag("ul", lines(*items), class_="sums")

    # --- files ------------------------------------------------------------------------------------------------------

    def _file(self, place: Path, *, shown: bool) -> Markup:
        with place.open("rb") as stream:
            sha256 = file_digest(stream, "sha256").hexdigest()
        proofs = [proof for proof in self.proven if proof.about == place.name]
        checked = place in self._checked
        below = [f"{_size(place.stat().st_size)}"]
        if checked:
            release = Subject(self.ground.pin, parse_evidence(self._evidence(place).read_bytes())).release
            below = [f"{release.product} {release.version}", self._name(release.party), *below]
        state, word = ("verified", "verified") if checked else ("open", "not checked yet")
        title = tag(
            "div",
            icon(state),
            tag("h3", breakable(place.name), " ", tag("span", word, class_="word")),
            tag("p", " · ".join(below), class_="small"),
            class_="title",
            data_state=state,
        )
        sha = tag("p", "SHA-256 ", tag("code", digest(sha256)), class_="digest small")
        claims = f"What was proven, and by whom: {_count(len(_by_topic(proofs)), 'claim')}"
        proven = tag("details", tag("summary", claims), self._claims(proofs), open=shown)
        kind = "card file first" if shown else "card file"
        return tag("li", title, sha, self._ways(place), proven, _again(proofs), class_=kind)

    def _ways(self, place: Path) -> Markup:
        evidence, page = self._evidence(place), self.root / "evidence" / f"{place.name}.html"
        signature = place.with_name(place.name + SUFFIX)
        ways = [(page, "Open its evidence page", "first"), (place, "Download", ""), (evidence, "Evidence file", "")]
        ways.append((signature, "Signature", ""))
        links = [
            tag("a", text, href=quote(str(to.relative_to(self.root))), class_=name, title=to.name)
            for to, text, name in ways
            if to.exists()
        ]
        return tag("p", lines(*links), class_="ways")

    def _matter(self, about: str, proofs: Sequence[Proof]) -> Markup:
        title = tag("div", icon("verified"), tag("h3", about), class_="title", data_state="verified")
        return tag("li", title, self._claims(proofs), _again(proofs), class_="card")

    def _claims(self, proofs: Iterable[Proof]) -> Markup:
        items = []
        for topic, mine in _by_topic(proofs):
            said = [
                join(tag("p", _sentence(proof.claim)), tag("span", f"by {self._names(proof.by)}", class_="by"))
                for proof in mine
            ]
            items.append(tag("li", tag("b", TITLES.get(topic, topic)) if topic else "", *said))
        return tag("ul", lines(*items), class_="claims")

    def _name(self, party: str) -> str:
        known = self.ground.charter.parties.get(Identifier(party)) if party.islower() else None
        return party if known is None else str(known.name)

    def _names(self, by: str) -> str:
        return ", ".join(self._name(party) for party in by.split(", "))

    # --- cheats -----------------------------------------------------------------------------------------------------

    def _cheat(self, played: Played) -> Markup:
        state = "verified" if played.caught else "mismatch"
        word = "caught" if played.caught else "NOT CAUGHT"
        title = tag(
            "div",
            icon(state),
            tag("h3", played.title[:1].upper() + played.title[1:], " ", tag("span", word, class_="word")),
            tag(
                "p", tag("span", played.row, class_="row"), f" · glasshouse demo --cheat {played.name}", class_="small"
            ),
            class_="title",
        )
        seen: list[str] = []
        if played.exit is not None:
            seen += [tag("span", f"exit {played.exit} {EXITS.get(played.exit, '')}".strip(), class_="code"), " "]
        said = tag(
            "dl",
            tag("div", tag("dt", "Noticed by"), tag("dd", self._names(played.by))),
            tag("div", tag("dt", "What they see"), tag("dd", *seen, played.seen)),
        )
        return tag("li", title, said, class_="card cheat", data_state=state)

    # --- ground -----------------------------------------------------------------------------------------------------

    def _parties(self) -> Iterable[Markup]:
        charter = self.ground.charter
        yield tag(
            "p",
            f"Version {charter.version} of the charter of {charter.initiative}, in force when this was written."
            f" {charter.members.quorum} of the members {self._list(charter.members.parties)} decide on it. The customer"
            " pinned the first version, known by this id:",
        )
        yield tag("p", tag("code", digest(statement_id(self.ground.pin))), class_="digest")
        yield tag("ul", lines(*(self._party(name, party) for name, party in charter.parties.items())), class_="people")

    def _party(self, name: str, party: Party) -> Markup:
        sites = [self.ground.charter.sites[site] for site in sorted({key.site for key in party.keys.values()})]
        places = [f"{site.name}, {site.jurisdiction}" for site in sites]
        rows = {"Does": ", ".join(party.roles), "Where": "; ".join(places) or "the charter names no place", "Keys": ""}
        rows["Keys"] = ", ".join(sorted({use for key in party.keys.values() for use in key.uses})) or "cosignatures"
        pairs = [tag("div", tag("dt", label), tag("dd", value)) for label, value in rows.items()]
        return tag("li", tag("h3", party.name), tag("code", name, class_="small"), tag("dl", lines(*pairs)))

    def _terms(self) -> Markup:
        products = self.ground.charter.products.items()
        rows = [tag("div", tag("dt", name), tag("dd", self._term(rule))) for name, rule in products]
        return tag("div", tag("dl", lines(*rows), class_="terms"), class_="card")

    def _term(self, rule: ProductRule) -> str:
        gate = rule.gate
        text = f"Rebuilt by {gate.quorum} of {self._list(gate.rebuilders)}"
        text += ", each bound to its result before the release; " if gate.blind else "; "
        text += f"verdicts that count: {', '.join(gate.accept)}; built in {', '.join(gate.build_in)}, signed in"
        return f"{text} {', '.join(gate.sign_in)}."

    def _list(self, parties: Iterable[str]) -> str:
        return _enumerated([self._name(party) for party in parties])

    def _ledger(self) -> Iterable[Markup]:
        rule, cosigned = self.ground.charter.ledger, self.ground.cosigned
        checkpoint = cosigned.checkpoint
        witnesses = [
            tag("div", tag("dt", f"Cosigned by {self._name(name.rpartition('/')[0])}"), tag("dd", time_of(when)))
            for name, when in cosigned.witnesses.items()
        ]
        facts = [
            tag("div", tag("dt", "Origin"), tag("dd", rule.origin)),
            tag("div", tag("dt", "Entries"), tag("dd", f"{checkpoint.size:,}")),
            *witnesses,
            tag(
                "div",
                tag("dt", "Root of the tree"),
                tag("dd", tag("code", digest(checkpoint.root.hex())), class_="digest"),
            ),
        ]
        yield tag("div", tag("dl", lines(*facts), class_="pairs"), class_="card")
        note = tag("pre", self.ground.note, class_="raw", tabindex="0")
        yield tag("details", tag("summary", "The checkpoint, as the ledger and its witnesses signed it"), note)
        yield tag("p", "Whoever reads the whole ledger checks it with the command below, while it is served:")
        yield tag("pre", tag("code", f"glasshouse ledger fsck {rule.url}"), class_="command")

    def _times(self) -> Markup:
        longest = max(told.seconds for told in self.told) or 1.0
        heads = tag("tr", tag("th", "Chapter"), tag("th", "Began", class_="when"), tag("th", "Took", class_="number"))
        rows = [_time(told, longest) for told in self.told]
        total = f"{sum(told.seconds for told in self.told):.1f} s"
        foot = tag("tr", tag("th", "All"), tag("td", "", class_="when"), tag("td", total, class_="number"))
        return tag(
            "div",
            tag("table", tag("thead", heads), tag("tbody", lines(*rows)), tag("tfoot", foot)),
            class_="card",
        )


_LIMITS: tuple[str, str, Sequence[Markup]] = ("limits", "What this does not show", ())
_SHORT = {
    "files": "Files",
    "cheats": "Cheats",
    "parties": "Parties",
    "terms": "Terms",
    "ledger": "Ledger",
    "times": "Times",
    "limits": "Limits",
}


def write_report(root: Path, record: Record, ground: Ground) -> Path:
    """Write report.html of a stage and return its path."""
    return Report(root, record, ground).write()


def _anchor(name: str, title: str) -> Markup:
    short = _SHORT.get(name, name[:1].upper() + name[1:])
    return tag("li", tag("a", short, href=f"#{name}", title=title))


def _section(name: str, title: str, *body: Markup) -> Markup:
    return tag("section", tag("h2", title, id=name, tabindex="-1"), *body, aria_labelledby=name)


def _cards(cards: Iterable[Markup]) -> Markup:
    return tag("ul", lines(*cards), class_="cards")


def _again(proofs: Iterable[Proof]) -> Markup:
    rows = [
        join(tag("dt", TITLES.get(topic, topic) or proof.claim), tag("dd", tag("code", proof.how)))
        for topic, mine in _by_topic(proofs)
        for proof in mine
    ]
    return tag("details", tag("summary", "Check it again by command"), tag("dl", lines(*rows), class_="again"))


def _time(told: Told, longest: float) -> Markup:
    bar = tag(
        "svg",
        tag("rect", width=str(max(1, round(_BAR * told.seconds / longest))), height="8", rx="4"),
        class_="bar",
        viewBox=f"0 0 {_BAR} 8",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return tag(
        "tr",
        tag("th", told.name, tag("small", told.title), bar),
        tag("td", time_of(told.began), class_="when"),
        tag("td", f"{told.seconds:.1f} s", class_="number"),
    )


def _by_topic(proofs: Iterable[Proof]) -> list[tuple[str, list[Proof]]]:
    """What is about one topic together, the gate's claims first and in its order."""
    topics: dict[str, list[Proof]] = {}
    for proof in proofs:
        topics.setdefault(proof.topic, []).append(proof)
    known = list(TITLES)
    return sorted(topics.items(), key=lambda item: known.index(item[0]) if item[0] in known else len(known))


def _sentence(text: str) -> str:
    """A claim as a sentence; what begins with a product's name keeps its spelling."""
    return text if "/" in text.partition(" ")[0] else text[:1].upper() + text[1:]


def _grouped(proofs: Iterable[Proof]) -> list[tuple[str, list[Proof]]]:
    groups: dict[str, list[Proof]] = {}
    for proof in proofs:
        groups.setdefault(proof.about, []).append(proof)
    return list(groups.items())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 'es' if what.endswith('ss') else 's'}"


def _enumerated(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _size(count: int) -> str:
    return f"{count:,} bytes" if count < _KIB else f"{round(count / _KIB):,} KiB"
