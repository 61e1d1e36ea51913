"""The peer interface: who may speak there, and what it takes."""

import http.client
import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from sites import Ground, Site, running_region

from glasshouse.parties.certificates import create_peer
from glasshouse.regions.batch import Batch, Item, format_batch, parse_batch
from glasshouse.regions.errors import InvalidInput, PeerUnavailable
from glasshouse.regions.journal import START, Event, Kind
from glasshouse.regions.peers import Credentials, PeerClient, client_context
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ObjectMissing


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    with running_region(Ground(tmp_path_factory.mktemp("peers")), database, other_database) as sites:
        yield sites


@pytest.fixture
def client(region: tuple[Site, Site]) -> Iterator[PeerClient]:
    """As the first site speaks to the second."""
    opened = PeerClient("zurich-2", region[0].place.rules().rules, region[0].ground.credentials("zurich-1"))
    yield opened
    opened.close()


def test_sites_know_each_other(region: tuple[Site, Site], client: PeerClient) -> None:
    state = client.state()
    assert (state.region, state.site, set(state.journals)) == ("au", "zurich-2", {"zurich-1", "zurich-2"})


def test_a_client_without_certificate_or_with_a_strangers_is_turned_away(
    region: tuple[Site, Site], tmp_path: Path
) -> None:
    ground = region[0].ground
    create_peer(tmp_path, "stranger", "https://127.0.0.1:1", 1_700_000_000)
    stranger = Credentials(certificate=tmp_path / "peer.pem", key=tmp_path / "peer.key")
    with_theirs = client_context(stranger, ground.certificates["zurich-2"])
    without = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    without.check_hostname = False
    without.load_verify_locations(cadata=ground.certificates["zurich-2"])
    for context in (with_theirs, without):
        connection = http.client.HTTPSConnection("127.0.0.1", ground.ports["zurich-2"], context=context, timeout=10)
        # The alert comes as one of several errors, by the moment it arrives.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(connection)
        connection.close()


def ask(connection: http.client.HTTPSConnection) -> int:
    connection.request("GET", "/peer/v1/state")
    return connection.getresponse().status


def test_a_server_with_another_certificate_is_not_spoken_to(region: tuple[Site, Site]) -> None:
    ground = region[0].ground
    rules = region[0].place.rules().rules
    address = f"https://127.0.0.1:{ground.ports['zurich-1']}"
    sites = {**rules.sites, "zurich-2": replace(rules.sites["zurich-2"], peer=address)}  # type: ignore[index]
    client = PeerClient("zurich-2", replace(rules, sites=sites), ground.credentials("zurich-2"))
    with pytest.raises(PeerUnavailable):
        client.state()


def batch(**changes: object) -> Batch:
    event = Event.make("zurich-1", 1, Kind.COUNTERS, None, None, {"received": 0, "refused": 0})
    usual = Batch(region="au", site="zurich-1", after=0, chain=START, keyid=bytes(32), items=(Item(event=event),))
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_a_site_hands_over_its_own_journal_only(region: tuple[Site, Site], client: PeerClient) -> None:
    foreign = Event.make("zurich-2", 1, Kind.COUNTERS, None, None, {"received": 0, "refused": 0})
    with pytest.raises(PeerUnavailable, match="zurich-1 sends the journal of zurich-2"):
        client.push(batch(site="zurich-2", items=(Item(event=foreign),)))
    with pytest.raises(InvalidInput, match="no peer of this site"):
        region[1].intake.replicas.take(batch(region="eu"))


def test_an_object_is_what_it_is_declared_to_be(region: tuple[Site, Site], client: PeerClient) -> None:
    handle = os.urandom(32).hex()
    with pytest.raises(PeerUnavailable, match="not the object declared"):
        client.put(handle, [b"sealed"], 6, "0" * 64)
    with pytest.raises(ObjectMissing):
        client.get(handle)
    with pytest.raises(PeerUnavailable, match="404"):
        client.put("..%2F..%2Fescape", [b"sealed"], 6, "0" * 64)
    assert list(region[1].place.vault.spool.iterdir()) == []


def test_an_object_that_is_held_is_never_written_over(region: tuple[Site, Site], client: PeerClient) -> None:
    handle = region[1].upload(os.urandom(100)).handle
    before = b"".join(region[1].place.vault.stream(handle))
    with pytest.raises(PeerUnavailable, match="is known here"):
        client.put(handle, [b"sealed"], 6, "0" * 64)
    assert b"".join(client.get(handle)) == before


def test_a_batch_comes_back_as_it_was() -> None:
    sent = batch()
    assert parse_batch(b"".join(format_batch(sent))) == sent


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"events": [{}]}, "batch.events.event"),
        ({"events": [{"event": '{"kind":"epoch"}'}]}, "event.site"),
        ({"events": [{"event": '{"kind":"epoch", "position":1,"site":"zurich-1"}'}]}, "event"),
        ({"events": [{"event": '{"kind":"epoch","position":2,"site":"zurich-1"}'}]}, "batch.events"),
        ({"events": [{"event": '{"kind":"epoch","position":1,"site":"zurich-2"}'}]}, "batch.events"),
        ({"events": [{"event": '{"kind":"stored","position":1,"site":"zurich-1"}'}]}, "batch.events"),
        ({"events": [{"event": '{"kind":"epoch","position":1,"site":"zurich-1"}', "rides": 9}]}, "batch.events.rides"),
        ({"more": 1}, "batch.more"),
    ],
)
def test_a_batch_that_breaks_its_format_is_refused(change: object, field: str) -> None:
    data = b"".join(format_batch(batch()))
    head = json.loads(data[4:])
    head |= change
    text = format_json(encode(head))
    with pytest.raises(FormatError) as caught:
        parse_batch(len(text).to_bytes(4, "big") + text)
    assert caught.value.field == field
