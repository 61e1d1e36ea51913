"""The report of a move in a real browser: without scripts or requests, on a phone and a desktop, in the dark."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from legibility import OVERFLOWING, TEXTS, faint
from tales import tale
from visit import Visit

from glasshouse.cli.relocating.page import page


@pytest.fixture(params=["light", "dark"])
def visit(browser: Any, folder: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    made = Visit(browser, folder, color_scheme=request.param, java_script_enabled=False)
    place = folder / "report.html"
    place.write_bytes(page(tale(refused=True, alarmed=True), ledger="http://127.0.0.1:8471"))
    made.page.goto(place.as_uri())
    yield made
    made.context.close()


def test_it_asks_for_nothing(visit: Visit) -> None:
    assert [Path(url).name for url in visit.requests] == ["report.html"]
    assert visit.problems == []


def test_every_text_stands_out(visit: Visit) -> None:
    assert len(visit.page.evaluate(TEXTS)) > 40
    assert faint(visit.page) == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 780})
    assert visit.page.evaluate(OVERFLOWING) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_picture_has_words(visit: Visit) -> None:
    assert "Moscow (RU): empty" in str(visit.page.locator("svg desc").text_content())
    assert visit.page.get_by_role("main").get_by_role("list").first.get_by_role("listitem").count() == 18
