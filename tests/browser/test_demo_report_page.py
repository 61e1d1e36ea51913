"""The demo's report in a real browser: without scripts or requests, on a phone and a desktop, in the dark, on paper."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from demo_report import lay_out, played, record
from legibility import OVERFLOWING, TARGET_PIXELS, TEXTS, faint
from visit import Visit

from glasshouse.cli.demo.report import write_report


@pytest.fixture(params=["light", "dark"])
def visit(browser: Any, folder: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    made = Visit(browser, folder, color_scheme=request.param, java_script_enabled=False)
    cheats = (played(), played("stale", caught=False, exit=5), played("split-view", exit=None))
    made.page.goto(write_report(folder, record(*cheats), lay_out(folder)).as_uri())
    yield made
    made.context.close()


def test_it_asks_for_nothing(visit: Visit) -> None:
    assert [Path(url).name for url in visit.requests] == ["report.html"]
    assert visit.problems == []


def test_every_text_stands_out(visit: Visit) -> None:
    assert len(visit.page.evaluate(TEXTS)) > 100
    assert faint(visit.page) == []
    visit.page.emulate_media(media="print")
    assert faint(visit.page) == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 1920])
def test_nothing_is_cut_off(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 780})
    for summary in visit.page.locator("summary").all():
        summary.click()
    assert visit.page.evaluate(OVERFLOWING) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_targets_are_large_enough_for_a_thumb(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 780})
    for target in visit.page.locator("main a, summary").all():
        box = target.bounding_box()
        assert box is not None
        assert box["height"] >= TARGET_PIXELS


def test_structure(visit: Visit) -> None:
    page = visit.page
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map((heading) => +heading.tagName[1])")
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for landmark in ("banner", "main", "navigation", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    ids = page.locator("[id]").evaluate_all("all => all.map((element) => element.id)")
    assert sorted(ids) == sorted(set(ids))
    assert page.locator("svg:not([aria-hidden=true]):not([role=img])").count() == 0
    assert page.get_by_role("img", name="Which country's data lies at which sites").count() == 1


def test_states_are_told_by_word_and_by_sign(visit: Visit) -> None:
    signs = {}
    for item in visit.page.locator(".cheat").all():
        signs[item.locator(".word").inner_text()] = item.locator("use").get_attribute("href")
    assert signs == {"caught": "#is-verified", "NOT CAUGHT": "#is-mismatch"}


def test_paper(visit: Visit) -> None:
    visit.page.emulate_media(media="print")
    for selector in ("nav", ".ways"):
        assert not visit.page.locator(selector).first.is_visible()
    for selector in ("h1", ".claims", ".cheat", ".people", ".raw", "table", "#limits"):
        assert visit.page.locator(selector).first.is_visible()
