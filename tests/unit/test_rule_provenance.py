"""The auditor's rule `provenance`: what built a release has to stand where the charter lets it be built."""

import pytest
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.statement import Use, make_statement
from onlookers import alarms
from world import PRODUCT, World, digest

from glasshouse.ledger.errors import NotThere, Unavailable
from glasshouse.supervision.auditor import MAX_DOCUMENT_BYTES, documents

ONLY_THE_NEW_SITE = {"products": {PRODUCT: {"gate": {"build_in": ["CH"], "sign_in": ["CH"]}}}}


def test_a_conveyor_where_the_charter_has_it_raises_nothing() -> None:
    world = World()
    world.release()
    assert "provenance" not in alarms(world)


@pytest.mark.parametrize(
    ("built_by", "where"),
    [("acme-old", "in RU"), ("lab", "by no conveyor of acme"), ("mallory", "by no conveyor of acme")],
)
def test_another_conveyor_raises_an_alarm(built_by: str, where: str) -> None:
    world = World()
    world.release(built_by=built_by)
    assert alarms(world)["provenance"] == [f"acme/engine 1.0 was built {where}; the charter allows CH only"]
    assert "releases" not in alarms(world)


def test_each_release_is_judged_by_the_charter_of_its_time() -> None:
    """What was built at the old site before the conveyor moved stays; what is built there afterwards is an alarm."""
    world = World(products={PRODUCT: {"gate": {"build_in": ["RU"], "sign_in": ["RU"]}}})
    world.release("1.0", by="acme-old", built_by="acme-old")
    world.amend(ONLY_THE_NEW_SITE)
    world.release("1.1")
    assert not {"provenance", "releases"} & set(alarms(world))
    world.release("1.2", by="acme-old", built_by="acme-old")
    assert alarms(world)["provenance"] == ["acme/engine 1.2 was built in RU; the charter allows CH only"]
    assert alarms(world)["releases"] == ["acme/engine 1.2 was not signed in CH"]


def test_what_is_no_provenance_raises_an_alarm() -> None:
    world = World()
    world.release(provenance=world.envelope(make_statement(Use.SOURCE, world.source()), "acme"))
    (alarm,) = alarms(world)["provenance"]
    assert alarm == "the provenance of acme/engine 1.0 is none: statement: is of another kind"


def test_what_cannot_be_had_is_left_to_the_rule_availability() -> None:
    world = World()
    release = world.statement(world.release(built_by="acme-old"))
    del world.blobs[release.provenance]
    assert "provenance" not in alarms(world)
    assert "availability" in alarms(world)


def test_documents_are_read_once_and_checked() -> None:
    world, asked = World(), []
    built = format_envelope(world.provenance(world.source(), world.statement(world.release()).files[0]))
    large = bytes(MAX_DOCUMENT_BYTES + 1)
    blobs = {digest(built): built, digest(large): large, digest(b"honest"): b"forged"}

    def get(sha256: str) -> bytes:
        asked.append(sha256)
        if sha256 not in blobs:
            raise Unavailable("no answer") if sha256 == digest(b"late") else NotThere("no such blob")
        return blobs[sha256]

    read = documents(get)
    assert [read(digest(built)) for _ in range(3)] == [built] * 3
    assert asked == [digest(built)]
    assert read(digest(large)) == b""
    assert [read(digest(name)) for name in (b"honest", b"none", b"late")] == [None] * 3
    blobs[digest(b"late")] = b"late"
    assert read(digest(b"late")) == b"late"
