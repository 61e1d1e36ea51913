"""D5 Bytes rotten or altered at rest.

Cheat: a disk lets bits rot or loses files, or somebody with access to one site's vault alters, swaps, cuts or deletes
    sealed objects there.
Noticed by: the site's own scrub, by the digests in the journal; whoever reads the object before that, since altered
    bytes do not open; the other sites, to whose replicas the scrub's finding goes.
Seen: the object is whole again, from the other site's copy; `damaged` stands in the site's journal at both sites. What
    is bad at every site is reported as lost, and neither copy is touched.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from keepers import events, keeper
from ledgers import until
from sites import Ground, Site, running_region

from glasshouse.regions.errors import SealBroken
from glasshouse.regions.keeping.scrub import Scrubbed, scrub
from glasshouse.regions.peers import PeerClient
from glasshouse.storage.db import Database

NOW = 1_900_000_000


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    with running_region(Ground(tmp_path_factory.mktemp("rot")), database, other_database) as sites:
        yield sites


def scrubbed(site: Site, *peers: Site) -> Scrubbed:
    rules = site.place.rules().rules
    with ExitStack() as stack:
        credentials = site.ground.credentials(site.name)
        clients = [stack.enter_context(closing(PeerClient(peer.name, rules, credentials))) for peer in peers]
        return scrub(site.place, clients, now=lambda: NOW)


def vault_of(site: Site) -> Path:
    return site.ground.directory / site.name / "vault"


def file_of(site: Site, handle: str) -> Path:
    return next(vault_of(site).rglob(handle))


def said(site: Site, of: str, handle: str) -> list[dict[str, object]]:
    return [json.loads(body) for _, name, body in events(site, of, "damaged") if name == handle]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def lose(path: Path) -> None:
    path.unlink()


def swap(path: Path) -> None:
    """Another object's sealed bytes under this one's name."""
    other = next(file for file in sorted(path.parent.parent.glob("*/*")) if file.name != path.name)
    path.write_bytes(other.read_bytes())


def test_control_a_scrub_of_sound_sites_finds_and_says_nothing(region: tuple[Site, Site]) -> None:
    one, other = region
    stored = [one.upload(b"sound %d" % number * 1_000) for number in range(3)]
    for site, peer in ((one, other), (other, one)):
        found = scrubbed(site, peer)
        assert (found.repaired, found.lost) == ([], [])
        assert found.read >= len(stored)
        assert [said(site, site.name, each.handle) for each in stored] == [[], [], []]


@pytest.mark.parametrize(
    ("harm", "found"), [(flip, "altered"), (cut, "altered"), (grow, "altered"), (swap, "altered"), (lose, "missing")]
)
@pytest.mark.parametrize("taker", [0, 1])
def test_attack_harm_at_one_site(
    region: tuple[Site, Site], harm: Callable[[Path], None], found: str, taker: int
) -> None:
    content = f"{harm.__name__} at {taker}".encode() * 50_000
    handle = region[taker].upload(content).handle
    one, other = region
    harm(file_of(one, handle))
    if found == "altered":
        with pytest.raises(SealBroken):
            one.content(handle)
    result = scrubbed(one, other)
    assert (result.repaired, result.lost) == ([handle], [])
    assert one.content(handle) == other.content(handle) == content
    until(lambda: keeper(one).step() is False)
    until(lambda: said(other, one.name, handle) == said(one, one.name, handle) != [], 60)
    assert said(other, one.name, handle) == [{"found": found, "from": other.name, "outcome": "repaired", "time": NOW}]
    assert scrubbed(one, other).repaired == []


def test_attack_harm_at_both_sites(region: tuple[Site, Site]) -> None:
    """No bad copy takes the place of another: both stay for whoever can make something of them."""
    one, other = region
    handle = one.upload(b"lost everywhere" * 1_000).handle
    flip(file_of(one, handle))
    cut(file_of(other, handle))
    left = [file_of(site, handle).read_bytes() for site in region]
    for _ in range(2):
        assert scrubbed(one, other).lost == [handle]
        until(lambda: keeper(one).step() is False)
    assert [file_of(site, handle).read_bytes() for site in region] == left
    assert said(one, one.name, handle) == [{"found": "altered", "outcome": "lost", "time": NOW}]
    # A good copy that turns up again repairs both.
    flip(file_of(one, handle))
    assert scrubbed(one, other).lost == []
    assert scrubbed(other, one).repaired == [handle]


def test_attack_harm_while_the_other_site_is_away(region: tuple[Site, Site]) -> None:
    one, other = region
    handle = one.upload(b"not to be had now" * 1_000).handle
    flip(file_of(one, handle))
    assert scrubbed(one).lost == [handle]
    assert scrubbed(one, other).repaired == [handle]
