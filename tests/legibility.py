"""Whether a page in a real browser can be read by everybody: contrast, and nothing beyond the edge."""

import re
from typing import Any

NORMAL, LARGE = 4.5, 3.0
TARGET_PIXELS = 44

# Every text that can be seen, with its colour, the colour behind it, its size and its weight.
TEXTS = """() => {
    const seen = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest(".skip")) continue;
        let behind = element;
        while (/, 0\\)$|transparent/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
        const { color, fontSize, fontWeight } = getComputedStyle(element);
        const ground = getComputedStyle(behind).backgroundColor;
        const text = walker.currentNode.textContent.trim().slice(0, 40);
        seen.push([text, color, ground, parseFloat(fontSize), +fontWeight]);
    }
    return seen;
}"""

# What lies beyond the right edge, although the page cannot be scrolled there.
OVERFLOWING = """() => [...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility() && !element.closest(".skip, .symbols"))
    .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map((element) => element.tagName + "." + element.className)"""


def luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour: str, ground: str) -> float:
    """WCAG 2.2, 1.4.3."""
    lighter, darker = sorted((luminance(colour), luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def faint(page: Any) -> list[tuple[str, float]]:
    """Each text whose contrast is below what WCAG 2.2 asks at level AA, with its ratio."""
    found = []
    for text, colour, ground, size, weight in page.evaluate(TEXTS):
        needed = LARGE if size >= 24 or (size >= 18.66 and weight >= 700) else NORMAL
        if (ratio := contrast(colour, ground)) < needed:
            found.append((text, round(ratio, 2)))
    return found
