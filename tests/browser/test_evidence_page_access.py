"""The evidence page for everybody: by keyboard, by screen reader, on a phone, in the dark, on paper."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from evidence_cases import held, honest, long_lived
from legibility import OVERFLOWING, TARGET_PIXELS, TEXTS, contrast, faint
from visit import Visit, page_of
from world import DAY, NOW, World


@pytest.fixture(params=["light", "dark"])
def visit(browser: Any, folder: Path, request: pytest.FixtureRequest) -> Iterator[Visit]:
    made = Visit(browser, folder, color_scheme=request.param)
    yield made
    made.context.close()


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


def on_hold() -> World:
    world = World()
    held(world)
    return world


@pytest.mark.parametrize(
    ("make", "at", "headline"),
    [(honest, NOW, "Verified"), (on_hold, NOW, "Mismatch"), (long_lived, NOW + 9 * DAY, "Undecided")],
)
def test_every_text_stands_out(visit: Visit, make: Any, at: int, headline: str) -> None:
    visit.open(page_of(make), at)
    assert len(visit.page.evaluate(TEXTS)) > 100
    assert faint(visit.page) == []
    assert visit.give() == headline
    assert faint(visit.page) == []


def test_states_are_told_by_word_and_by_sign(visit: Visit) -> None:
    """Nobody has to see a colour: each state has a word, and a sign of its own shape."""
    visit.open(page_of(on_hold), NOW + 9 * DAY)
    visit.give(b"another", name="another")
    signs = {}
    for item in visit.page.locator("[data-claim]").all():
        state = item.get_attribute("data-state")
        assert item.locator(".word").inner_text() == state
        signs[state] = item.locator("use").get_attribute("href")
    assert set(signs) == {"verified", "mismatch"}
    assert len(set(signs.values())) == len(signs)


def test_structure(visit: Visit) -> None:
    page = visit.open(page_of()).page
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map((heading) => +heading.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"
    for landmark in ("banner", "main", "contentinfo"):
        assert page.get_by_role(landmark).count() == 1
    ids = page.locator("[id]").evaluate_all("all => all.map((element) => element.id)")
    assert sorted(ids) == sorted(set(ids))
    unnamed = (
        "all => all.filter((field) => !field.labels?.length && !field.textContent.trim()).map((field) => field.id)"
    )
    assert page.locator("input, button, select, textarea").evaluate_all(unnamed) == []
    named = "all => all.every((section) => document.getElementById(section.getAttribute('aria-labelledby')))"
    assert page.locator("section").evaluate_all(named)
    assert page.locator("svg:not([aria-hidden=true])").count() == 0


def test_answer_is_announced(visit: Visit) -> None:
    page = visit.open(page_of()).page
    status = page.get_by_role("status")
    assert status.inner_text() == ""
    assert status.get_attribute("aria-live") == "polite"
    assert status.get_attribute("aria-atomic") == "true"
    visit.give()
    assert status.inner_text().startswith("Verified")


def test_everything_can_be_reached_by_keyboard(visit: Visit) -> None:
    page = visit.open(page_of()).page
    reached = []
    page.keyboard.press("Tab")
    while (name := page.evaluate("document.activeElement.id || document.activeElement.className")) != "":
        reached.append(name)
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", name
        page.keyboard.press("Tab")
    wanted = ["skip", "file", "own-charter", "own-evidence", "save-evidence", "save-charter"]
    assert [name for name in reached if name in wanted] == wanted
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "claims"


@pytest.mark.parametrize("width", [320, 360, 768, 1280, 1920])
def test_nothing_is_cut_off(visit: Visit, width: int) -> None:
    visit.page.set_viewport_size({"width": width, "height": 780})
    visit.open(page_of(long_lived))
    assert visit.page.evaluate(OVERFLOWING) == []
    visit.give()
    assert visit.page.evaluate(OVERFLOWING) == []
    visit.page.locator("summary").first.click()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_targets_are_large_enough_for_a_thumb(visit: Visit) -> None:
    visit.page.set_viewport_size({"width": 360, "height": 780})
    page = visit.open(page_of()).page
    for target in page.locator("input, button, summary").all():
        box = target.bounding_box()
        assert box is not None
        assert box["height"] >= TARGET_PIXELS


def test_paper(visit: Visit) -> None:
    page = visit.open(page_of()).page
    visit.give()
    page.emulate_media(media="print")
    for selector in ("#check", "#own", "#save", "details"):
        assert not page.locator(selector).first.is_visible()
    for selector in ("h1", "#pin", "#answer", "[data-claim=charter]", "#who", "#limits", "#again"):
        assert page.locator(selector).is_visible()
    assert faint(visit.page) == []
