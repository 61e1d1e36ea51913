"""A picture of which country's data lies at which sites, as the receipts of a run say: inline SVG, without styles of
its own, described in words for whoever does not see it."""

from collections.abc import Sequence

from glasshouse.cli.demo.record import Placed
from glasshouse.supervision.markup import Markup, lines, tag

_WIDTH, _BOX, _HEIGHT, _STEP = 360, 118, 34, 50
_TEXT_X, _TEXT_Y = 12, 22


def picture(placed: Sequence[Placed]) -> Markup:
    """Countries on the left, sites on the right, a line for each country whose data a site has acknowledged."""
    countries = list(dict.fromkeys(one.country for one in placed))
    sites = list(dict.fromkeys((one.site, one.jurisdiction) for one in placed))
    height = _STEP * max(len(countries), len(sites))
    left = {country: _middle(number, len(countries), height) for number, country in enumerate(countries)}
    right = {site: _middle(number, len(sites), height) for number, (site, _) in enumerate(sites)}
    drawn = tag(
        "svg",
        tag("title", "Which country's data lies at which sites", id="map-title"),
        tag("desc", " ".join(_words(placed)), id="map-words"),
        lines(*(_line(left[one.country], right[one.site]) for one in dict.fromkeys(placed))),
        lines(*(_box(0, middle, f"data of {country}", "from") for country, middle in left.items())),
        lines(*(_box(_WIDTH - _BOX, right[site], f"{site}, {country}", "at") for site, country in sites)),
        class_="map",
        viewBox=f"-1 -1 {_WIDTH + 2} {height + 2}",
        role="img",
        aria_labelledby="map-title map-words",
    )
    caption = "A line for each site that has signed a receipt for a country's data. In words: " + " ".join(
        _words(placed)
    )
    return tag("figure", drawn, tag("figcaption", caption, class_="small"), class_="card")


def _words(placed: Sequence[Placed]) -> list[str]:
    found: dict[str, list[str]] = {}
    for one in dict.fromkeys(placed):
        found.setdefault(one.country, []).append(f"{one.site} ({one.jurisdiction})")
    return [f"{country}: {' and '.join(sites)}." for country, sites in found.items()]


def _middle(number: int, count: int, height: int) -> int:
    return round(height * (2 * number + 1) / (2 * count))


def _line(left: int, right: int) -> Markup:
    return tag("line", x1=str(_BOX), y1=str(left), x2=str(_WIDTH - _BOX), y2=str(right))


def _box(x: int, middle: int, text: str, kind: str) -> Markup:
    top = middle - _HEIGHT // 2
    box = tag("rect", x=str(x), y=str(top), width=str(_BOX), height=str(_HEIGHT), rx="6")
    return tag("g", box, tag("text", text, x=str(x + _TEXT_X), y=str(top + _TEXT_Y)), class_=kind)
