"""D2 Site configuration against the charter.

Cheat: a site's operator runs it as something else than the charter says: another site, country, region or party,
    another address, certificate or key, or custody by the site alone where the charter asks for a second party; or the
    members never agreed on rules that hold.
Noticed by: the site itself, before it answers anybody; customers' clients and peers, who go by the charter.
Seen: glasshouse serve ends with 1 and one sentence: the member that contradicts, and how to mend it.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from customers import Territory, honest
from sites import REGION
from territories import Nodes, running

from glasshouse.regions.errors import SiteRefused
from glasshouse.regions.site import check_site

LIES: dict[str, dict[str, Any]] = {
    "site.id": {"site": "zurich-3"},
    "site.jurisdiction": {"jurisdiction": "RU"},
    "intake.region": {"region": "eu-2"},
    "party": {"party": "lab"},
    "serve.url": {"url": "http://127.0.0.1:1"},
    "intake.peer": {"peer": "https://127.0.0.1:1"},
    "keys/peer.pem": {"certificate": b"another"},
    "intake.custody": {"custody": "site"},
    "keys/intake.key": {"keyids": ("0" * 64,)},
}
# What an operator writes into node.toml instead of what `glasshouse init` wrote.
EDITS = {
    "site.jurisdiction": ('jurisdiction = "CH"', 'jurisdiction = "RU"'),
    "intake.region": ('region = "au"', 'region = "eu"'),
    "intake.custody": ('region = "au"', 'region = "au"\ncustody = "site"'),
}


@pytest.fixture(scope="module")
def territory(tmp_path_factory: pytest.TempPathFactory) -> Territory:
    return Territory(tmp_path_factory.mktemp("territory"))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running(tmp_path_factory.mktemp("nodes"), sites=()) as found:
        yield found


def test_control_configured_as_the_charter_says(territory: Territory) -> None:
    for name in ("zurich-1", "zurich-2"):
        assert check_site(territory.link, honest(territory, name)).site == name


@pytest.mark.parametrize("member", LIES)
def test_attack_another_member(territory: Territory, member: str) -> None:
    with pytest.raises(SiteRefused) as caught:
        check_site(territory.link, replace(honest(territory), **LIES[member]))
    assert caught.value.field == member
    assert "does not serve" in str(caught.value)
    assert caught.value.fix


def test_attack_the_other_sites_identity(territory: Territory) -> None:
    """zurich-2's id with zurich-1's address, certificate and key."""
    with pytest.raises(SiteRefused, match=r"serve\.url"):
        check_site(territory.link, replace(honest(territory), site="zurich-2"))


@pytest.mark.parametrize(
    "patch",
    [
        {"replicas": 9},
        {"countries": ["AU", "DE"]},
        {"custody": {"party": "acme"}},
        {"stranger": 1},
    ],
    ids=["more copies than sites", "a country in two regions", "the vendor guards its own keys", "unknown member"],
)
def test_attack_rules_that_do_not_hold(tmp_path: Path, patch: dict[str, Any]) -> None:
    """The chain of charters carries them unread; no site serves under them."""
    territory = Territory(tmp_path)
    configured = honest(territory)
    territory.world.amend({"regions": {REGION: patch}})
    assert territory.link.charter.version == 2
    with pytest.raises(SiteRefused, match=r"charter\.regions"):
        check_site(territory.link, configured)


@pytest.mark.parametrize("member", EDITS)
def test_attack_a_node_that_says_something_else(nodes: Nodes, member: str) -> None:
    place = nodes.stage.node("zurich-1")
    settings, (before, after) = (place / "node.toml").read_text(), EDITS[member]
    assert before in settings
    (place / "node.toml").write_text(settings.replace(before, after))
    try:
        done = nodes.stage.attempt("serve", cwd=place)
    finally:
        (place / "node.toml").write_text(settings)
    assert done.returncode == 1
    assert f"this site does not serve: {member}: " in done.stderr


def test_control_the_node_as_it_was_made(nodes: Nodes) -> None:
    nodes.serve("zurich-1")
    nodes.stage.stop("zurich-1", "serve")
