"""Whether a site may serve: amendment after amendment (what contradicts the charter, member by member: attack D2)."""

from pathlib import Path

import pytest
from customers import Territory, honest
from glasshouse_verify.codec import encode
from sites import REGION

from glasshouse.regions.errors import SiteRefused
from glasshouse.regions.site import SiteStanding, check_site


@pytest.fixture(scope="module")
def territory(tmp_path_factory: pytest.TempPathFactory) -> Territory:
    return Territory(tmp_path_factory.mktemp("territory"))


def test_a_site_as_the_charter_has_it(territory: Territory) -> None:
    rules = check_site(territory.link, honest(territory))
    assert (rules.region, rules.site, rules.party, rules.charter) == (REGION, "zurich-1", "acme", territory.link.id)
    assert rules.rules == territory.region()
    assert rules.signers == {name: frozenset([signer.public]) for name, signer in territory.signers.items()}
    assert rules.peers == ("zurich-2",)


def test_an_amendment_that_contradicts_it_stops_the_site_and_the_next_one_lets_it_go_on(tmp_path: Path) -> None:
    territory = Territory(tmp_path)
    standing = SiteStanding(honest(territory), territory.link)
    before = standing.rules()
    sites = {"zurich-1": {"url": "https://elsewhere.example"}}
    territory.world.amend({"regions": {REGION: {"sites": sites}}})
    standing.renew(territory.link)
    with pytest.raises(SiteRefused, match=r"serve\.url") as caught:
        standing.rules()
    assert "node.toml" in caught.value.fix
    territory.world.amend({"regions": {REGION: encode(territory.region())}})
    standing.renew(territory.link)
    after = standing.rules()
    assert (after.rules, after.charter) == (before.rules, territory.link.id)
    assert standing.charter.version == 3


def test_a_stopped_key_signs_no_receipts(tmp_path: Path) -> None:
    territory = Territory(tmp_path)
    keyid = territory.signers["zurich-2"].keyid
    territory.world.amend({"parties": {"acme": {"keys": {keyid: {"stops": 9}}}}})
    rules = check_site(territory.link, honest(territory))
    assert rules.signers["zurich-2"] == frozenset()
    with pytest.raises(SiteRefused, match=r"keys/intake\.key"):
        check_site(territory.link, honest(territory, "zurich-2"))
