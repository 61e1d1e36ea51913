"""What the charter-bound rule remembers over a restart. Whom it refuses is played in attacks/test_l12_outsider.py."""

from pathlib import Path

import pytest
from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.statement import Use, make_statement
from ledgers import StillLog, still_log
from world import World

from glasshouse.ledger import log as log_module
from glasshouse.ledger.admission import CharterAdmission, OpenAdmission
from glasshouse.ledger.errors import NotAdmitted
from glasshouse.ledger.writer import Writer, new_entry
from glasshouse.storage.db import Database


@pytest.fixture
def still(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> StillLog:
    return still_log(database, tmp_path, f"admission.example/{request.node.name}")


def sequence(still: StillLog, entries: list[bytes]) -> None:
    """Write statements with their digests."""
    writer = Writer(still.database, still.log)
    writer.sequence([new_entry(entry, OpenAdmission()) for entry in entries])
    writer.close()


def loaded(still: StillLog, world: World) -> CharterAdmission:
    admission = CharterAdmission(world.pin)
    admission.load(still.database, still.log)
    return admission


def entry_of(world: World, signer: str) -> bytes:
    return format_envelope(world.envelope(make_statement(Use.SOURCE, world.source("7.7")), signer))


def test_the_chain_is_found_by_looking_up_each_predecessor(still: StillLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "MAX_LOOKUP", 3)
    world = World()
    for number in range(3):
        world.release(f"1.{number}")
        for age in range(5):
            # Entries that name the newest charter are many; the amendment is one of them.
            world.status(time=world.now - 60 - age)
        world.amend({"status": {"maximum_age": 1000 + number}})
    sequence(still, world.entries)
    admission = loaded(still, world)
    assert [link.index for link in admission.links()] == [link.index for link in world.history.chain.links]
    assert admission.newest.charter.version == 4
    assert admission.link(2) == admission.links()[1]
    assert admission.link(9) is None


def test_a_key_stopped_at_an_index_is_stopped_there_after_a_restart(still: StillLog) -> None:
    world = World()
    stolen = world.keys["acme-old"].keyid
    world.amend({"parties": {"acme": {"keys": {stolen: {"stops": 5}}}}})
    sequence(still, world.entries)
    admission = loaded(still, world)
    assert admission.admit(entry_of(world, "acme-old"))
    for number in range(3):
        world.release(f"1.{number}")
    sequence(still, world.entries)
    with pytest.raises(NotAdmitted, match="no party of charter version 2"):
        loaded(still, world).admit(entry_of(world, "acme-old"))
    assert loaded(still, world).admit(entry_of(world, "acme"))


def test_the_charters_between_two_sizes(still: StillLog) -> None:
    world = World()
    for number in range(3):
        world.amend({"status": {"maximum_age": 1000 + number}})
    sequence(still, world.entries)
    admission = loaded(still, world)
    versions = {
        (old, new): [link.charter.version for link in admission.between(old, new)]
        for old, new in ((0, 1), (0, 2), (0, 4), (2, 2), (2, 3), (4, 9))
    }
    assert versions == {(0, 1): [1], (0, 2): [1, 2], (0, 4): [1, 2, 3, 4], (2, 2): [2], (2, 3): [2, 3], (4, 9): [4]}
