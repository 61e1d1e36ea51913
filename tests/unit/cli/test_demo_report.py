"""The demo's report: what stands in it, where it leads, and that nothing in the record can become markup."""

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest
from demo_report import LONG, lay_out, played, record
from world import FILE, SHIPPED

from glasshouse.cli.demo.record import Record, Told
from glasshouse.cli.demo.report import Ground, write_report


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return lay_out(tmp_path)


def text_of(page: Path) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", page.read_text().partition("<body>")[2])).split())


def test_it_says_what_was_proven_and_by_whom(tmp_path: Path, ground: Ground) -> None:
    text = text_of(write_report(tmp_path, record(played()), ground))
    assert "1 file verified, 1 of 1 cheat caught" in text
    assert f"{FILE} verified" in text
    assert sha256(SHIPPED).hexdigest() in text.replace(" ", "")
    assert "by Lab, Second" in text
    assert "not checked yet" in text
    assert "the conveyor" in text
    assert "It moved" in text


def test_it_shows_each_cheat_with_what_was_seen(tmp_path: Path, ground: Ground) -> None:
    cheats = (played(), played("split-view", exit=None, seen="answers 422"), played("stale", exit=5, caught=False))
    text = text_of(write_report(tmp_path, record(*cheats), ground))
    assert "2 of 3 cheats caught" in text
    for words in (
        "exit 3 mismatch the file in hand",
        "answers 422",
        "exit 5 undecided",
        "NOT CAUGHT",
        "by Lab, customer",
    ):
        assert words.removeprefix("by ") in text


def test_it_names_parties_places_ledger_and_times(tmp_path: Path, ground: Ground) -> None:
    text = text_of(write_report(tmp_path, record(played()), ground))
    charter, checkpoint = ground.charter, ground.cosigned.checkpoint
    for party in charter.parties.values():
        assert party.name in text
    for site in charter.sites.values():
        assert f"{site.name}, {site.jurisdiction}" in text
    assert f"Entries{checkpoint.size}" in text.replace(" ", "")
    assert checkpoint.root.hex() in text.replace(" ", "")
    assert charter.ledger.origin in text
    assert "100.0 s" in text
    assert "60.5 s" in text


def test_its_links_lead_to_what_lies_in_the_stage(tmp_path: Path, ground: Ground) -> None:
    page = write_report(tmp_path, record(played()), ground).read_text()
    links = {unquote(link) for link in re.findall(r'href="([^#"][^"]*)"', page)}
    names = (f"evidence/{FILE}.html", f"evidence/{FILE}.evidence", f"downloads/{FILE}", f"downloads/{FILE}.sig")
    assert links == {*names, f"downloads/{LONG}"}
    assert all((tmp_path / link).exists() for link in links)
    ids = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= ids


def test_it_asks_for_nothing_and_runs_nothing(tmp_path: Path, ground: Ground) -> None:
    page = write_report(tmp_path, record(played()), ground).read_text()
    assert re.findall(r"<(?:script|link|img|iframe|object|embed|base|form)\b", page) == []
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    allowed = b64encode(sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'" in page
    assert "style=" not in page
    assert "url(" not in style
    assert re.findall(r'(?:src|href)="\w+:', page) == []


def test_nothing_in_the_record_becomes_markup(tmp_path: Path, ground: Ground) -> None:
    bad = "<img src=x onerror=alert(1)>"
    cheat = replace(played(seen=bad), title=bad, row=bad)
    assert "<img" not in write_report(tmp_path, record(cheat), ground).read_text()


def test_a_run_with_nothing_but_the_charter(tmp_path: Path, ground: Ground) -> None:
    for place in (tmp_path / "downloads").iterdir():
        place.unlink()
    told = Told(name="charter", title="t", began=1, seconds=0.0)
    text = text_of(write_report(tmp_path, Record(told={"charter": told}), ground))
    assert "the charter of" in text
    assert "cheats caught" not in text
    assert "What was proven" not in text


def test_it_shows_which_data_lies_where_also_in_words(tmp_path: Path, ground: Ground) -> None:
    page = write_report(tmp_path, record(), ground)
    assert "In words: AU: zurich-1 (CH) and zurich-2 (CH). JP: moscow (RU)." in text_of(page)
    assert page.read_text().count("<line ") == 3
