"""Statements of every kind: each member removed, mistyped or joined by a stranger is refused by name."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import Any, get_args, get_origin

import pytest
from examples import payloads
from glasshouse_verify.access import Access
from glasshouse_verify.alarm import Finding, Hold
from glasshouse_verify.blind import Commit
from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import _members, encode
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from glasshouse_verify.receipt import Inspection, Inventory, Receipt
from glasshouse_verify.relocation import Relocation
from glasshouse_verify.statement import (
    PROVENANCE_TYPE,
    STATEMENT_TYPE,
    URI_BASE,
    Action,
    Rebuild,
    RebuiltFile,
    Release,
    ReleasedFile,
    Source,
    Statement,
    Status,
    Use,
    Verdict,
    build_parameters,
    format_statement,
    make_statement,
    parse_statement,
    predicate_type,
)
from glasshouse_verify.trap import Trap
from world import NOW, World, digest

from glasshouse.ledger.digests import named_digests

KINDS: dict[Use, type[Any]] = {
    Use.CHARTER: Charter,
    Use.SOURCE: Source,
    Use.RELEASE: Release,
    Use.COMMIT: Commit,
    Use.REBUILD: Rebuild,
    Use.STATUS: Status,
    Use.HOLD: Hold,
    Use.FINDING: Finding,
    Use.RECEIPT: Receipt,
    Use.INVENTORY: Inventory,
    Use.INSPECTION: Inspection,
    Use.ACCESS: Access,
    Use.TRAP: Trap,
}
# Which members it has follows from its step: test_relocation_statements takes them one by one.
BY_STEP: dict[Use, type[Any]] = {Use.RELOCATION: Relocation}
PAYLOADS = payloads()
Place = tuple[str | int, ...]


def document(use: Use) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(PAYLOADS[use])
    return value


def members(kind: Any, value: Any, place: Place = ()) -> Iterator[tuple[Place, Any, bool]]:
    """Every member of every record inside `value`: its place, its annotation, and whether it is required."""
    if is_dataclass(kind):
        for name, (hint, default) in _members(kind).items():
            required = default is not None
            if name in value:
                inner = next((a for a in get_args(hint) if a is not type(None)), hint) if not required else hint
                yield (*place, name), inner, required
                yield from members(inner, value[name], (*place, name))
    elif get_origin(kind) is tuple:
        for n, item in enumerate(value[:1]):
            yield from members(get_args(kind)[0], item, (*place, n))
    elif get_origin(kind) is Mapping:
        for name in list(value)[:2]:
            yield from members(get_args(kind)[1], value[name], (*place, name))


def at(value: Any, place: Place) -> Any:
    for step in place:
        value = value[step]
    return value


def field_of(use: Use, place: Place) -> str:
    return use.value + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


def refused(changed: dict[str, Any]) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse_statement(format_json(changed))
    return caught.value


PLACES = [
    pytest.param(use, place, hint, required, id=field_of(use, place))
    for use, kind in KINDS.items()
    for place, hint, required in members(kind, document(use)["predicate"])
]


def test_every_kind_has_an_example_with_every_member() -> None:
    assert set(PAYLOADS) == set(Use)
    for use, kind in KINDS.items():
        shown = {place[0] for place, _, _ in members(kind, document(use)["predicate"])}
        assert shown == set(_members(kind)), use


@pytest.mark.parametrize("use", Use)
def test_what_is_parsed_is_what_was_written(use: Use) -> None:
    statement = parse_statement(PAYLOADS[use])
    assert statement.use == use
    assert statement.payload == PAYLOADS[use]
    if use != Use.PROVENANCE:
        assert isinstance(statement.predicate, (KINDS | BY_STEP)[use])
        assert make_statement(use, statement.predicate) == PAYLOADS[use]
    assert encode(statement.predicate) == document(use)["predicate"]


@pytest.mark.parametrize(("use", "place", "hint", "required"), PLACES)
def test_member_removed(use: Use, place: Place, hint: Any, required: bool) -> None:
    changed = document(use)
    del at(changed["predicate"], place[:-1])[place[-1]]
    if required:
        error = refused(changed)
        assert (error.field, error.reason) == (field_of(use, place), "is missing")


WRONG: tuple[Any, ...] = (None, True, -1, 0, 7, "\x00", [], [None], {}, {"\x00": 0})


@pytest.mark.parametrize(("use", "place", "hint", "required"), PLACES)
def test_member_mistyped(use: Use, place: Place, hint: Any, required: bool) -> None:
    honest = at(document(use)["predicate"], place)
    for wrong in WRONG:
        if type(wrong) is type(honest) and not (type(wrong) in (int, str) and wrong in (-1, "\x00")):
            continue
        if hint is Any or (hint is str and isinstance(wrong, str)):
            continue
        changed = document(use)
        at(changed["predicate"], place[:-1])[place[-1]] = wrong
        assert refused(changed).field == field_of(use, place), wrong


@pytest.mark.parametrize(("use", "place", "hint", "required"), PLACES)
def test_stranger_beside_a_member(use: Use, place: Place, hint: Any, required: bool) -> None:
    changed = document(use)
    at(changed["predicate"], place[:-1])["stranger"] = 1
    error = refused(changed)
    assert (error.field, error.reason) == (field_of(use, (*place[:-1], "stranger")), "is not a known member")


@pytest.mark.parametrize("use", Use)
@pytest.mark.parametrize("member", ["_type", "predicate", "predicateType", "subject"])
def test_the_frame_of_every_kind(use: Use, member: str) -> None:
    less = document(use)
    del less[member]
    assert refused(less).field == f"statement.{member}"
    assert refused(document(use) | {"stranger": 1}).field == "statement.stranger"
    for wrong in (None, 5, "x", [], {}):
        if (use, member, wrong) == (Use.PROVENANCE, "predicate", {}):
            continue
        field = refused(document(use) | {member: wrong}).field
        if member == "predicate":
            assert field in (f"{use.value}", "statement.predicate") or field.startswith(f"{use.value}.")
        else:
            assert field.startswith(f"statement.{member}")


SUBJECTS: list[tuple[Any, str]] = [
    ([], "statement.subject"),
    ({}, "statement.subject"),
    (["x"], "statement.subject[0]"),
    ([{"name": "x"}], "statement.subject[0].digest"),
    ([{"name": 1, "digest": {"sha256": "0" * 64}}], "statement.subject[0].name"),
    ([{"name": "x", "digest": {"sha256": "0" * 64}, "uri": "x"}], "statement.subject[0].uri"),
    ([{"name": "x", "digest": "0" * 64}], "statement.subject[0].digest"),
    ([{"name": "x", "digest": {"sha512": "0" * 64}}], "statement.subject[0].digest.sha512"),
    ([{"name": "x", "digest": {"sha256": "0" * 64, "sha512": "0"}}], "statement.subject[0].digest.sha512"),
    ([{"name": "x", "digest": {"sha256": "0" * 63}}], "statement.subject[0].digest.sha256"),
    ([{"name": "x", "digest": {"sha256": "A" * 64}}], "statement.subject[0].digest.sha256"),
]


@pytest.mark.parametrize(("subject", "field"), SUBJECTS)
def test_malformed_subject(subject: Any, field: str) -> None:
    assert refused(document(Use.PROVENANCE) | {"subject": subject}).field == field


@pytest.mark.parametrize("use", KINDS)
def test_the_subject_follows_from_the_predicate(use: Use) -> None:
    honest = document(use)["subject"]
    for changed in (
        honest + honest,
        [{"name": "other", "digest": honest[0]["digest"]}],
        [{"name": honest[0]["name"], "digest": {"sha256": digest(b"other")}}],
    ):
        error = refused(document(use) | {"subject": changed})
        assert (error.field, error.reason) == ("statement.subject", "does not follow from the predicate")


@pytest.mark.parametrize(
    "kind",
    [
        "https://example.com/x",
        URI_BASE,
        f"{URI_BASE}release/v2",
        f"{URI_BASE}release/v1/",
        f"{URI_BASE}RELEASE/v1",
        "https://slsa.dev/provenance/v0.2",
        f"{URI_BASE}provenance/v1",
        5,
        None,
        ["x"],
    ],
)
def test_unknown_predicate_types(kind: Any) -> None:
    assert refused(document(Use.RELEASE) | {"predicateType": kind}).field == "statement.predicateType"


def test_one_kind_is_not_taken_for_another() -> None:
    for use in KINDS:
        for other in KINDS:
            if other != use:
                changed = document(use) | {"predicateType": predicate_type(other)}
                assert refused(changed).field.startswith(other.value)


def test_predicate_types() -> None:
    assert predicate_type(Use.PROVENANCE) == PROVENANCE_TYPE == "https://slsa.dev/provenance/v1"
    assert predicate_type(Use.RELEASE) == f"{URI_BASE}release/v1"
    assert len({predicate_type(use) for use in Use}) == len(Use)


@pytest.mark.parametrize("data", [b"", b"5", b"[]", b'"x"', b"null", b'{"a":1}', b"{}"])
def test_bytes_that_are_no_statement(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_statement(data)


def test_a_statement_has_one_spelling() -> None:
    payload = PAYLOADS[Use.RELEASE]
    for other in (payload + b"\n", payload.replace(b":", b": ", 1), json.dumps(document(Use.RELEASE)).encode()):
        with pytest.raises(FormatError):
            parse_statement(other)


def test_a_statement_is_at_most_an_entry() -> None:
    with pytest.raises(FormatError, match="more than 65535"):
        format_statement(PROVENANCE_TYPE, [("x", digest(b"x"))], {"big": "x" * 65_535})


# --- rules inside one predicate ------------------------------------------------------------------------------------


def file(**changes: Any) -> RebuiltFile:
    fields = {"platform": "p", "name": "n", "shipped": digest(b"s"), "verdict": Verdict.IDENTICAL}
    return RebuiltFile(**({"rebuilt": digest(b"s")} | fields | changes))


def test_identical_means_the_shipped_bytes() -> None:
    assert file().rebuilt == digest(b"s")
    for rebuilt in (None, digest(b"other")):
        with pytest.raises(FormatError, match="must be the shipped digest"):
            file(rebuilt=rebuilt)
    with pytest.raises(FormatError, match="is missing"):
        file(verdict=Verdict.IDENTICAL_MODULO_SIGNATURE, rebuilt=None)
    assert file(verdict=Verdict.IDENTICAL_MODULO_SIGNATURE, rebuilt=digest(b"u")).rebuilt == digest(b"u")
    for verdict in (Verdict.BUILD_FAILED, Verdict.DIFFERS, Verdict.PACK_NOT_RECEIVED, Verdict.STABILISED_EQUAL):
        assert file(verdict=verdict, rebuilt=None).rebuilt is None


def test_the_verdict_is_the_worst_of_the_files() -> None:
    world = World()
    rebuild = world.rebuild_of(world.release(), "lab")
    order = list(Verdict)
    for worst in order:
        files = tuple(file(name=verdict, verdict=verdict) for verdict in order[: order.index(worst) + 1])
        assert replace(rebuild, files=files, verdict=worst).verdict == worst
        for other in order:
            if other != worst:
                with pytest.raises(FormatError, match="worst of the files"):
                    replace(rebuild, files=files, verdict=other)
    with pytest.raises(FormatError, match="worst of the files"):
        replace(rebuild, files=())


def test_files_of_a_release_are_sorted_and_each_is_there_once() -> None:
    world = World()
    release = world.statement(world.release())
    a, b = (ReleasedFile(platform="p", name=name, sha256=digest(b"x")) for name in "ab")
    other = replace(a, platform="q")
    assert replace(release, files=(a, b, other)).subjects() == [
        ("a", digest(b"x")),
        ("b", digest(b"x")),
        ("a", digest(b"x")),
    ]
    for files in ((), (b, a), (a, a), (other, a), (a, replace(a, sha256=digest(b"y")))):
        with pytest.raises(FormatError, match="sorted by platform and name"):
            replace(release, files=files)
    assert a.built == digest(b"x")
    assert replace(a, unsigned=digest(b"u")).built == digest(b"u")


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("lifts", [None, digest(b"hold")])
def test_a_lift_names_the_hold_and_nothing_else_does(action: Action, lifts: str | None) -> None:
    fields: dict[str, Any] = {
        "party": "lab",
        "action": action,
        "release": digest(b"r"),
        "reason": "because",
        "time": NOW,
    }
    if (action == Action.LIFT) == (lifts is not None):
        assert Hold(**fields, lifts=lifts).lifts == lifts
    else:
        with pytest.raises(FormatError, match=r"hold\.lifts"):
            Hold(**fields, lifts=lifts)


def test_a_finding_is_about_something() -> None:
    with pytest.raises(FormatError, match="at least one digest"):
        Finding(party="lab", rule="r", about=(), text="", time=NOW)


# --- foreign statements and look-up --------------------------------------------------------------------------------


def test_foreign_predicates_are_kept_as_they_are() -> None:
    predicate = {"anything": [1, None, {"x": True}]}
    payload = format_statement(PROVENANCE_TYPE, [("a", digest(b"a")), ("a", digest(b"a"))], predicate)
    statement = parse_statement(payload)
    assert isinstance(statement, Statement)
    assert statement.predicate == predicate
    assert statement.subject == (("a", digest(b"a")),) * 2


def test_digests_by_which_a_statement_is_found() -> None:
    release = parse_statement(PAYLOADS[Use.RELEASE])
    says: Release = release.predicate
    named = named_digests(release)
    assert {says.source, says.provenance, says.sbom, says.files[0].sha256, says.files[0].unsigned} <= named
    assert statement_id(release.payload) in named
    assert all(len(found) == 64 for found in named)


def test_deep_digests_are_found() -> None:
    nested = {"a": [{"b": {"c": [digest(b"deep"), digest(b"deep").upper(), "0" * 63]}}]}
    payload = format_statement(PROVENANCE_TYPE, [("x", digest(b"x"))], nested)
    assert named_digests(parse_statement(payload)) == {digest(b"x"), digest(b"deep"), statement_id(payload)}


def test_build_parameters_name_everything_that_goes_in() -> None:
    source: Source = parse_statement(PAYLOADS[Use.SOURCE]).predicate
    assert build_parameters(source) == {
        "lock": {"root": source.lock.root, "size": source.lock.size},
        "product": source.product,
        "recipe": source.recipe,
        "source": {"root": source.manifest.root, "size": source.manifest.size},
        "version": source.version,
    }


def test_the_type_of_a_statement() -> None:
    assert document(Use.RELEASE)["_type"] == STATEMENT_TYPE
    assert refused(document(Use.RELEASE) | {"_type": "https://in-toto.io/Statement/v0.1"}).field == "statement._type"
