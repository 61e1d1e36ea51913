"""Honest and hostile parties in random order against an oracle that knows nothing of the gate's code.

The machine below lets everybody act: releases with good and stolen keys, rebuilds true and false, in one's own name and
in another's, holds, lifts, amendments with too few votes, late votes, keys stopped in hindsight, statuses short of
their quorum, statuses that lie. It keeps a plain note of who really did what. After every step it asks the gate for an
answer, with the evidence that the ledger assembles and with evidence that a cheat picks; the gate may say *verified*
only where the oracle, which reads the notes, says so. And where the oracle finds nothing wrong with what the ledger
assembles, the gate must not refuse.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from forgery import clean_row, forge
from glasshouse_verify.alarm import Hold
from glasshouse_verify.dsse import parse_envelope
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Action, Use, Verdict, make_statement
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from world import DAY, PRODUCT, World

from glasshouse.ledger.errors import NotThere

SOAK = os.environ.get("GLASSHOUSE_SOAK") == "1"
VENDOR_KEYS = {"acme": "CH", "acme-old": "RU"}
MEMBERS = ("acme", "lab", "ngo")
AUDITORS = ("lab", "second")
EVERYBODY = ("acme", "acme-old", "lab", "second", "ngo", "mallory")
NEGATIVE = ("differs", "build-failed", "pack-not-received")


@dataclass(frozen=True)
class Terms:
    """What a charter says, as far as this game changes it."""

    quorum: int = 2
    countries: frozenset[str] = frozenset({"CH"})
    maximum_age: int = DAY
    stops: tuple[tuple[str, int], ...] = ()

    def counts(self, key: str, index: int) -> bool:
        return all(name != key or index < stop for name, stop in self.stops)


@dataclass(frozen=True)
class Note:
    """What one entry of the ledger really is: the keys that signed it, and what it says."""

    kind: str
    id: str
    signers: frozenset[str]
    says: dict[str, Any] = field(default_factory=dict)


class Oracle:
    """Reads the notes of all entries, in order; naive on purpose."""

    def __init__(self, notes: list[Note], pin: str) -> None:
        self.notes, self.pin = notes, pin

    def charters(self, size: int) -> list[tuple[int, str, Terms]]:
        """Index, id and terms of the charters in force among the first `size` entries."""
        chain = [(-1, self.pin, Terms())]
        for index, note in enumerate(self.notes[:size]):
            _, newest, terms = chain[-1]
            if note.kind == "charter" and note.says["previous"] == newest:
                votes = [name for name in MEMBERS if name in note.signers and terms.counts(name, index)]
                if len(votes) >= 2:
                    chain.append((index, note.id, note.says["terms"]))
        return chain

    def standing(self, size: int, terms: Terms, kind: str) -> Iterator[tuple[int, Note]]:
        """The lowest entry of each statement of a kind that its own party signed with a key that counts."""
        seen = set()
        for index, note in enumerate(self.notes[:size]):
            if note.kind == kind and note.id not in seen:
                owners = VENDOR_KEYS if note.says["party"] == "acme" and kind != "hold" else (note.says["party"],)
                if any(key in note.signers and terms.counts(key, index) for key in owners):
                    seen.add(note.id)
                    yield index, note

    def fine(self, release: str, status: int, now: int, known: int) -> bool:
        """Whether a customer who knows the first `known` charters may accept a release by the status at an entry."""
        note = self.notes[status]
        size, chain = note.says["size"], self.charters(len(self.notes))[:known]
        newest = chain[-1][2]
        _, judge, terms = in_force(chain, size)
        signed = [name for name in AUDITORS if name in note.signers and newest.counts(name, status)]
        if len(signed) < 2 or note.says["lies"] or note.says["charter"] != judge:
            return False
        if not 0 <= now - note.says["time"] <= terms.maximum_age:
            return False
        seen = self.charters(size)[-1][2]
        releases = {found.id: (index, found) for index, found in self.standing(size, seen, "release")}
        if release not in releases:
            return False
        index, found = releases[release]
        if any(
            other.says["version"] == found.says["version"] and other.id != release for _, other in releases.values()
        ):
            return False
        return (
            self.well_made(index, found, newest, in_force(chain, index)[2])
            and not self.held(release, size, seen)
            and self.rebuilt(release, size, seen, newest) >= in_force(chain, index)[2].quorum
        )

    def well_made(self, index: int, release: Note, newest: Terms, gate: Terms) -> bool:
        """Source, release and provenance by vendor keys that count, the latter two in a country that is allowed."""

        def good(signers: frozenset[str], at: int, countries: frozenset[str]) -> bool:
            return any(
                key in signers and newest.counts(key, at) and VENDOR_KEYS[key] in countries for key in VENDOR_KEYS
            )

        sources = [n for n, note in enumerate(self.notes) if note.id == release.says["source"]]
        anywhere = frozenset(VENDOR_KEYS.values())
        return (
            good(release.signers, index, gate.countries)
            and good(release.says["built_by"], index, gate.countries)
            and any(good(self.notes[n].signers, n, anywhere) for n in sources)
        )

    def verdicts(self, release: str, size: int, terms: Terms) -> dict[str, list[tuple[int, Note]]]:
        given: dict[str, list[tuple[int, Note]]] = {}
        for index, note in self.standing(size, terms, "rebuild"):
            if note.says["release"] == release:
                mine = given.setdefault(note.says["party"], [])
                mine[:] = [item for item in mine if item[1].id != note.says["replaces"]]
                mine.append((index, note))
        return given

    def rebuilt(self, release: str, size: int, seen: Terms, newest: Terms) -> int:
        """How many rebuilders stand by the release; -1 where one of them says otherwise."""
        given = self.verdicts(release, size, seen)
        if any(note.says["verdict"] in NEGATIVE for mine in given.values() for _, note in mine):
            return -1
        return sum(1 for party, mine in given.items() if any(newest.counts(party, index) for index, _ in mine))

    def held(self, release: str, size: int, terms: Terms) -> bool:
        standing: dict[str, str] = {}
        for _, note in self.standing(size, terms, "hold"):
            if note.says["release"] == release:
                if note.says["lifts"] is None:
                    standing[note.id] = note.says["party"]
                elif standing.get(note.says["lifts"]) == note.says["party"]:
                    del standing[note.says["lifts"]]
        return bool(standing)


def in_force(chain: list[tuple[int, str, Terms]], index: int) -> tuple[int, str, Terms]:
    return [link for link in chain if link[0] < index or link == chain[0]][-1]


signers = st.sets(st.sampled_from(EVERYBODY), min_size=1, max_size=3).map(lambda chosen: tuple(sorted(chosen)))

holders = st.sampled_from(["acme", "lab", "second"])


class Initiative(RuleBasedStateMachine):
    """Everybody acts. Entries are posted through `log`, which notes what they are."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.notes = [Note("pin", self.world.history.pin_id, frozenset({"acme", "lab"}))]
        self.releases: list[tuple[str, bytes]] = []
        self.holds: list[tuple[str, str]] = []
        self.drafts: list[tuple[bytes, Terms, str]] = []
        self.ticks = 0

    @property
    def oracle(self) -> Oracle:
        return Oracle(self.notes, self.world.history.pin_id)

    def numbers(self, kind: str) -> list[int]:
        """The entries of a kind."""
        return [n for n, note in enumerate(self.notes) if note.kind == kind]

    def log(self, kind: str, payload: bytes, by: tuple[str, ...], **says: Any) -> str:
        identity = self.world.post(payload, *by)
        self.notes.append(Note(kind, identity, frozenset(by), says))
        return identity

    def tick(self) -> int:
        """A number that makes two statements of the same content two statements."""
        self.ticks += 1
        return self.world.now - 10_000 + self.ticks

    @rule(version=st.sampled_from(["1", "2", "3"]))
    def honest_run(self, version: str) -> None:
        """A release in due form, both rebuilds and a status: with the right history behind it, it is verified."""
        self.release(version, "acme", "acme")
        release, _ = self.releases[-1]
        for party in AUDITORS:
            self.log_rebuild(release, party, "identical", None, party)
        self.status(AUDITORS, 0)

    # What the vendor's keys do

    @rule(
        version=st.sampled_from(["1", "1", "2", "3"]),
        key=st.sampled_from(["acme", "acme", "acme", "acme-old", "lab", "mallory"]),
        built_by=st.sampled_from(["acme", "acme", "acme", "acme-old", "lab"]),
    )
    def release(self, version: str, key: str, built_by: str) -> None:
        shipped = b"file %d" % self.tick()
        source = self.world.source(version, time=self.tick())
        before = len(self.world.entries)
        identity = self.world.release(
            version, source=source, shipped=shipped, by=key, built_by=built_by, time=self.tick()
        )
        assert len(self.world.entries) == before + 2
        source_id = self.world.statement(identity).source
        self.notes.append(Note("source", source_id, frozenset({key}), {"party": "acme"}))
        says = {"party": "acme", "version": version, "source": source_id, "built_by": frozenset({built_by})}
        self.notes.append(Note("release", identity, frozenset({key}), says))
        self.releases.append((identity, shipped))

    @precondition(lambda self: len(self.notes) > 1)
    @rule(data=st.data(), by=signers)
    def log_again(self, data: st.DataObject, by: tuple[str, ...]) -> None:
        """Somebody logs an entry's statement once more, under other signatures."""
        index = data.draw(st.integers(1, len(self.notes) - 1))
        note = self.notes[index]
        if note.kind != "status":
            self.log(note.kind, parse_envelope(self.world.entries[index]).payload, by, **note.says)

    # What rebuilders do

    @precondition(lambda self: self.releases)
    @rule(
        data=st.data(),
        party=st.sampled_from(AUDITORS),
        verdict=st.sampled_from(["identical"] * 6 + list(NEGATIVE)),
        by=st.sampled_from([None, None, None, None, "acme", "lab", "second", "mallory"]),
    )
    def rebuild(self, data: st.DataObject, party: str, verdict: str, by: str | None) -> None:
        release, _ = data.draw(st.sampled_from(self.releases))
        earlier = [note.id for note in self.notes if note.kind == "rebuild" and note.says["release"] == release]
        self.log_rebuild(release, party, verdict, data.draw(st.sampled_from([None, *earlier])), by or party)

    def log_rebuild(self, release: str, party: str, verdict: str, replaces: str | None, by: str) -> None:
        changes = {"time": self.tick()} | ({"replaces": replaces} if replaces else {})
        says = self.world.rebuild_of(release, party, Verdict(verdict), **changes)
        facts = {"party": party, "release": release, "verdict": verdict, "replaces": replaces}
        self.log("rebuild", make_statement(Use.REBUILD, says), (by,), **facts)

    # Holds

    @precondition(lambda self: self.releases)
    @rule(
        data=st.data(),
        party=st.sampled_from(["acme", "lab", "second"]),
        by=st.sampled_from([None, None, "mallory", "lab"]),
    )
    def hold(self, data: st.DataObject, party: str, by: str | None) -> None:
        release, _ = data.draw(st.sampled_from(self.releases))
        hold = Hold(party=party, action=Action.HOLD, release=release, reason="because", time=self.tick())
        facts = {"party": party, "release": release, "lifts": None}
        self.holds.append((self.log("hold", make_statement(Use.HOLD, hold), (by or party,), **facts), release))

    @precondition(lambda self: self.holds)
    @rule(
        data=st.data(), party=st.sampled_from(["acme", "lab", "second"]), by=st.sampled_from([None, None, None, "acme"])
    )
    def lift(self, data: st.DataObject, party: str, by: str | None) -> None:
        lifts, release = data.draw(st.sampled_from(self.holds))
        hold = Hold(party=party, action=Action.LIFT, release=release, reason="because", time=self.tick(), lifts=lifts)
        facts = {"party": party, "release": release, "lifts": lifts}
        self.log("hold", make_statement(Use.HOLD, hold), (by or party,), **facts)

    # The charter

    @rule(
        data=st.data(),
        what=st.sampled_from(["quorum", "countries", "age", "stop", "stop"]),
        voters=st.sampled_from([("acme", "ngo"), ("lab", "ngo"), ("acme", "lab"), *((name,) for name in EVERYBODY)]),
    )
    def amend(self, data: st.DataObject, what: str, voters: tuple[str, ...]) -> None:
        newest = self.world.history.chain.newest
        terms = self.oracle.charters(len(self.notes))[-1][2]
        gate: dict[str, Any] = {}
        patch: dict[str, Any] = {"products": {PRODUCT: {"gate": gate}}}
        values = {"quorum": terms.quorum, "countries": terms.countries, "maximum_age": terms.maximum_age}
        stops = dict(terms.stops)
        if what == "quorum":
            gate["quorum"] = values["quorum"] = data.draw(st.integers(1, 2))
        elif what == "countries":
            values["countries"] = frozenset(data.draw(st.sampled_from([("CH",), ("CH", "RU"), ("RU",)])))
            gate["build_in"] = gate["sign_in"] = sorted(values["countries"])
        elif what == "age":
            values["maximum_age"] = data.draw(st.sampled_from([600, DAY]))
            patch = {"status": {"maximum_age": values["maximum_age"]}}
        else:
            key = data.draw(st.sampled_from(["acme", "acme-old", "lab", "second", "ngo"]))
            stops[key] = data.draw(st.integers(0, stops.get(key, len(self.notes) + 4)))
            owner = "acme" if key == "acme-old" else key
            patch = {"parties": {owner: {"keys": {self.world.keys[key].keyid: {"stops": stops[key]}}}}}
        self.ticks += 1
        after = Terms(stops=tuple(sorted(stops.items())), **values)
        payload = self.world.amendment(patch | {"initiative": f"Amended {self.ticks}"})
        self.drafts.append((payload, after, newest.id))
        self.log("charter", payload, voters, previous=newest.id, terms=after)

    @precondition(lambda self: self.drafts)
    @rule(data=st.data(), voters=signers)
    def vote(self, data: st.DataObject, voters: tuple[str, ...]) -> None:
        """A vote that comes late, perhaps for a charter whose rival is in force by now."""
        payload, terms, previous = data.draw(st.sampled_from(self.drafts))
        self.log("charter", payload, voters, previous=previous, terms=terms)

    # The status

    def log_status(self, payload: bytes, by: tuple[str, ...], time: int, lies: bool) -> None:
        charter = self.world.history.chain.newest.id
        self.log("status", payload, by, size=len(self.notes), time=time, charter=charter, lies=lies)

    @rule(
        by=st.sampled_from([AUDITORS, AUDITORS, AUDITORS, ("lab",), ("acme", "second"), ("acme", "mallory")]),
        offset=st.sampled_from([0, 0, 0, -500, -2 * DAY, 50]),
    )
    def status(self, by: tuple[str, ...], offset: int) -> None:
        time = self.world.now + offset
        self.log_status(self.world.status_payload(time=time), by, time, lies=False)

    @precondition(lambda self: self.releases)
    @rule(data=st.data(), by=st.sampled_from([("lab",), ("acme", "second"), ("acme", "ngo", "mallory")]))
    def lying_status(self, data: st.DataObject, by: tuple[str, ...]) -> None:
        release, _ = data.draw(st.sampled_from(self.releases))
        rebuilds = [note.id for note in self.notes if note.kind == "rebuild" and note.says["release"] == release]
        rows = [clean_row(self.world, release, rebuilds)]
        self.log_status(self.world.status_of(rows, time=self.world.now), by, self.world.now, lies=True)

    @rule(seconds=st.sampled_from([1, 300, DAY // 2]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds

    # The customer

    @precondition(lambda self: self.releases)
    @rule(seed=st.integers(0, 2**32))
    def a_cheat_picks_the_evidence(self, seed: int) -> None:
        """Several tries, each near to what the honest ledger would show: that is where holes would be."""
        chance = random.Random(seed)
        chain = [index for index, _, _ in self.oracle.charters(len(self.notes))[1:]]
        statuses = self.numbers("status")
        for _ in range(6):
            release, shipped = chance.choice([*self.releases, self.releases[-1]])
            made = [n for n in self.numbers("rebuild") if self.notes[n].says["release"] == release]
            status = chance.choice([None, *statuses, *statuses[-2:] * 3])
            rebuilds = chance.choice([made[:2], made[:2], made[-2:], made, made[:1], made[::-1]])
            lie = clean_row(self.world, release, [self.notes[n].id for n in rebuilds])
            try:
                evidence = forge(
                    self.world,
                    chance.choice([n for n, note in enumerate(self.notes) if note.id == release]),
                    rebuilds=rebuilds,
                    status=status,
                    amendments=chance.choice([chain, chain, chain, chain[:-1], self.numbers("charter")[-2:], []]),
                    row=chance.choice([None, None, None, lie]),
                )
                verified = self.world.verify(evidence, shipped).outcome == Outcome.VERIFIED
            except (VerifyError, LookupError):
                continue
            if verified:
                assert status is not None
                known = range(1, len(chain) + 2)
                assert any(self.oracle.fine(release, status, self.world.now, number) for number in known)

    @invariant()
    def the_gate_never_says_more_than_the_oracle(self) -> None:
        """For the newest release, with what the ledger assembles; and it says no less, where that is settled."""
        if not getattr(self, "releases", None):
            return
        release, shipped = self.releases[-1]
        known = len(self.oracle.charters(len(self.notes)))
        statuses = self.numbers("status")
        fine = [n for n in statuses if self.oracle.fine(release, n, self.world.now, known)]
        try:
            verified = self.world.verify(shipped=shipped).outcome == Outcome.VERIFIED
        except NotThere:
            verified = False
        assert fine or not verified
        if fine and fine[-1] == len(self.notes) - 1:
            assert verified


Initiative.TestCase.settings = settings(
    max_examples=400 if SOAK else 14, stateful_step_count=40 if SOAK else 20, deadline=None
)
TestInitiative = Initiative.TestCase
