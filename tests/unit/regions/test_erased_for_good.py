"""From the upload to what nothing brings back, as the customer's receipt and the auditor see it, at two real sites."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.report import Outcome
from keepers import Opener, has_ciphertext, keeper
from ledgers import until
from onlookers import alarms
from region_world import DAY, YEAR, receipt_of, says
from surveyed import Pair, surveyed

from glasshouse.regions.keeping.rekey import rekey
from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        yield found


def renew(pair: Pair, at: int) -> None:
    site = pair.sites[at]
    rekey(site.place, Opener(), now=pair.world.now)
    until(lambda: keeper(site).step() is False)


def test_removed_on_time_and_irrecoverable_after_both_sites_new_keys(pair: Pair) -> None:
    mine, kept = pair.upload(b"mine"), pair.upload(b"kept", category="telemetry", at=1)
    pair.close()
    assert "held" in says(pair.world.check(mine, pair.evidence(mine)))["object"]
    # Within the day after its time, the site's keeper removes it; no inventory shows it as overdue.
    pair.world.later(YEAR + 60)
    assert keeper(pair.sites[0], at=pair.world.now).remove_due() == 1
    pair.close()
    answer = pair.world.check(mine, pair.evidence(mine))
    assert answer.outcome == Outcome.VERIFIED, says(answer)
    assert "removed; backups and logs may hold it until" in says(answer)["object"]
    handle = receipt_of(mine).handle
    for site in pair.sites:
        keeper(site).clear()
        assert not has_ciphertext(site, handle)
    renew(pair, 0)
    pair.world.later(DAY)
    pair.close()
    assert "may hold it until" in says(pair.world.check(mine, pair.evidence(mine)))["object"]
    renew(pair, 1)
    pair.world.later(DAY)
    pair.close()
    answer = pair.world.check(mine, pair.evidence(mine))
    assert answer.outcome == Outcome.VERIFIED
    assert says(answer)["object"].endswith("irrecoverable")
    assert pair.sites[0].content(receipt_of(kept).handle) == b"kept"
    # The custodian of this world is silent about the keys that it opened: that is found out a day later.
    assert "erasure" not in alarms(pair.world)
    pair.world.later(DAY + 1)
    (found,) = alarms(pair.world)["erasure"]
    assert found.endswith(
        "1 objects called irrecoverable, and the custodian has counted no data key wrapped anew around then"
    )
