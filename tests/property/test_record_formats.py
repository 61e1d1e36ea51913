"""Whatever the values: statements, charters and merge patches come back as they were written."""

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import EnumMeta
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from examples import payloads
from glasshouse_verify import codec
from glasshouse_verify.charter import Charter, apply_patch
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.encoding import MAX_INTEGER, format_json, parse_json
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.receipt import Inspection, Inventory
from glasshouse_verify.relocation import _MEMBERS, SECRET_BYTES, Relocation, Step
from glasshouse_verify.shards import MAX_DEPTH, Sharded
from glasshouse_verify.statement import Rebuild, Release, Use, Verdict, make_statement, parse_statement
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from world import World

from glasshouse.ledger.evidence import make_patch

DOCUMENT: dict[str, Any] = encode(World().history.chain.newest.charter)
KINDS = {
    use: type(parse_statement(payload).predicate)
    for use, payload in payloads().items()
    if use not in (Use.CHARTER, Use.PROVENANCE)
}


JSON = st.recursive(
    st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def texts(kind: Any) -> st.SearchStrategy[str]:
    """Texts of a pattern of the codec."""
    return st.from_regex(re.compile(codec._PATTERNS[kind][0], re.DOTALL), fullmatch=True)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation that a record may have."""
    if hint in codec._PATTERNS:
        return texts(hint)
    if hint in codec._BASE64_LENGTHS:
        length = codec._BASE64_LENGTHS[hint]
        return st.binary(min_size=length or 0, max_size=length or 80)
    if hint is Any:
        return JSON
    if hint is int:
        return st.integers(0, MAX_INTEGER)
    if hint is bool:
        return st.booleans()
    if hint is str:
        return st.text(max_size=40)
    if isinstance(hint, EnumMeta):
        return st.sampled_from(list(hint))
    if is_dataclass(hint):
        return records(hint)
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) is Mapping:
        return st.dictionaries(values(get_args(hint)[0]), values(get_args(hint)[1]), max_size=3)
    if get_origin(hint) in (Union, UnionType):
        return values(get_args(hint)[0])
    raise NotImplementedError(hint)


@st.composite
def records(draw: st.DrawFn, kind: Any) -> Any:
    hints = get_type_hints(kind)
    given_members = {}
    for field in fields(kind):
        if field.default is MISSING or kind is Relocation or draw(st.booleans()):
            given_members[field.name] = draw(values(hints[field.name]))
    return build(kind, given_members)


def build(kind: Any, given_members: dict[str, Any]) -> Any:
    """The record, bent where a rule of its own asks for more than types; given up where that is not enough."""
    if kind is Release:
        files = {(file.platform, file.name): file for file in given_members["files"]}
        given_members["files"] = tuple(files[key] for key in sorted(files))
    if kind is Rebuild and given_members["files"]:
        given_members["verdict"] = max((f.verdict for f in given_members["files"]), key=list(Verdict).index)
    if kind is Sharded:
        given_members["depth"] = 1 + given_members["depth"] % MAX_DEPTH
    if kind is Inventory:
        given_members["epoch"] = max(2, given_members["epoch"]) if given_members.get("previous") else 1
    if kind is Inspection:
        given_members["inventories"] = tuple(sorted(set(given_members["inventories"])))
    if kind is Relocation:
        given_members = bent(given_members)
    try:
        return kind(**given_members)
    except FormatError:
        reject()


def bent(members: dict[str, Any]) -> dict[str, Any]:
    """A step of a move with the members of that step alone; those that it may do without stand in every other one."""
    step, optional = members["step"], members["time"] % 2 == 0
    allowed = {name.rstrip("?") for name in _MEMBERS[step].split() if optional or not name.endswith("?")}
    always = {"party", "region", "relocation", "step", "time"}
    begins = step in (Step.PROGRAMME, Step.SCOPE)
    found = {name: value for name, value in members.items() if name in always | allowed}
    if "secret" in found:
        found["secret"] = found["secret"].ljust(SECRET_BYTES, b"s")[:SECRET_BYTES]
    return {**found, "previous": () if begins else tuple(sorted(set(members["previous"])))}


LIMITS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


@pytest.mark.parametrize("use", KINDS)
def test_statements_come_back(use: Use) -> None:
    @LIMITS
    @given(records(KINDS[use]))
    def check(predicate: Any) -> None:
        try:
            payload = make_statement(use, predicate)
        except FormatError:
            # Longer than an entry of the ledger may be: nothing else can be wrong with it.
            if len(format_json(encode(predicate))) < 60_000:
                raise
            return
        statement = parse_statement(payload)
        assert statement.predicate == predicate
        assert encode(decode(KINDS[use], encode(predicate), "x")) == encode(predicate)
        assert make_statement(use, statement.predicate) == payload

    check()


# --- charters ------------------------------------------------------------------------------------------------------

LEAVES = st.one_of(st.text(max_size=8), st.integers(-5, MAX_INTEGER))
PATCHES = st.recursive(
    st.one_of(LEAVES, st.none(), st.booleans(), st.lists(LEAVES, max_size=3)),
    lambda inner: st.dictionaries(st.sampled_from([*sorted(DOCUMENT), "quorum", "lab", "x"]), inner, max_size=4),
    max_leaves=8,
)


@LIMITS
@given(PATCHES)
def test_a_patched_charter_is_sound_and_comes_back_or_is_refused(patch: Any) -> None:
    document = apply_patch(DOCUMENT, patch)
    try:
        charter = decode(Charter, document, "charter")
    except VerifyError:
        return
    assert encode(charter) == document
    payload = make_statement(Use.CHARTER, charter)
    assert parse_statement(payload).predicate == charter


numbers = st.integers(1, 3)


@st.composite
def charters(draw: st.DrawFn) -> dict[str, Any]:
    """Sound charters: terms, members and products vary."""
    people = draw(st.permutations(["acme", "lab", "ngo"]))[: draw(numbers)]
    document = apply_patch(DOCUMENT, {"products": {"acme/engine": None}})
    document["time"] = draw(st.integers(0, MAX_INTEGER))
    document["initiative"] = draw(texts(codec.Text).map(lambda t: t[:80]))
    document["members"] = {
        "parties": people,
        "quorum": draw(st.integers(len(people) // 2 + 1, len(people))),
    }
    document["status"] = {
        "parties": ["lab", "second"],
        "quorum": draw(st.integers(1, 2)),
        "maximum_age": draw(st.integers(1, 10**6)),
    }
    names = draw(st.lists(texts(codec.Identifier), max_size=3, unique=True))
    for name in names:
        rule = apply_patch(DOCUMENT["products"]["acme/engine"], {"reviewers": draw(st.integers(0, 3))})
        document["products"][f"acme/{name}"] = rule
    return document


@LIMITS
@given(charters(), charters())
def test_sound_charters_come_back_and_patches_lead_from_one_to_the_other(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    charter = decode(Charter, new, "charter")
    assert encode(parse_statement(make_statement(Use.CHARTER, charter)).predicate) == new
    patch = parse_json(format_json(make_patch(old, new)), "patch", 10**6)
    assert apply_patch(old, patch) == new


# A member of a charter keeps its type, so true never stands where 1 stood before: Python takes them for equal.
DOCUMENTS = st.recursive(
    st.one_of(LEAVES, st.lists(LEAVES, max_size=3)),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_leads_from_any_document_to_any_other(old: Any, new: Any) -> None:
    assert apply_patch(old, make_patch(old, new)) == new


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS)
def test_nothing_changes_by_the_patch_to_oneself(document: Any) -> None:
    patch = make_patch(document, document)
    assert patch == ({} if isinstance(document, dict) else document)
    assert apply_patch(document, patch) == document


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, PATCHES)
def test_applying_a_patch_twice_changes_nothing_more(document: Any, patch: Any) -> None:
    once = apply_patch(document, patch)
    assert apply_patch(once, patch) == once
