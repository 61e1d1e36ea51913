"""A person's visit to an evidence page in a real browser."""

import functools
from pathlib import Path
from typing import Any

from evidence_cases import honest
from glasshouse_verify.evidence import format_evidence
from world import FILE, NOW, SHIPPED, World

from glasshouse.cli.page.writing import write_page


@functools.cache
def page_of(make: Any = honest) -> bytes:
    """The page of a world's file, written at NOW."""
    world: World = make()
    return write_page(format_evidence(world.evidence()), world.pin, NOW, f"{FILE}.evidence").html


class Visit:
    """One person's visit: a page open in a browser, and everything that it asked the network for."""

    def __init__(self, browser: Any, folder: Path, **context: Any) -> None:
        self.folder = folder
        self.context = browser.new_context(**context)
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text))

    def open(self, html: bytes, at: int = NOW) -> "Visit":
        (self.folder / "page.html").write_bytes(html)
        self.page.clock.set_fixed_time(at)
        self.page.goto((self.folder / "page.html").as_uri())
        return self

    def give(self, content: bytes = SHIPPED, field: str = "#file", name: str = FILE) -> str:
        """Choose a file and wait for the answer; returns its headline."""
        place = self.folder / name
        place.write_bytes(content)
        before = self.page.locator("#answer .answer").element_handles()
        self.page.set_input_files(field, place)
        if before:
            before[0].wait_for_element_state("hidden")
        return self.headline()

    def headline(self) -> str:
        answer = self.page.locator("#answer .word").filter(has_not_text="Checking")
        answer.wait_for()
        return str(answer.inner_text())

    def states(self) -> list[str]:
        return [str(item.get_attribute("data-state")) for item in self.page.locator("[data-claim]").all()]

    def text(self, selector: str) -> str:
        return " ".join(self.page.locator(selector).inner_text().split())
