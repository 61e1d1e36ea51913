"""R6 Provenance of another artifact replayed.

Cheat: a file that the conveyor never built is released beside the provenance of another build, or beside one that was
    bent until it fits.
Noticed by: the customer, offline; any auditor, where no conveyor that the charter allows signed it.
Seen: exit 3, the provenance is of other files, another source or not the one named; exit 4 where no conveyor key in an
    allowed country signed it, and the auditor's rule `provenance` raises an alarm.
"""

from typing import Any

import pytest
from forgery import forge
from glasshouse_verify.errors import FormatError
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import ReleasedFile, Use, format_statement, make_statement, predicate_type
from onlookers import alarms
from world import FILE, PLATFORM, SHIPPED, World, digest, texts

SMUGGLED = b"never built by the conveyor"


def file(content: bytes) -> ReleasedFile:
    return ReleasedFile(platform=PLATFORM, name=FILE, sha256=digest(content))


def rebuilt(world: World, release: str) -> World:
    for party in ("lab", "second"):
        world.rebuild(release, party)
    world.status()
    return world


def test_control_own_provenance() -> None:
    world = World()
    world.honest()
    assert world.verify().outcome == Outcome.VERIFIED


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_attack_provenance_of_an_earlier_build(version: str) -> None:
    world = World()
    first = world.provenance(world.source("1.0"), file(SHIPPED))
    rebuilt(world, world.release(version, shipped=SMUGGLED, provenance=first))
    report = world.verify(shipped=SMUGGLED)
    assert report.outcome == Outcome.MISMATCH
    assert texts(report) == {"provenance": "the provenance is of other files than those released"}


def test_attack_other_provenance_in_the_evidence() -> None:
    world = World()
    release = world.release()
    verdicts = [world.rebuild(release, party) for party in ("lab", "second")]
    status = world.status()
    other = world.provenance(world.source("1.0"), file(SMUGGLED))
    report = world.verify(forge(world, release, rebuilds=verdicts, status=status, provenance=other))
    assert report.outcome == Outcome.MISMATCH
    assert texts(report) == {"provenance": "the provenance is not the one that the release names"}


def test_attack_another_file_slipped_in_beside() -> None:
    """The provenance names the honest file and the smuggled one; the release has only one of them."""
    world = World()
    source = world.source()
    parameters = {
        "buildType": "https://glasshouse.example/build/v1",
        "externalParameters": {"product": source.product, "version": source.version},
    }
    subjects = [(FILE, digest(SHIPPED)), (FILE, digest(SMUGGLED))]
    payload = format_statement(predicate_type(Use.PROVENANCE), subjects, {"buildDefinition": parameters})
    rebuilt(world, world.release(shipped=SMUGGLED, provenance=world.envelope(payload, "acme")))
    assert texts(world.verify(shipped=SMUGGLED)) == {
        "provenance": "the provenance is of other files than those released"
    }


PARAMETERS: dict[str, dict[str, Any]] = {
    "another product": {"product": "acme/other"},
    "another version": {"version": "0.9"},
    "another source": {"source": {"root": digest(b"x"), "size": 42}},
    "a source of another size": {"source": {"root": digest(b"tree1.0"), "size": 41}},
    "another environment": {"lock": {"root": digest(b"x"), "size": 7}},
    "another recipe": {"recipe": "evil.toml"},
    "a parameter from elsewhere": {"CFLAGS": "-DBACKDOOR"},
}


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS.keys())
def test_attack_bent_parameters(parameters: dict[str, Any]) -> None:
    world = World()
    bent = world.provenance(world.source(), file(SHIPPED), **parameters)
    rebuilt(world, world.release(provenance=bent))
    report = world.verify()
    assert report.outcome == Outcome.MISMATCH
    assert "another product, version, source or environment" in texts(report)["provenance"]


@pytest.mark.parametrize(
    ("signer", "place"), [("acme-old", "built in RU"), ("lab", "no key of acme"), ("mallory", "no key of acme")]
)
def test_attack_signed_by_another_conveyor(signer: str, place: str) -> None:
    world = World()
    rebuilt(world, world.release(built_by=signer))
    report = world.verify()
    assert report.outcome == Outcome.NOT_AUTHORISED
    assert place in texts(report)["provenance"]
    assert "the charter allows CH only" in alarms(world)["provenance"][0]


def test_attack_provenance_without_parameters() -> None:
    world = World()
    payload = format_statement(predicate_type(Use.PROVENANCE), [(FILE, digest(SHIPPED))], {"buildDefinition": []})
    rebuilt(world, world.release(provenance=world.envelope(payload, "acme")))
    assert world.verify().outcome == Outcome.MISMATCH


def test_attack_another_statement_as_provenance() -> None:
    world = World()
    statement = world.envelope(make_statement(Use.SOURCE, world.source()), "acme")
    rebuilt(world, world.release(provenance=statement))
    with pytest.raises(FormatError, match="is another kind of statement"):
        world.verify()
