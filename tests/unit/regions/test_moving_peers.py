"""What the peers' side of a site gives to whom while its region moves: accounts go to those that take over alone."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from customers import KEY
from moves import NEW, OLD, Move, moving

from glasshouse.regions.customers.moving import Follower, take_all
from glasshouse.regions.errors import NotSignedIn, PeerUnavailable
from glasshouse.regions.peers import PeerClient
from glasshouse.regions.placing import State
from glasshouse.storage.db import Database


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        yield found


def client_of(move: Move, site: str, peer: str) -> PeerClient:
    ground = move.ground
    return PeerClient(peer, move.sites[site].place.rules().region_rules, ground.credentials(site))


def test_a_token_of_the_old_site_opens_the_new_ones(move: Move) -> None:
    early = move.counters[OLD].accounts.enrol("kookaburra", "AU", KEY.public)
    move.open()
    followers = {
        name: Follower(
            move.sites[name].place.database,
            lambda name=name: client_of(move, name, OLD),  # type: ignore[misc]
            lambda name=name: move.sites[name].place.rules().state == State.TAKING,  # type: ignore[misc]
        )
        for name in NEW
    }
    for name in NEW:
        assert followers[name].step() == 1
    late = move.counters[OLD].accounts.enrol("kea", "AU")
    assert early is not None
    assert late is not None
    move.wait()
    move.fence()
    for name in NEW:
        with pytest.raises(NotSignedIn):
            move.counters[name].accounts.signed_in(late)
        assert (followers[name].step(), followers[name].step()) == (2, 0)
        assert move.counters[name].accounts.signed_in(late).id == "kea"
        assert move.counters[name].accounts.signed_in(early).public_key == KEY.public
    for name in NEW:
        # The old token and its limits count where it is sent next, at once.
        assert move.counters[name].send(b"with the old token", early).status_code in (200, 201)
        assert move.counters[name].ask("GET", "/intake/v1/policy", late).json()["country"] == "AU"


def test_accounts_go_to_those_that_take_over_alone(move: Move) -> None:
    move.counters[OLD].accounts.enrol("kookaburra", "AU")
    move.open()
    for asks, asked in ((NEW[0], NEW[1]), (OLD, NEW[0])):
        with closing(client_of(move, asks, asked)) as client, pytest.raises(PeerUnavailable, match="take over"):
            client.customers("")
    with closing(client_of(move, NEW[0], OLD)) as client:
        assert [account.id for account in client.customers("").customers] == ["kookaburra"]
        assert client.customers("kookaburra").customers == ()
    move.wait()
    move.fence()
    move.ground.close()
    old = move.ground.standings[OLD].rules()
    assert old.moving is None
    with closing(client_of_charter(move, NEW[0])) as client, pytest.raises(PeerUnavailable):
        take_all(move.sites[NEW[0]].place.database, client)


def client_of_charter(move: Move, site: str) -> PeerClient:
    """As a site that remembers the address of the one that was left."""
    return PeerClient(OLD, move.ground.everywhere(), move.ground.credentials(site))
