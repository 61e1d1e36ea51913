"""D4 Acknowledged but held at one site only.

Cheat: a site answers before its peer has the object, alone or with a signature of its own making; the peer signs and
    keeps nothing; the network between them is cut.
Noticed by: the customer, who counts the sites that signed; the site itself, which checks what its peer signs; auditors,
    who compare the sites' inventories.
Seen: glasshouse receipt check ends with 4; no receipt at all; finding inventory-sites, and evidence from the site that
    lacks the row never ends with 0.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cheating_sites import Cheat, Draft
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.dsse import Envelope, format_envelope
from glasshouse_verify.report import Outcome
from ledgers import until
from onlookers import alarms
from region_world import receipt_of, says
from sites import Site, signing_sites
from surveyed import Pair, surveyed

from glasshouse.parties.signer import FileSigner, add_signature
from glasshouse.regions.errors import PeerUnavailable, Short
from glasshouse.regions.peers import PeerClient
from glasshouse.storage.db import Database


@pytest.fixture
def pair(database: Database, other_database: Database, tmp_path: Path) -> Iterator[Pair]:
    with surveyed(tmp_path, database, other_database) as found:
        found.upload(b"another customer's", customer="wombat")
        found.close()
        yield found


def goes_it_alone(site: Site) -> None:
    """The site answers as if the charter asked for one site only."""
    honest = site.place.rules()
    object.__setattr__(site.place, "rules", lambda: replace(honest, rules=replace(honest.rules, replicas=1)))


def judge(pair: Pair, mine: Envelope) -> tuple[Outcome, str]:
    answer = pair.world.check(mine, pair.evidence(mine))
    return answer.outcome, says(answer)["receipt"]


def test_attack_a_site_answers_alone(pair: Pair) -> None:
    goes_it_alone(pair.sites[0])
    mine = pair.upload(b"mine")
    assert signing_sites(pair.sites[0].ground, format_envelope(mine)) == {"zurich-1"}
    pair.close()
    alone = "the receipt is signed by 1 of the 2 sites that the charter asks for"
    assert judge(pair, mine) == (Outcome.NOT_AUTHORISED, alone)
    helped = add_signature(mine, FileSigner(Ed25519PrivateKey.generate()))
    assert judge(pair, helped) == (Outcome.NOT_AUTHORISED, alone)


def test_attack_the_peer_signs_by_a_key_that_is_nobodys(pair: Pair) -> None:
    peer = pair.sites[1].place
    honest = peer.signer
    object.__setattr__(peer, "signer", FileSigner(Ed25519PrivateKey.generate()))
    with pytest.raises(Short, match="a key that the charter does not name"):
        pair.upload(b"mine")
    object.__setattr__(peer, "signer", honest)
    until(lambda: pair.sites[0].intake.replication.able)
    assert len(pair.upload(b"mine").signatures) == 2


def test_attack_the_peer_signs_and_keeps_nothing(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    cheat = Cheat(pair)

    def forget(draft: Draft) -> None:
        draft.forget(receipt_of(mine).handle)
        draft.count(received=-1, stored=-1, pending=-1, held=-1)

    cheat.close(forget, sites=(1,))
    assert "zurich-2 and zurich-1 disagree about held" in alarms(pair.world)["inventory-sites"][0]


def test_attack_the_connection_is_cut(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise PeerUnavailable("the network is cut")

    monkeypatch.setattr(PeerClient, "push", cut)
    with pytest.raises(Short, match="the network is cut"):
        pair.upload(b"mine")
    monkeypatch.undo()
    until(lambda: pair.sites[0].intake.replication.able)
    mine = pair.upload(b"mine")
    pair.close()
    assert judge(pair, mine)[0] == Outcome.VERIFIED


def test_control_both_sites_have_it_before_the_answer(pair: Pair) -> None:
    mine = pair.upload(b"mine")
    handle = receipt_of(mine).handle
    assert [site.content(handle) for site in pair.sites] == [b"mine", b"mine"]
    pair.close()
    assert judge(pair, mine)[0] == Outcome.VERIFIED
