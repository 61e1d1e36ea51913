"""A site answers look-ups from a list only where the customer's gate lets it through."""

from hashlib import sha256
from pathlib import Path

import pytest
from glasshouse_verify.evidence import format_evidence
from world import NOW, PRODUCT, World

from glasshouse.cli.siting import released_list
from glasshouse.parties.errors import SettingsError

LIST = b"# FORMAT\n" + b"ba4e063472a2559b4baa82d5272304a1cdae6968145c5ef221295c90e88458e2;Dark Caracal\n"


def released(directory: Path, *, rebuilt: bool = True) -> tuple[Path, World]:
    """The list as a file of a release, with its evidence beside it."""
    world, path = World(), directory / "hash-iocs.txt"
    release = world.release(shipped=LIST, name=path.name)
    if rebuilt:
        for party in ("lab", "second"):
            world.rebuild(release, party)
        world.status()
    path.write_bytes(LIST)
    proof = directory / "hash-iocs.txt.evidence"
    proof.write_bytes(format_evidence(world.evidence(shipped=LIST)))
    return path, world


def test_a_released_list(tmp_path: Path) -> None:
    path, world = released(tmp_path)
    table = released_list(path, world.pin, NOW)
    assert len(table) == 1
    assert (table.source.product, table.source.sha256) == (PRODUCT, sha256(LIST).hexdigest())


@pytest.mark.parametrize("cheat", ["altered", "not rebuilt", "without evidence", "too old"])
def test_a_list_that_the_gate_holds_back(tmp_path: Path, cheat: str) -> None:
    path, world = released(tmp_path, rebuilt=cheat != "not rebuilt")
    if cheat == "altered":
        path.write_bytes(LIST + b"00" * 32 + b";a competitor's product\n")
    if cheat == "without evidence":
        (tmp_path / "hash-iocs.txt.evidence").unlink()
    with pytest.raises(SettingsError, match=r"intake\.indicators"):
        released_list(path, world.pin, NOW + (10**8 if cheat == "too old" else 0))
