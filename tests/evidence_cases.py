"""Evidence of every kind, honest and hostile, as bytes with pin, digest and time: what two gates must judge alike.

`worlds` plays initiatives, `forged` shows what a cheat would, `spoiled` changes every single value of an honest file,
`misspelt` gives the same values in bytes that are not canonical, `flipped` flips bits.
"""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from forgery import forge
from glasshouse_verify.charter import Role
from glasshouse_verify.encoding import decode_base64, encode_base64, format_json
from glasshouse_verify.evidence import Evidence, format_evidence
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, format_vkey
from glasshouse_verify.statement import Action, OpaqueFile, ReleasedFile, Use, Verdict, make_statement
from world import DAY, FILE, NOW, ORIGIN, PLATFORM, PRODUCT, SHIPPED, World, charter_key, digest, seeded

BITS = 160
SEED = 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a gate is given."""

    label: str
    pin: bytes
    evidence: bytes
    digest: str = digest(SHIPPED)
    at: int = NOW


def case(label: str, world: World, evidence: Evidence | None = None, shipped: bytes = SHIPPED, **changes: Any) -> Case:
    data = format_evidence(world.evidence(shipped) if evidence is None else evidence)
    return Case(**{"label": label, "pin": world.pin, "evidence": data, "digest": digest(shipped)} | changes)


def all_cases() -> Iterator[Case]:
    yield from worlds()
    yield from forged()
    plain, amended = honest(), long_lived()
    yield from spoiled("honest", plain)
    yield from spoiled("replete", replete(), "rebuilds", "row")
    yield from spoiled("long-lived", amended, "amendments", "handovers", "checkpoint", "pin", "hashes")
    for label, world in {"honest": plain, "long-lived": amended}.items():
        yield from misspelt(label, world)
        yield from flipped(label, world)
    yield from pins(plain)


# --- initiatives ---------------------------------------------------------------------------------------------------


def honest() -> World:
    world = World()
    world.honest()
    return world


def long_lived() -> World:
    """Amended, a witness and the log key replaced, a key stopped, and after each the status goes on."""
    world = honest()
    world.amend(new_witness(world, "w3", "w2"))
    world.handovers[2] = world.checkpoint()
    world.witnesses = ("w1", "w3")
    world.amend({"status": {"maximum_age": DAY // 2}})
    world.amend({"ledger": {"key": format_vkey(log_key(world, "log-2"))}})
    world.handovers[4] = world.checkpoint()
    world.log_key = "log-2"
    stopped = {world.keys["acme-old"].keyid: {"stops": len(world.entries)}}
    world.amend({"parties": {"acme": {"keys": stopped}}})
    world.status()
    return world


def log_key(world: World, name: str) -> Any:
    world.keys[name] = seeded(name)
    return world.vkey(ORIGIN, name, ED25519)


def new_witness(world: World, name: str, leaves: str) -> dict[str, Any]:
    world.keys[f"{name}-note"] = seeded(f"{name}-note")
    key = format_vkey(world.vkey(f"{name}.example", f"{name}-note", COSIGNATURE_V1))
    parties = {name: {"name": name, "roles": ["witness"], "keys": {}}}
    return {"parties": parties, "ledger": {"witnesses": {name: {"party": name, "key": key, "url": ""}, leaves: None}}}


def replete() -> World:
    """Every member that may be left out is there: blind rebuilds of a signed file, replaced once, by all rules."""
    named = {name: digest(name.encode()) for name in ("provenance", "report", "log")}
    windows = {name: [digest(name.encode())] for name in ("signers", "timestampers", "chain")}
    gate = {"blind": True, "blind_window": 60, "accept": ["identical-modulo-signature"], "authenticode": windows}
    jack = seeded("jack")
    keys = {jack.keyid: charter_key(jack, "oslo", [use.value for use in Use])}
    parties = {
        "ngo": {"recipient": "age1example"},
        "w1": {"acts_for": "acme"},
        "jack": {"name": "Jack", "roles": [role.value for role in Role], "keys": keys},
    }
    developers = {"ann": encode_base64(jack.public)}
    world = World(products={PRODUCT: {"gate": gate, "reviewers": 1, "developers": developers}}, parties=parties)
    history = {"branch": "main", "follows": digest(b"the source before"), "lineage": digest(b"lineage")}
    source = world.source(commit="9f2c41d", authors=("Ann",), reviewers=("Bob",), history=history)
    release = world.release(source=source, unsigned=digest(b"unsigned"), committed=("lab", "second"))
    opaque = (OpaqueFile(path="tests/data/sample.bin", sha256=digest(b"sample")),)
    extra: dict[str, Any] = {**named, "opaque": opaque, "executor": "bubblewrap 0.8.0", "explanation": "one\ntwo"}
    for party in ("lab", "second"):
        first = world.rebuild(release, party, Verdict.BUILD_FAILED)
        world.rebuild(release, party, Verdict.IDENTICAL_MODULO_SIGNATURE, replaces=first, **extra)
    stops = {"keys": {world.keys["acme-old"].keyid: {"stops": len(world.entries)}}}
    world.amend({"parties": {"acme": stops}, "regions": {"au": {"anything": [1]}}})
    world.status()
    return world


def worlds() -> Iterator[Case]:
    yield case("honest", honest())
    yield case("replete", replete())
    yield case("long-lived", long_lived())
    for seconds in (-61, -60, 0, DAY - 60, DAY - 59, 10**9):
        yield case(f"at {seconds}", honest(), at=NOW + seconds)
    for name, world in played().items():
        yield case(name, world)
        yield case(f"{name}, another file", world, evidence=world.evidence(), digest=digest(b"another"))
        yield case(f"{name}, stale", world, at=NOW + 3 * DAY)


def played() -> dict[str, World]:
    """A world after each thing that can happen to a release."""
    return {
        act.__name__: _after(act) for act in (held, withdrawn, superseded, failed, renamed, *REVIEWING, unknown)
    } | {
        f"signed by {by}, built by {built_by}": _released(by=by, built_by=built_by)
        for by, built_by in (("acme-old", "acme"), ("acme", "acme-old"), ("acme-old", "acme-old"))
    }


def _released(**changes: Any) -> World:
    world = World()
    world.oversee(world.release(**changes))
    return world


def _after(act: Callable[[World], None]) -> World:
    world = World(products={PRODUCT: {"reviewers": 2}}) if act in REVIEWING else World()
    act(world)
    return world


def held(world: World) -> None:
    _hold(world, Action.HOLD)


def withdrawn(world: World) -> None:
    _hold(world, Action.WITHDRAW)


def superseded(world: World) -> None:
    _hold(world, Action.SUPERSEDE)


def _hold(world: World, action: Action) -> None:
    from glasshouse_verify.alarm import Hold

    release = world.honest()
    hold = Hold(party="lab", action=action, release=release, reason="a 'quoted' reason — ü", time=NOW)
    world.post(make_statement(Use.HOLD, hold), "lab")
    world.status()


def failed(world: World) -> None:
    release = world.release()
    world.rebuild(release, "lab")
    world.rebuild(release, "second", Verdict.BUILD_FAILED)
    world.status()


def renamed(world: World) -> None:
    """Names with spaces, quotes and letters beyond the Basic Multilingual Plane, where two orders of text differ."""
    world.oversee(world.release(name="engine '\U0001f3e0' \uff5e.whl"))


def reviewed(world: World) -> None:
    names = ("\uff5e", "\U0001f3e0", "Ann", "Bob")
    world.oversee(world.release(source=world.source(reviewers=names, authors=("Ann",), commit="9f2c41d")))


def unreviewed(world: World) -> None:
    world.oversee(world.release(source=world.source(reviewers=("Ann",), authors=("Ann", "Bob"))))


def reviewed_by_each_other(world: World) -> None:
    """Each reviewed what the other wrote: one reviewer for each change, where the charter asks for two."""
    world.oversee(world.release(source=world.source(reviewers=("Ann", "Bob"), authors=("Ann", "Bob"))))


REVIEWING = (reviewed, unreviewed, reviewed_by_each_other)


def unknown(world: World) -> None:
    """A product that the charter does not have."""
    world.release(source=world.source(product="acme/other"), product="acme/other")


# --- forgeries -----------------------------------------------------------------------------------------------------


def forged() -> Iterator[Case]:
    for signers in (("lab",), ("lab", "second", "acme"), ("acme", "ngo"), ("mallory",), ("second",)):
        world, release, verdicts = rebuilt()
        status = world.status(*signers)
        yield case(f"status of {signers}", world, forge(world, release, rebuilds=verdicts, status=status))
    for verdict in Verdict:
        world, release, _ = rebuilt()
        other = world.rebuild(release, "second", verdict)
        yield case(f"second: {verdict}", world, forge(world, release, rebuilds=[3, other]))
        world.status()
        yield case(f"second: {verdict}, in the status", world)
    for rebuilds in ([], [3], [3, 3], [4, 3], [3, 4, 4]):
        world, release, _ = rebuilt()
        yield case(f"rebuilds {rebuilds}", world, forge(world, release, rebuilds=rebuilds))
    for signer in ("acme", "mallory", "second"):
        world, release, _ = rebuilt()
        false = world.rebuild(release, "lab", signer=signer)
        yield case(f"lab's verdict signed by {signer}", world, forge(world, release, rebuilds=[4, false]))
    yield from forged_releases()
    yield from forged_charters()
    yield from forged_checkpoints()


def rebuilt() -> tuple[World, str, list[str]]:
    world = World()
    release = world.release()
    return world, release, [world.rebuild(release, party) for party in ("lab", "second")]


def forged_releases() -> Iterator[Case]:
    world = honest()
    twin = world.release(shipped=b"twin")
    world.oversee(twin)
    yield case("twin of a release", world)
    yield case("the twin", world, shipped=b"twin")
    files = tuple(ReleasedFile(platform=PLATFORM, name=name, sha256=digest(SHIPPED)) for name in ("a", FILE))
    world = _released(files=files)
    yield case("two files, provenance of one", world)
    source = World().source()
    for changes in ({"version": "2.0"}, {"recipe": "other.toml"}, {"lock": {"root": digest(b"x"), "size": 1}}):
        world = World()
        built = world.provenance(source, ReleasedFile(platform=PLATFORM, name=FILE, sha256=digest(SHIPPED)), **changes)
        world.oversee(world.release(source=source, provenance=built))
        yield case(f"provenance with {changes}", world)
    for payload in (b"{}", world.pin, make_statement(Use.SOURCE, source)):
        world = World()
        world.oversee(world.release(provenance=world.envelope(payload, "acme")))
        yield case(f"provenance is {payload[:30]!r}", world)
    world = World()
    world.release()
    yield case("a release alone", world)
    second = world.release("2.0", shipped=b"2.0")
    yield case("source of another release", world, forge(world, second, source=1), shipped=b"2.0")


def forged_charters() -> Iterator[Case]:
    patches: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "one vote": ({"status": {"maximum_age": 1}}, ("acme",)),
        "no member's vote": ({"status": {"maximum_age": 1}}, ("lab", "second")),
        "two votes": ({"status": {"maximum_age": 600}}, ("acme", "ngo")),
        "three votes": ({"members": {"quorum": 3}}, ("acme", "ngo", "lab")),
        "a name that is a prototype": (
            {"parties": {"constructor": {"name": "", "roles": [], "keys": {}}}},
            ("acme", "ngo"),
        ),
        "a name like an array's": ({"parties": {"10": {"name": "", "roles": [], "keys": {}}}}, ("acme", "lab")),
    }
    for label, (patch, voters) in patches.items():
        world = honest()
        world.amend(patch, *voters)
        if label in ("two votes", "three votes") or label.startswith("a name"):
            world.status()
            yield case(f"amended: {label}", world)
        yield case(f"shown amendment: {label}", world, forge(world, 2, rebuilds=[3, 4], status=5, amendments=[6]))
    for name in ("acme", "lab", "second"):
        world = honest()
        key = world.keys[name].keyid
        for stops in (0, 3, 5, 7, 100):
            stopping = honest()
            stopping.amend({"parties": {name: {"keys": {key: {"stops": stops}}}}})
            forgery = forge(stopping, 2, rebuilds=[3, 4], status=5, amendments=[6])
            yield case(f"{name} stopped at {stops}", stopping, forgery)


def forged_checkpoints() -> Iterator[Case]:
    def shown(label: str, note: bytes, world: World) -> Case:
        document = json.loads(format_evidence(world.evidence()))
        return Case(label=label, pin=world.pin, evidence=format_json(document | {"checkpoint": note.decode()}))

    world = honest()
    world.keys["stranger-note"] = world.keys["mallory"]
    good = world.checkpoint().decode()
    head = good.split("\n\n")[0]
    yield shown("one witness", world.checkpoint("w1"), world)
    yield shown("a witness twice", world.checkpoint("w1", "w2", "w2"), world)
    yield shown("a stranger too", world.checkpoint("w1", "w2", "stranger"), world)
    yield shown("another log key", world.checkpoint(key="mallory"), world)
    yield shown("cosigned far ahead", world.checkpoint(when=2**62), world)
    yield shown("cosigned beyond time", world.checkpoint(when=2**63), world)
    yield shown("an extension line", world.cosign(f"{head}\nextension\n", "w1", "w2"), world)
    for text in (
        head.replace(ORIGIN, "other.example"),
        head.replace("\n6\n", "\n5\n"),
        head.replace("\n6\n", "\n06\n"),
    ):
        yield shown(f"signed: {text.split(chr(10))[:2]}", world.cosign(f"{text}\n", "w1", "w2"), world)
    for size in ("0", "7", str(2**53), str(2**63 - 1), str(2**63), "+6", " 6", "6 ", "٦"):
        yield shown(f"size {size}", world.cosign(head.replace("\n6\n", f"\n{size}\n") + "\n", "w1", "w2"), world)
    for old, new in NOTE_SPELLINGS:
        yield shown(f"note {old!r} → {new!r}", good.replace(old, new, 1).encode(), world)


NOTE_SPELLINGS = [
    ("— ", "- "),
    ("— ", "—  "),
    ("— ", "—\u00a0"),
    ("\n\n", "\n\n\n"),
    ("\n\n", "\n"),
    ("\n\n", "\n\n\n\n"),
    ("w1.example ", "w1.example\u0085 "),
    ("w1.example ", "w1.example\ufeff "),
    ("w1.example ", "w1+example "),
    ("w1.example ", "w9.example "),
    ("w1.example ", " "),
    ("w1.example ", "w1.example\t"),
    ("=\n", "\n"),
    ("=\n", "==\n"),
    ("=\n", "= \n"),
    ("\n— w1", "\r\n— w1"),
    ("\n— w1", "\n\u2028— w1"),
]


# --- changes -------------------------------------------------------------------------------------------------------


def spoiled(label: str, world: World, *members: str) -> Iterator[Case]:
    """Honest evidence with one value changed, left out, or one member too many, at every place (of these members)."""
    document = json.loads(format_evidence(world.evidence()))
    for path, value in _places(document, ()):
        if members and path[0] not in members:
            continue
        for word, other in _others(path, value):
            changed = copy.deepcopy(document)
            target = changed
            for name in path[:-1]:
                target = target[name]
            if other is None:
                del target[path[-1]]
            else:
                target[path[-1]] = other
            yield Case(
                label=f"{label}: {word} {'.'.join(map(str, path))}", pin=world.pin, evidence=format_json(changed)
            )


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if path:
        yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from _places(item, (*path, name))


def _others(path: tuple[Any, ...], value: Any) -> Iterator[tuple[str, Any]]:
    yield "without", None
    if isinstance(value, dict):
        yield "more in", value | {"__proto__": {"x": 1}}
    elif isinstance(value, list):
        yield "twice in", value + value[-1:] if value else ["x"]
        if value != value[::-1]:
            yield "reversed", value[::-1]
    elif value is None or isinstance(value, bool):
        yield "not", not value
    elif isinstance(value, int):
        yield "one more", value + 1
        yield "text for", str(value)
    elif path[-1] in ("sig", "hashes", "public") or path[-2:-1] == ("proof",):
        data = bytearray(decode_base64(value, "value"))
        if data:
            data[len(data) // 2] ^= 4
            yield "bit of", encode_base64(bytes(data))
            yield "padding of", value.rstrip("=")
    else:
        yield "other letter in", _other_letter(value)
        yield "another", "other"


def _other_letter(text: str) -> str:
    middle = len(text) // 2
    return text[:middle] + ("0" if text[middle : middle + 1] != "0" else "1") + text[middle + 1 :]


def misspelt(label: str, world: World) -> Iterator[Case]:
    """The same values, or nearly, in other bytes."""
    data = format_evidence(world.evidence())
    release = data.index(b'"release":{"index":') + len(b'"release":{"index":')
    spellings = {
        "space": b" " + data,
        "newline": data + b"\n",
        "byte order mark": b"\xef\xbb\xbf" + data,
        "cut": data[:-1],
        "empty": b"",
        "null": b"null",
        "array": b"[]",
        "float": data[:release] + b"2.0" + data[release + 1 :],
        "exponent": data[:release] + b"2e0" + data[release + 1 :],
        "plus": data[:release] + b"+2" + data[release + 1 :],
        "leading zero": data[:release] + b"02" + data[release + 1 :],
        "minus zero": data[:release] + b"-0" + data[release + 1 :],
        "large": data[:release] + b"9007199254740993" + data[release + 1 :],
        "huge": data[:release] + b"9" * 5000 + data[release + 1 :],
        "NaN": data[:release] + b"NaN" + data[release + 1 :],
        "duplicate": data[:-1] + b',"status":1}',
        "escaped": data.replace(b'"schema"', b'"\\u0073chema"'),
        "surrogate": data.replace(b'"lab"', b'"\\ud800"', 1),
        "lone surrogate in a name": data[:-1].replace(b"{", b'{"\\ud800":1,', 1) + b"}",
        "not UTF-8": data.replace(b"ledger.acme", b"ledger\xff.acme", 1),
        "overlong": data.replace(b"ledger.acme", b"ledger\xc0\xae.acme", 1),
        "deep": b"[" * 3000 + b"]" * 3000,
        "deep inside": data[:-1].replace(b'"delta":{', b'"delta":' + b'{"a":' * 70 + b"{", 1) + b"}" * 71,
        "long": data[:-1] + b" " * 1_000_000,
    }
    for word, spelt in spellings.items():
        yield Case(label=f"{label}: {word}", pin=world.pin, evidence=spelt)


def flipped(label: str, world: World) -> Iterator[Case]:
    chance = random.Random(SEED)
    data = format_evidence(world.evidence())
    for bit in sorted(chance.sample(range(8 * len(data)), BITS)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield Case(label=f"{label}: bit {bit} flipped", pin=world.pin, evidence=bytes(changed))


def pins(world: World) -> Iterator[Case]:
    """The pin: another one, a later one, none, and every single value of it changed."""
    data = format_evidence(world.evidence())
    other = World(initiative="Another initiative")
    texts = {
        "none": b"",
        "object": b"{}",
        "two newlines": world.pin + b"\n\n",
        "carriage return": world.pin + b"\r\n",
        "other": other.pin,
        "amendment": world.amendment({}),
        "source": make_statement(Use.SOURCE, world.source()),
    }
    for label, pin in texts.items():
        yield Case(label=f"pin: {label}", pin=pin, evidence=data)
    document = json.loads(world.pin)
    for path, value in _places(document["predicate"], ("predicate",)):
        for word, changed in _others(path, value):
            yield Case(label=f"pin: {word} {path}", pin=repinned(document, path, changed), evidence=data)


def repinned(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> bytes:
    """A pin whose predicate was changed at a place, and whose subject follows from that."""
    changed = copy.deepcopy(document)
    target = changed
    for name in path[:-1]:
        target = target[name]
    if value is None:
        del target[path[-1]]
    else:
        target[path[-1]] = value
    if "predicate" in changed:
        changed["subject"][0]["digest"]["sha256"] = digest(format_json(changed["predicate"]))
    return format_json(changed)
