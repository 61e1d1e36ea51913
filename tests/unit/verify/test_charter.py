"""Every rule of a charter, of its successor and of the chain, each broken once beside the charter that keeps it."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.charter import (
    Chain,
    Charter,
    apply_patch,
    check_successor,
    entitled,
    side,
    verified_keyids,
    vouchers,
)
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import Envelope, EnvelopeSignature, statement_id
from glasshouse_verify.encoding import encode_base64, format_json
from glasshouse_verify.errors import CharterError, FormatError, QuorumError, SignatureError, VerifyError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, format_vkey
from glasshouse_verify.statement import Use, make_statement, parse_statement
from world import ORIGIN, PRODUCT, World, charter_key, digest, seeded

from glasshouse.ledger.evidence import make_patch
from glasshouse.parties.signer import sign_statement

WORLD = World()
DOCUMENT: dict[str, Any] = encode(WORLD.history.chain.newest.charter)
ACME, LAB = WORLD.keys["acme"], WORLD.keys["lab"]
MALLORY = seeded("mallory")
SUBSIDIARY = {"name": "Sub", "roles": ["vendor", "rebuilder"], "acts_for": "acme", "keys": {}}


def charter_with(patch: dict[str, Any]) -> Charter:
    charter: Charter = decode(Charter, apply_patch(DOCUMENT, patch), "charter")
    return charter


def product(**changes: Any) -> dict[str, Any]:
    return {"products": {PRODUCT: changes}}


def gate(**changes: Any) -> dict[str, Any]:
    return product(gate=changes)


def key_of(party: str, keyid: str, **changes: Any) -> dict[str, Any]:
    return {"parties": {party: {"keys": {keyid: changes}}}}


def witness(name: str, **changes: Any) -> dict[str, Any]:
    return {"ledger": {"witnesses": {name: changes}}}


def test_the_charter_that_every_case_below_breaks_is_sound() -> None:
    assert encode(charter_with({})) == DOCUMENT


MALFORMED: list[tuple[str, dict[str, Any], str]] = [
    ("version 0", {"version": 0}, "charter.previous"),
    ("version 1 with a predecessor", {"previous": digest(b"x")}, "charter.previous"),
    ("version 2 without a predecessor", {"version": 2}, "charter.previous"),
    ("acts for nobody known", {"parties": {"lab": {"acts_for": "nobody"}}}, "charter.parties.lab.acts_for"),
    ("acts for one that is no vendor", {"parties": {"lab": {"acts_for": "ngo"}}}, "charter.parties.lab.acts_for"),
    ("acts for itself", {"parties": {"acme": {"acts_for": "acme"}}}, "charter.parties.acme.acts_for"),
    (
        "acts for one that acts for another",
        {"parties": {"sub": SUBSIDIARY, "ngo": {"acts_for": "sub"}}},
        "charter.parties.ngo.acts_for",
    ),
    ("keyid of another key", key_of("ngo", digest(b"x"), **charter_key(MALLORY, "oslo", [])), "charter.parties.ngo"),
    ("key at an unknown site", key_of("acme", ACME.keyid, site="mars"), f"keys.{ACME.keyid}.site"),
    ("unknown use of a key", key_of("acme", ACME.keyid, uses=["everything"]), f"keys.{ACME.keyid}.uses[0]"),
    ("site removed under its keys", {"sites": {"bern": None}}, f"keys.{LAB.keyid}.site"),
    ("weak key", key_of("ngo", digest(bytes(32)), public=encode_base64(bytes(32)), site="oslo", uses=[]), "ngo.keys"),
    ("log key under another name", {"ledger": {"origin": "other.example"}}, "charter.ledger.key"),
    (
        "log key of the witness kind",
        {"ledger": {"key": format_vkey(WORLD.vkey(ORIGIN, "log", COSIGNATURE_V1))}},
        "policy log",
    ),
    ("log key that is none", {"ledger": {"key": "nonsense"}}, "vkey"),
    ("witness of nobody", witness("w1", party="nobody"), "charter.ledger.witnesses.w1.party"),
    ("witness of a party without the role", witness("w1", party="lab"), "charter.ledger.witnesses.w1.party"),
    (
        "witness with a log's kind of key",
        witness("w1", key=format_vkey(WORLD.vkey("w1.example", "w1-note", ED25519))),
        "policy witness",
    ),
    (
        "two witnesses with one key",
        witness("w1", key=format_vkey(WORLD.vkey("w1.example", "w2-note", COSIGNATURE_V1))),
        "policy witness",
    ),
    ("no witness", {"ledger": {"witnesses": {"w1": None, "w2": None}}}, "witnesses"),
    ("more faulty witnesses than the number allows", {"ledger": {"faulty": 1}}, "witnesses"),
    ("member named twice", {"members": {"parties": ["acme", "acme", "ngo"]}}, "charter.members.parties"),
    ("member without the role", {"members": {"parties": ["acme", "second"]}}, "charter.members.parties"),
    ("member that is no party", {"members": {"parties": ["acme", "nobody"]}}, "charter.members.parties"),
    ("status party named twice", {"status": {"parties": ["lab", "lab"]}}, "charter.status.parties"),
    ("status party that is no auditor", {"status": {"parties": ["lab", "ngo"]}}, "charter.status.parties"),
    ("status that may not age at all", {"status": {"maximum_age": 0}}, "charter.status.maximum_age"),
    ("product of nobody", {"products": {"nobody/engine": DOCUMENT["products"][PRODUCT]}}, "products.nobody/engine"),
    ("product of one that is no vendor", {"products": {"lab/engine": DOCUMENT["products"][PRODUCT]}}, "lab/engine"),
    ("rebuilder named twice", gate(rebuilders=["lab", "lab"]), "gate.parties"),
    ("rebuilder without the role", gate(rebuilders=["lab", "ngo"]), "gate.parties"),
    ("rebuilder that is no party", gate(rebuilders=["lab", "nobody"]), "gate.parties"),
    ("no verdict accepted", gate(accept=[]), "gate.accept"),
    *((f"accepts {v}", gate(accept=["identical", v]), "gate.accept") for v in ("differs", "build-failed")),
    ("accepts a pack not received", gate(accept=["pack-not-received"]), "gate.accept"),
    ("built nowhere", gate(build_in=[]), PRODUCT),
    ("signed nowhere", gate(sign_in=[]), PRODUCT),
    ("no platform", product(platforms=[]), PRODUCT),
    ("no channel", product(channels=[]), PRODUCT),
    ("country that is no code", {"sites": {"oslo": {"jurisdiction": "Norway"}}}, "charter.sites.oslo.jurisdiction"),
]


@pytest.mark.parametrize(("patch", "field"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_malformed_charter(patch: dict[str, Any], field: str) -> None:
    with pytest.raises(FormatError) as caught:
        charter_with(patch)
    assert field in caught.value.field


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("one key, two parties", key_of("ngo", ACME.keyid, **charter_key(ACME, "oslo", [])), "belongs to one party only"),
    ("no vote needed", {"members": {"quorum": 0}}, "members.quorum"),
    ("more votes than members", {"members": {"quorum": 4}}, "members.quorum"),
    ("two disjoint quorums", {"members": {"parties": ["acme", "lab"], "quorum": 1}}, "more than half"),
    ("a minority decides", {"members": {"quorum": 1}}, "more than half"),
    ("no status signature needed", {"status": {"quorum": 0}}, "status.quorum"),
    ("more status signatures than parties", {"status": {"quorum": 3}}, "status.quorum"),
    ("no rebuild needed", gate(quorum=0), "gate.quorum"),
    ("more rebuilds than rebuilders", gate(quorum=3), "gate.quorum"),
    (
        "vendor signs its own status",
        {"parties": {"acme": {"roles": ["vendor", "auditor", "member"]}}, "status": {"parties": ["lab", "acme"]}},
        "status.parties",
    ),
    ("status party acts for the vendor", {"parties": {"second": {"acts_for": "acme"}}}, "status.parties"),
]


@pytest.mark.parametrize(("patch", "words"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_charter_that_breaks_a_rule(patch: dict[str, Any], words: str) -> None:
    with pytest.raises(CharterError, match=words):
        charter_with(patch)


# --- rebuilders stand on their own side ----------------------------------------------------------------------------

THIRD = {"name": "Third", "roles": ["rebuilder"], "keys": {}}
BETA = {"name": "Beta", "roles": ["vendor", "rebuilder"], "keys": {}}
ONE_SIDE: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("the vendor itself", {"acme": {"roles": ["vendor", "rebuilder", "member"]}}, PRODUCT, ["lab", "acme"]),
    ("a party acting for it", {"third": THIRD | {"acts_for": "acme"}}, PRODUCT, ["lab", "third"]),
    ("its subsidiary vendor", {"sub": SUBSIDIARY}, PRODUCT, ["lab", "sub"]),
    (
        "the parent, for its subsidiary's product",
        {"sub": SUBSIDIARY, "acme": {"roles": ["vendor", "rebuilder", "member"]}},
        "sub/engine",
        ["lab", "acme"],
    ),
    (
        "a sister, for the subsidiary's product",
        {"sub": SUBSIDIARY, "third": THIRD | {"acts_for": "acme"}},
        "sub/engine",
        ["lab", "third"],
    ),
    (
        "two hands of one other vendor",
        {"beta": BETA, "third": THIRD | {"acts_for": "beta"}},
        PRODUCT,
        ["beta", "third"],
    ),
]


@pytest.mark.parametrize(
    ("parties", "name", "rebuilders"), [case[1:] for case in ONE_SIDE], ids=[case[0] for case in ONE_SIDE]
)
def test_rebuilders_that_are_not_independent(parties: dict[str, Any], name: str, rebuilders: list[str]) -> None:
    rule = apply_patch(DOCUMENT["products"][PRODUCT], {"gate": {"rebuilders": rebuilders}})
    with pytest.raises(CharterError, match="stands with the vendor or another rebuilder"):
        charter_with({"parties": parties, "products": {name: rule}})


def test_another_vendor_may_rebuild() -> None:
    charter = charter_with({"parties": {"beta": BETA}} | gate(rebuilders=["lab", "beta"]))
    assert charter.products[PRODUCT].gate.rebuilders == ("lab", "beta")
    assert (side(charter, "beta"), side(charter, "lab")) == ("beta", "lab")


# --- successors ----------------------------------------------------------------------------------------------------


def successor(patch: dict[str, Any]) -> Charter:
    follows = {"version": 2, "previous": statement_id(WORLD.pin)}
    return charter_with(follows | patch)


def follow(patch: dict[str, Any], old: dict[str, Any] | None = None) -> None:
    check_successor(charter_with(old or {}), statement_id(WORLD.pin), successor(patch))


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"version": 3}, "does not follow"),
        ({"previous": digest(b"another")}, "does not follow"),
        (
            {"ledger": {"origin": "o.example", "key": format_vkey(WORLD.vkey("o.example", "log", ED25519))}},
            "customers pin a new charter",
        ),
        ({"parties": {"acme": {"keys": {ACME.keyid: None}}}}, "never removed"),
        ({"parties": {"ngo": None}, "members": {"parties": ["acme", "lab"]}}, "never removed"),
        (key_of("acme", ACME.keyid, site="oslo"), "has moved"),
        ({"sites": {"moscow": {"jurisdiction": "CH"}}}, "changed its country"),
        (
            {
                "parties": {
                    "acme": {"keys": {ACME.keyid: None}},
                    "ngo": {"keys": {ACME.keyid: charter_key(ACME, "zurich-1", ["release"])}},
                }
            },
            "never removed",
        ),
    ],
    ids=["number", "predecessor", "origin", "key gone", "party gone", "key moved", "site moved", "key given away"],
)
def test_amendment_that_may_not_follow(patch: dict[str, Any], words: str) -> None:
    with pytest.raises(CharterError, match=words):
        follow(patch)


@pytest.mark.parametrize(("before", "after", "allowed"), [(9, None, False), (9, 10, False), (9, 9, True), (9, 3, True)])
def test_a_stopped_key_stays_stopped(before: int, after: int | None, allowed: bool) -> None:
    old, patch = key_of("acme", ACME.keyid, stops=before), key_of("acme", ACME.keyid, stops=after)
    if allowed:
        follow(patch, old)
    else:
        with pytest.raises(CharterError, match="cannot be revived"):
            follow(patch, old)


def test_what_an_amendment_may_change() -> None:
    added = {"parties": {"third": THIRD}, "sites": {"rome": {"name": "Rome", "jurisdiction": "IT"}}}
    for patch in (
        added,
        key_of("acme", MALLORY.keyid, **charter_key(MALLORY, "moscow", ["release"])),
        key_of("acme", ACME.keyid, uses=["charter"], stops=40),
        {"sites": {"moscow": {"name": "Moscow 2"}}},
        gate(quorum=1, rebuilders=["lab"]),
        {"members": {"parties": ["lab", "ngo"]}},
    ):
        follow(patch)


def test_who_vouches_for_the_ledger() -> None:
    first = charter_with({})
    other_key = format_vkey(WORLD.vkey("w2.example", "mallory", COSIGNATURE_V1))
    four = {f"w{n}": {"name": f"W{n}", "roles": ["witness"], "keys": {}} for n in (3, 4)}
    keys = {
        f"w{n}": {"party": f"w{n}", "url": "", "key": format_vkey(vkey)}
        for n in (3, 4)
        for vkey in [WORLD.vkey(f"w{n}.example", "acme" if n == 3 else "lab", COSIGNATURE_V1)]
    }
    more = {"parties": four, "ledger": {"witnesses": keys}}
    for patch in (
        witness("w2", key=other_key),
        witness("w2", party="w1"),
        {"ledger": {"key": format_vkey(WORLD.vkey(ORIGIN, "mallory", ED25519))}},
        more,
    ):
        assert vouchers(charter_with(patch)) != vouchers(first)
    tolerant = apply_patch(more, {"ledger": {"faulty": 1}})
    assert vouchers(charter_with(tolerant)) != vouchers(charter_with(more))
    for patch in (
        {"ledger": {"url": "http://moved.example"}},
        witness("w1", url="http://moved.example"),
        gate(quorum=1),
    ):
        assert vouchers(charter_with(patch)) == vouchers(first)


# --- signatures and the chain --------------------------------------------------------------------------------------


def signed(payload: bytes, *names: str) -> Envelope:
    return sign_statement(payload, *(WORLD.keys[name] for name in names))


def amendment(patch: dict[str, Any]) -> bytes:
    return make_statement(Use.CHARTER, successor(patch))


def test_signatures_of_strangers_are_ignored_and_false_ones_of_known_keys_are_not() -> None:
    charter, payload = charter_with({}), amendment({})
    envelope = signed(payload, "acme", "mallory")
    assert verified_keyids(charter, envelope) == [ACME.keyid]
    forged = EnvelopeSignature(keyid=LAB.keyid, sig=envelope.signatures[0].sig)
    with pytest.raises(SignatureError):
        verified_keyids(charter, Envelope(payload=payload, signatures=(*envelope.signatures, forged)))


def test_entitlement_counts_parties_and_uses() -> None:
    second_key = charter_key(MALLORY, "bern", ["rebuild"])
    charter = charter_with(key_of("lab", MALLORY.keyid, **second_key))
    both = entitled(charter, [LAB.keyid, MALLORY.keyid, digest(b"unknown")], Use.REBUILD)
    assert both == {"lab": [LAB.keyid, MALLORY.keyid]}
    assert entitled(charter, [LAB.keyid, MALLORY.keyid], Use.STATUS) == {"lab": [LAB.keyid]}
    assert entitled(charter, [LAB.keyid], Use.RELEASE) == {}


def test_the_key_of_a_charter_and_its_country() -> None:
    charter = charter_with({})
    assert charter.jurisdiction(WORLD.keys["acme-old"].keyid) == "RU"
    assert charter.key(digest(b"unknown")) is None
    with pytest.raises(CharterError, match="knows no key"):
        charter.jurisdiction(digest(b"unknown"))


def test_a_pin_is_a_first_charter() -> None:
    assert Chain(WORLD.pin).newest.index == -1
    with pytest.raises(CharterError, match="first charter"):
        Chain(amendment({}))
    with pytest.raises(FormatError, match="another kind"):
        Chain(make_statement(Use.SOURCE, WORLD.source()))


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        (("acme", "ngo"), True),
        (("acme", "lab", "ngo"), True),
        (("acme", "ngo", "mallory"), True),
        (("acme",), False),
        (("acme", "acme-old"), False),
        (("acme", "second"), False),
        (("acme", "mallory"), False),
        (("w1", "w2"), False),
    ],
)
def test_votes(names: tuple[str, ...], counts: bool) -> None:
    chain, envelope = Chain(WORLD.pin), signed(amendment({"time": 7}), *names)
    if counts:
        assert chain.extend(envelope, 5).charter.version == 2
    else:
        with pytest.raises(QuorumError, match=r"[01] of the 2"):
            chain.extend(envelope, 5)
        assert len(chain.links) == 1


def test_two_keys_of_one_member_are_one_vote() -> None:
    document = apply_patch(DOCUMENT, key_of("acme", MALLORY.keyid, **charter_key(MALLORY, "zurich-1", ["charter"])))
    pin = make_statement(Use.CHARTER, decode(Charter, document, "charter"))
    patch = {"version": 2, "previous": statement_id(pin)}
    payload = make_statement(Use.CHARTER, decode(Charter, apply_patch(document, patch), "charter"))
    with pytest.raises(QuorumError, match="1 of the 2"):
        Chain(pin).extend(signed(payload, "acme", "mallory"), 5)
    assert Chain(pin).extend(signed(payload, "mallory", "ngo"), 5).charter.version == 2


def test_a_vote_with_a_forged_signature_changes_nothing() -> None:
    chain, envelope = Chain(WORLD.pin), signed(amendment({}), "acme", "ngo")
    forged = EnvelopeSignature(keyid=LAB.keyid, sig=bytes(64))
    with pytest.raises(SignatureError):
        chain.extend(Envelope(payload=envelope.payload, signatures=(*envelope.signatures, forged)), 5)
    assert len(chain.links) == 1


def three_versions() -> Chain:
    """The pin, version 2 at entry 10, which stops acme's and ngo's keys at 20, and version 3 at entry 15."""
    chain = Chain(WORLD.pin)
    stops = apply_patch(key_of("acme", ACME.keyid, stops=20), key_of("ngo", WORLD.keys["ngo"].keyid, stops=20))
    chain.extend(signed(amendment(stops), "acme", "ngo"), 10)
    chain.extend(signed(next_of(chain, {"time": 3}), "acme", "ngo"), 15)
    return chain


def next_of(chain: Chain, patch: dict[str, Any]) -> bytes:
    newest = chain.newest
    document = apply_patch(encode(newest.charter), patch)
    document |= {"version": newest.charter.version + 1, "previous": newest.id}
    return make_statement(Use.CHARTER, decode(Charter, document, "charter"))


def test_the_charter_in_force_at_each_entry() -> None:
    chain = three_versions()
    versions = {index: chain.at(index).charter.version for index in (-1, 0, 10, 11, 15, 16, 10**6)}
    assert versions == {-1: 1, 0: 1, 10: 1, 11: 2, 15: 2, 16: 3, 10**6: 3}


def test_an_amendment_comes_after_its_predecessor() -> None:
    chain = three_versions()
    with pytest.raises(CharterError, match="does not come after"):
        chain.extend(signed(next_of(chain, {}), "acme", "ngo"), 15)


def test_a_stopped_key_votes_no_more() -> None:
    chain = three_versions()
    payload = next_of(chain, {"time": 4})
    with pytest.raises(QuorumError, match="0 of the 2"):
        chain.extend(signed(payload, "acme", "ngo"), 20)
    with pytest.raises(QuorumError, match="1 of the 2"):
        chain.extend(signed(payload, "acme", "ngo", "lab"), 20)
    assert chain.extend(signed(payload, "acme", "ngo"), 19).charter.version == 4


def test_charters_are_never_unseated() -> None:
    """Stop indexes of the newest charter reach back over every statement, but not over the amendments before it."""
    chain = three_versions()
    back = apply_patch(key_of("acme", ACME.keyid, stops=1), key_of("ngo", WORLD.keys["ngo"].keyid, stops=1))
    chain.extend(signed(next_of(chain, back), "acme", "ngo"), 18)
    assert [link.charter.version for link in chain.links] == [1, 2, 3, 4]
    source = signed(make_statement(Use.SOURCE, WORLD.source()), "acme")
    assert chain.signers(source, Use.SOURCE, 0) == {"acme": [ACME.keyid]}
    assert chain.signers(source, Use.SOURCE, 1) == {}


@pytest.mark.parametrize("index", [11, 15, 19, 20, 21])
def test_a_key_counts_below_its_stop_index_only(index: int) -> None:
    chain, source = three_versions(), signed(make_statement(Use.SOURCE, WORLD.source()), "acme")
    assert chain.signers(source, Use.SOURCE, index) == ({"acme": [ACME.keyid]} if index < 20 else {})


def test_signers_are_judged_at_their_own_entry() -> None:
    chain = Chain(WORLD.pin)
    chain.extend(signed(amendment(key_of("acme", ACME.keyid, uses=["charter"])), "acme", "ngo"), 10)
    source = signed(make_statement(Use.SOURCE, WORLD.source()), "acme")
    assert chain.signers(source, Use.SOURCE, 10) == {"acme": [ACME.keyid]}
    assert chain.signers(source, Use.SOURCE, 11) == {}


def test_the_charter_document_is_its_own_subject() -> None:
    statement = parse_statement(WORLD.pin)
    assert statement.subject == (("charter", digest(format_json(DOCUMENT))),)


# --- merge patches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        # The test cases of RFC 7396, appendix A, that are patches of objects.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(document: Any, patch: Any, result: Any) -> None:
    assert apply_patch(document, patch) == result


def test_a_patch_between_two_charters_is_short() -> None:
    new = encode(successor(gate(quorum=1)))
    patch = make_patch(DOCUMENT, new)
    assert patch == {"version": 2, "previous": statement_id(WORLD.pin), **gate(quorum=1)}
    assert apply_patch(DOCUMENT, patch) == new


def test_every_error_of_a_charter_is_the_verifiers() -> None:
    assert issubclass(CharterError, VerifyError)
    with pytest.raises(VerifyError):
        charter_with(key_of("acme", ACME.keyid, public=encode_base64(Ed25519PrivateKey.generate().private_bytes_raw())))
