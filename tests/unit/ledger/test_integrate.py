from pathlib import Path

import pytest
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.note import parse_note, verify_note
from glasshouse_verify.tile import new_tiles, parse_bundle, tile_path
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier
from ledgers import NO_WITNESSES, StillLog, no_quorum, still_log
from notary import Notary

from glasshouse.ledger import integrate
from glasshouse.ledger.errors import LogAlarm
from glasshouse.ledger.fsck import check_log
from glasshouse.ledger.integrate import Integrator
from glasshouse.ledger.log import CHECKPOINT_KEY, PENDING_KEY
from glasshouse.ledger.running import FixedWitnessing
from glasshouse.parties.ring import KeyRing
from glasshouse.parties.signer import FileSigner
from glasshouse.storage.db import Database


@pytest.fixture
def still(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> StillLog:
    return still_log(database, tmp_path, f"integrate.example/{request.node.name}")


def published(still: StillLog) -> tuple[int, bytes]:
    note = parse_note(still.store.get(CHECKPOINT_KEY))
    verify_note(note, (still.notary.key,))
    checkpoint = parse_checkpoint(note.text)
    return checkpoint.size, checkpoint.root


def test_the_tree_is_that_of_the_entries_at_every_size(still: StillLog) -> None:
    frontier = Frontier()
    with still.integrator() as integrator:
        integrator.step()
        assert published(still) == (0, frontier.root())
        for size in (1, 2, 3, 255, 256, 257, 511, 512, 600, 1100):
            new = [b"entry %d" % n for n in range(frontier.size, size)]
            still.sequence(*new)
            for entry in new:
                frontier.append(leaf_hash(entry))
            integrator.step()
            assert published(still) == (size, frontier.root())
            assert still.store.get(PENDING_KEY) == still.store.get(CHECKPOINT_KEY)
    assert check_log(still.store.get, no_quorum(still.notary.key)).sound


def test_the_tiles_are_those_of_the_specification(still: StillLog) -> None:
    still.sequence(*(b"%d" % n for n in range(700)))
    still.step()
    wanted = {tile_path(tile.level, tile.index, tile.width) for tile in new_tiles(0, 700)}
    wanted |= {path.replace("tile/0/", "tile/entries/") for path in wanted if path.startswith("tile/0/")}
    assert set(still.store.list("tile/")) == wanted
    assert parse_bundle(still.store.get("tile/entries/002.p/188"))[-1] == b"699"


def test_a_log_that_grows_by_three_levels(still: StillLog) -> None:
    frontier = Frontier()
    for start in (0, 65_000, 65_800):
        new = [b"%d" % n for n in range(start, {0: 65_000, 65_000: 65_800, 65_800: 66_000}[start])]
        still.sequence(*new)
        for entry in new:
            frontier.append(leaf_hash(entry))
    with still.integrator() as integrator:
        integrator.step()
        assert published(still)[0] == integrate.MAX_STEP_ENTRIES
        integrator.step()
        integrator.step()
    assert published(still) == (66_000, frontier.root())
    assert still.store.size("tile/2/000.p/1") == 32
    # An integrator that starts here finds its place.
    still.sequence(b"one more")
    frontier.append(leaf_hash(b"one more"))
    still.step()
    assert published(still) == (66_001, frontier.root())
    assert check_log(still.store.get, no_quorum(still.notary.key)).sound


def test_partial_tiles_go_once_the_full_one_and_the_next_are_there(still: StillLog) -> None:
    with still.integrator() as integrator:
        for start, stop in ((0, 10), (10, 300), (300, 520), (520, 800)):
            still.sequence(*(b"%d" % n for n in range(start, stop)))
            integrator.step()
    left = {key for key in still.store.list("tile/0/") if ".p/" in key}
    assert left == {"tile/0/002.p/8", "tile/0/003.p/32"}
    assert check_log(still.store.get, no_quorum(still.notary.key)).sound


def test_another_key_cannot_sign_for_the_log(still: StillLog) -> None:
    with pytest.raises(LogAlarm, match="not the one that the log"):
        Integrator(
            still.database,
            still.store,
            still.log,
            KeyRing(FileSigner(Notary("integrate.example/other").private)),
            FixedWitnessing(NO_WITNESSES),
        )
