"""D5 Bytes rotten or altered at rest.

Cheat: somebody with access to one site's database alters what it knows of an object before an epoch is closed, or a row
    of an inventory that was closed, or the disk does.
Noticed by: the other site and the auditors, since the two inventories differ; the customer, whose receipt opens the
    commitment; the site itself, whose rows no longer make the shard that it signed.
Seen: finding inventory-sites, no inspection; glasshouse receipt check ends with 3 against the altered site and with 0
    against the other one; the altered site has no proof to show.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.report import Outcome
from glasshouse_verify.row import format_row
from glasshouse_verify.statement import Use
from onlookers import alarms
from region_world import receipt_of, says
from surveyed import Pair, surveyed

from glasshouse.regions.errors import InvalidInput
from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        yield found


def test_attack_facts_altered_before_the_epoch(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    with pair.sites[1].place.database.transaction() as connection:
        connection.execute("update regions.object set size = size + 1")
    pair.close()
    (said,) = alarms(pair.world)["inventory-sites"]
    assert said == "inventory 1 of au: zurich-1 and zurich-2 disagree about held, delta"
    assert list(pair.world.history.standing(Use.INSPECTION)) == []
    altered = pair.world.check(mine, pair.evidence(mine, 1))
    assert altered.outcome == Outcome.MISMATCH
    assert "the commitments differ" in says(altered)["object"]
    assert pair.world.check(mine, pair.evidence(mine, 0)).outcome == Outcome.VERIFIED


def test_attack_a_row_altered_after_the_epoch(pair: Pair) -> None:
    mine, other = pair.upload(b"mine"), pair.upload(b"other")
    pair.close()
    row = receipt_of(other).row | {"key": receipt_of(mine).handle}
    with pair.sites[1].place.database.transaction() as connection:
        change = "update regions.inventory_row set row = %s where key = %s"
        connection.execute(change, (format_row(row), bytes.fromhex(receipt_of(mine).handle)))
    with pytest.raises(InvalidInput, match="are not those of the key's shard"):
        pair.prove(receipt_of(mine).handle, 1)
    assert pair.world.check(mine, pair.evidence(mine, 0)).outcome == Outcome.VERIFIED


def test_control_untouched(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    pair.close()
    assert "inventory-sites" not in alarms(pair.world)
    for at in (0, 1):
        assert pair.world.check(mine, pair.evidence(mine, at)).outcome == Outcome.VERIFIED
