"""The table of indicators: the released list's format, and look-ups against a plain dictionary."""

from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.reputation import Indicators, ListSource, load_list, read_list

LIST = """#
# FORMAT
# SHA256;COMMENT

ba4e063472a2559b4baa82d5272304a1cdae6968145c5ef221295c90e88458e2;Dark Caracal - PE32 executable (DLL) (GUI)
0c2674c3a97c53082187d930efb645c2;DEEP PANDA Sakula Malware - http://goo.gl/R3e6eG
C03318CB12B827C03D556C8747B1E323225DF97BDC4258C2756B0D6A4FD52B47;Operation SMN ; Zxshell
ba4e063472a2559b4baa82d5272304a1cdae6968145c5ef221295c90e88458e2;named twice
f2178146741f91923c7d3e2442bd08605ed5a0927736e8cfdea00c055b2c6284;
"""
SOURCE = ListSource(sha256="0" * 64, product="acme/signature-base", version="1")


def test_a_released_list(tmp_path: Path) -> None:
    path = tmp_path / "hash-iocs.txt"
    path.write_text(LIST)
    table = load_list(path, "acme/signature-base", "2026.11")
    assert len(table) == 3
    assert (table.source.product, table.source.version) == ("acme/signature-base", "2026.11")
    assert table.source.sha256 == sha256(LIST.encode()).hexdigest()
    dark, smn = LIST.splitlines()[4][:64], LIST.splitlines()[6][:64].lower()
    assert table.find(dark) == "Dark Caracal - PE32 executable (DLL) (GUI)"
    assert table.find(smn) == "Operation SMN ; Zxshell"
    assert table.find_all([dark, "0" * 64, smn, "f" * 64]) == {dark: table.find(dark), smn: table.find(smn)}
    assert table.find("f2178146741f91923c7d3e2442bd08605ed5a0927736e8cfdea00c055b2c6284") == ""


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 32, "0" * 63 + "\n"])
def test_only_sha256_is_looked_up(digest: str) -> None:
    with pytest.raises(InvalidInput, match="64 lowercase hex digits"):
        Indicators({}, SOURCE).find(digest)


@pytest.mark.parametrize("line", ["hello", "00ff;too short", "0" * 64, "0" * 64 + ",no semicolon"])
def test_a_line_that_is_no_entry(line: str) -> None:
    with pytest.raises(InvalidInput, match="line 3"):
        read_list(["# a list", "", line])


def test_digests_that_begin_alike() -> None:
    alike = [bytes(31) + bytes([last]) for last in range(0, 200, 2)]
    table = Indicators({digest: digest.hex() for digest in alike}, SOURCE)
    for last in range(200):
        digest = bytes(31) + bytes([last])
        assert table.find(digest.hex()) == (digest.hex() if last % 2 == 0 else None)


@given(st.dictionaries(st.binary(min_size=32, max_size=32), st.text(max_size=20), max_size=40), st.data())
def test_the_table_against_a_dictionary(entries: dict[bytes, str], data: st.DataObject) -> None:
    table = Indicators(entries, SOURCE)
    for digest, comment in entries.items():
        assert table.find(digest.hex()) == comment
    other = data.draw(st.binary(min_size=32, max_size=32))
    assert table.find(other.hex()) == entries.get(other)
