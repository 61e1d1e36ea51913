"""A custodian as the charter names it: real nodes, a real ledger, and a site that cannot open anything alone."""

import os
import secrets
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.access import Access, Step
from glasshouse_verify.region import regions_of
from glasshouse_verify.statement import Use, make_statement
from initiative import Initiative, command, running, until

from glasshouse.cli.demo.stage import free_ports
from glasshouse.parties.node import open_node
from glasshouse.regions.custody import Refusal
from glasshouse.regions.custody_client import CustodyClient
from glasshouse.regions.custody_request import Item, Reason, access_commitment
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable
from glasshouse.regions.keys.opening import open_keys
from glasshouse.regions.seal import Opener, Sealer, new_handle
from glasshouse.regions.wrapping import Wrapper

pytestmark = pytest.mark.timeout(600)
SITE, GUARD = "geneva-1", "guard"
TERMS = """
[regions.au]
name = "Australia"
countries = ["AU"]
sites = ["geneva-1"]
replicas = 1
when_short = "refuse"
interval = 86400
custody = {mode = "dual", party = "council"}

[regions.au.categories]
suspicious = {kind = "file", retention = 31536000}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Initiative]:
    with running(tmp_path_factory.mktemp("custody")) as initiative:
        stage = initiative.stage
        site_port, peer_port, guard_port = free_ports(3)
        nodes: dict[str, tuple[str, ...]] = {
            SITE: (
                *("--party", "acme", "--name", "Acme Security", "--site", "geneva-1:CH:Geneva", "--role", "intake"),
                *("--region", "au", "--listen", f"127.0.0.1:{site_port}", "--peer-listen", f"127.0.0.1:{peer_port}"),
            ),
            GUARD: (
                *("--party", "council", "--name", "Council", "--site", "vienna-2:AT:Vienna", "--role", "custody"),
                *("--listen", f"127.0.0.1:{guard_port}"),
            ),
        }
        for name, words in nodes.items():
            command(stage.root, "init", stage.node(name), *words)
            (stage.node(name) / "charter.json").write_bytes(stage.pin.read_bytes())
        terms, patch = stage.root / "region.toml", stage.root / "region.json"
        terms.write_text(TERMS)
        cards = [stage.node(name) / "card.json" for name in nodes]
        initiative.run("acme", "charter", "region", terms, *cards, "--out", patch)
        initiative.amend_by(patch)
        stage.start(GUARD, "serve")
        yield initiative


@pytest.fixture
def client(live: Initiative) -> Iterator[CustodyClient]:
    rule = regions_of(live.charter)["au"].custody  # type: ignore[index]
    assert rule.url is not None
    signer = live.keys[f"{SITE}/intake"]
    with CustodyClient(rule.url, custodian="council", region="au", site=SITE, signer=signer) as opened:

        def answers() -> bool:
            try:
                opened.unwrap([Item(handle="00" * 32, blob=b"")], Reason(job="analysis"))  # type: ignore[arg-type]
            except CustodyUnavailable:
                live.stage.check_alive()
                return False
            except CustodyRefused as error:
                return error.reason == Refusal.WRAPPING
            return False

        until(answers)
        yield opened


def stored(live: Initiative, content: bytes) -> tuple[Wrapper, str, Any, bytes]:
    """An object as the site would store it: wrapper, handle, wrapping, sealed bytes."""
    key = regions_of(live.charter)["au"].custody.key  # type: ignore[index]
    wrapper, handle = Wrapper(open_keys(open_node(live.stage.node(SITE))), key), new_handle()
    sealer = Sealer(handle=handle, region="au", metadata={"category": "suspicious"})
    sealed = sealer.update(content) + sealer.finish()
    return wrapper, handle, wrapper.wrap(sealer.key, handle=handle, region="au"), sealed


def say(live: Initiative, by: str, party: str, step: Step, **members: Any) -> str:
    access = Access(party=party, region="au", step=step, time=int(time.time()), **members)  # type: ignore[arg-type]
    return live.post(make_statement(Use.ACCESS, access), by)


def counted(live: Initiative) -> dict[str, int]:
    path = live.stage.node(GUARD) / "data" / "custody.sqlite3"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        return dict(database.execute("select reason, items from unwrapped").fetchall())


def test_nobody_looks_without_a_grant(live: Initiative, client: CustodyClient) -> None:
    wrapper, handle, wrapping, sealed = stored(live, b"what a customer sent")
    item, nonce = Item(handle=handle, blob=wrapping.blob), secrets.token_bytes(32)  # type: ignore[arg-type]
    asked = say(
        live,
        f"{SITE}/intake",
        "acme",
        Step.REQUEST,
        site=SITE,
        about=access_commitment(handle, nonce),
        purpose="a false alarm that the customer reported",
    )
    for grant in (asked, "00" * 32):
        with pytest.raises(CustodyRefused) as refused:
            client.unwrap([item], Reason(grant=grant, nonce=nonce))  # type: ignore[arg-type]
        assert refused.value.reason == Refusal.NO_GRANT
    granted = say(
        live, f"{GUARD}/custody", "council", Step.GRANT, request=asked, uses=1, until=int(time.time()) + 3_600
    )
    reason = Reason(grant=granted, nonce=nonce)  # type: ignore[arg-type]
    (inner,) = client.unwrap([item], reason)
    data_key = wrapper.unwrap(wrapping, handle=handle, region="au", opened=inner)
    assert b"".join(Opener(data_key, handle=handle, region="au").open([sealed])) == b"what a customer sent"
    with pytest.raises(CustodyRefused) as refused:
        client.unwrap([item], reason)
    assert refused.value.reason == Refusal.USED_UP
    assert counted(live)[granted] == 1


def test_counts_outlive_a_killed_custodian(live: Initiative, client: CustodyClient) -> None:
    _, handle, wrapping, _ = stored(live, b"for a machine")
    item = Item(handle=handle, blob=wrapping.blob)  # type: ignore[arg-type]
    before = counted(live).get("repair", 0)
    client.unwrap([item], Reason(job="repair"))  # type: ignore[arg-type]
    process = live.stage.processes.pop(f"{GUARD}-serve")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    assert counted(live)["repair"] == before + 1
    live.stage.start(GUARD, "serve")

    def again() -> bool:
        try:
            return len(client.unwrap([item], Reason(job="repair"))) == 1  # type: ignore[arg-type]
        except CustodyUnavailable:
            live.stage.check_alive()
            return False

    until(again)
    assert counted(live)["repair"] == before + 2


def test_a_custodian_without_its_key_says_so(live: Initiative, tmp_path: Path) -> None:
    words = ("--party", "council", "--name", "Council", "--site", "vienna-3:AT:Vienna", "--role", "custody")
    command(tmp_path, "init", tmp_path / "other", *words, "--listen", "127.0.0.1:1")
    (tmp_path / "other" / "charter.json").write_bytes(live.stage.pin.read_bytes())
    (tmp_path / "other" / "keys" / "custody.x25519").unlink()
    done = live.stage.attempt("serve", "--node", tmp_path / "other")
    assert done.returncode == 1
    assert "has no custody.x25519" in done.stderr
