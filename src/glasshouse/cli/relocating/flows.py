"""A picture of a move: the old site on the left, the new ones on the right, and what is where. Inline SVG."""

from glasshouse.cli.relocating.tale import Place, Tale
from glasshouse.supervision.markup import Markup, lines, tag

_WIDTH, _BOX, _HEIGHT, _STEP, _EDGE = 430, 158, 66, 84, 2


def picture(tale: Tale) -> Markup:
    """The flows, described in words for whoever does not see them."""
    height = _STEP * len(tale.new)
    middle = height // 2
    places = [(place, _STEP * number + _STEP // 2) for number, place in enumerate(tale.new)]
    emptied = tale.old.objects == 0
    drawn = tag(
        "svg",
        tag("title", "From which site to which the data moves", id="flows-title"),
        tag("desc", words(tale), id="flows-words"),
        lines(*(_arrow(middle, there) for _, there in places)),
        _box(0, middle, tale.old, "empty" if emptied else "from"),
        lines(*(_box(_WIDTH - _BOX, there, place, "at") for place, there in places)),
        class_="flows",
        viewBox=f"-{_EDGE} -{_EDGE} {_WIDTH + 2 * _EDGE} {height + 2 * _EDGE}",
        role="img",
        aria_labelledby="flows-title flows-words",
    )
    return tag("figure", drawn, tag("figcaption", words(tale), class_="small"), class_="card")


def words(tale: Tale) -> str:
    """The picture in words."""
    return " ".join(f"{place.name} ({place.jurisdiction}): {held(place)}." for place in (tale.old, *tale.new))


def held(place: Place) -> str:
    """What is at a site, in words."""
    if place.objects is None:
        return "nobody has said yet what is there"
    return "empty" if place.objects == 0 else f"{place.objects:,} objects"


def _arrow(left: int, right: int) -> Markup:
    start, end = _BOX + 4, _WIDTH - _BOX - 12
    half = (start + end) // 2
    path = f"M{start} {left}C{half} {left} {half} {right} {end} {right}"
    head = f"M{end - 1} {right - 6}l11 6-11 6z"
    return tag("g", tag("path", d=path, class_="way"), tag("path", d=head, class_="head"))


def _box(x: int, middle: int, place: Place, kind: str) -> Markup:
    top = middle - _HEIGHT // 2
    return tag(
        "g",
        tag("rect", x=str(x), y=str(top), width=str(_BOX), height=str(_HEIGHT), rx="9"),
        tag("text", f"{place.site}, {place.jurisdiction}", x=str(x + 13), y=str(top + 28), class_="name"),
        tag("text", held(place) if place.objects is not None else "…", x=str(x + 13), y=str(top + 49)),
        class_=kind,
    )
