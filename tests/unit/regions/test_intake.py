"""Objects from upload to receipt at two real sites."""

import hashlib
from collections.abc import Iterator

import pytest
from sites import Ground, Site, honoured, receipt_of, running_region, signing_sites

from glasshouse.storage.db import Database


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    with running_region(Ground(tmp_path_factory.mktemp("region")), database, other_database) as sites:
        yield sites


def test_an_object_is_held_at_both_sites_under_one_receipt(region: tuple[Site, Site]) -> None:
    stored = region[0].upload(b"suspicious file")
    assert stored.created
    assert signing_sites(region[0].ground, stored.receipt) == {"zurich-1", "zurich-2"}
    said = receipt_of(stored.receipt)
    assert (said.sha256, said.size, said.site) == (hashlib.sha256(b"suspicious file").hexdigest(), 15, "zurich-1")
    assert honoured(stored.receipt, *region)
