"""A mismatch as one HTML file: the first difference, the likely causes in words, every place, and diffoscope's report.

The page holds no script and asks for nothing: its Content-Security-Policy allows its own style sheet alone. Whatever
stood in the two files is text in it, escaped, with control characters made visible; it is bounded in length, whatever
the files hold.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib.resources import files
from pathlib import Path

from glasshouse.supervision.compare import Aspect, Comparison, Difference
from glasshouse.supervision.diffoscope import DiffoscopeReport
from glasshouse.supervision.explain import Finding, find_causes, place_of, plain, told, words_of
from glasshouse.supervision.markup import Markup, join, tag

MAX_PAGE_BYTES = 2 << 20
_MAX_PLACES_BYTES = 600_000
_MAX_REPORT_BYTES = 1_000_000
_SHOWN_CHARACTERS = 400
_LIMIT = (
    "An explanation is no verdict: whatever the cause, the bytes differ. A cause named here is what such traces"
    " usually mean, and no proof that nothing else was changed."
)
_STYLE = files("glasshouse.supervision").joinpath("difference.css")
# In diffoscope's text, the line of a diff begins behind bars that show how deep it lies.
_CHANGED = re.compile(r"^[ │├─┄┊╵]*([+-])(?!-- |\+\+ )")


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The two files that were compared."""

    shipped: Path
    rebuilt: Path


def difference_page(sides: Sides, comparison: Comparison, report: DiffoscopeReport) -> bytes:
    """The page of a comparison, at most `MAX_PAGE_BYTES` long. `Unreadable` files were found so by `compare`."""
    style = _STYLE.read_text()
    name = plain(sides.shipped.name)
    title = f"{name}: " + ("identical" if comparison.identical else "shipped and rebuilt differ")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("main", *_sections(title, sides, comparison, report))
    html = join(Markup("<!doctype html>\n"), Markup('<html lang="en">'), tag("head", head), tag("body", body))
    return (html + "</html>\n").encode()


def _sections(title: str, sides: Sides, comparison: Comparison, report: DiffoscopeReport) -> Iterator[Markup]:
    yield tag("p", "Glasshouse", class_="brand")
    yield tag("h1", title)
    yield _table(("", "bytes", "SHA-256"), (_side("shipped", sides.shipped), _side("rebuilt", sides.rebuilt)))
    if comparison.identical:
        return
    yield tag("h2", "The first difference")
    yield tag("p", told(comparison.differences[0]), class_="first")
    yield tag("h2", "What usually causes this")
    yield tag("ul", *map(_cause, find_causes(comparison)))
    yield tag("p", _LIMIT, class_="soft")
    yield tag("h2", "Where they differ")
    yield from _places(comparison)
    yield tag("h2", "The report of diffoscope")
    yield from _report(report)


def _side(name: str, path: Path) -> tuple[str, ...]:
    with path.open("rb") as content:
        digest = file_digest(content, "sha256").hexdigest()
    return name, f"{path.stat().st_size:,}", tag("code", digest)


def _table(head: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Markup:
    written = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    heads = (tag("th", cell, scope="col") if cell else tag("td") for cell in head)
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *written))


def _cause(finding: Finding) -> Markup:
    name, words = words_of(finding.cause)
    places = len(finding.differences)
    return tag("li", tag("b", name), f" ({places} place{'s' * (places != 1)}): {words}.")


def _places(comparison: Comparison) -> Iterator[Markup]:
    rows: list[tuple[str, ...]] = []
    left = _MAX_PLACES_BYTES
    for difference in comparison.differences:
        row = place_of(difference.where), _detail(difference)
        left -= sum(len(cell.encode()) for cell in row)
        if left < 0:
            break
        rows.append(row)
    yield _table(("place", "shipped and rebuilt"), tuple(rows))
    more = len(comparison.differences) - len(rows)
    if more:
        yield tag("p", f"{more} more were found and are not shown.", class_="soft")
    if not comparison.complete:
        yield tag("p", "The comparison stopped there; there may be more.", class_="soft")


def _detail(difference: Difference) -> Markup:
    shipped, rebuilt = (plain(text, _SHOWN_CHARACTERS) for text in (difference.shipped, difference.rebuilt))
    parts = [tag("p", told(difference))]
    if difference.changed:
        parts += [_pair(plain(a, _SHOWN_CHARACTERS), plain(b, _SHOWN_CHARACTERS)) for a, b in difference.changed]
    elif difference.words:
        parts += [_pair(f"{offset:#x}: {a.hex()}", f"{offset:#x}: {b.hex()}") for offset, a, b in difference.words]
    elif difference.aspect is Aspect.CONTENT:
        parts.append(_pair(shipped, rebuilt))
    if difference.beyond_strings:
        parts.append(tag("p", "Bytes that are no text differ too.", class_="soft"))
    return join(*parts)


def _pair(shipped: str, rebuilt: str) -> Markup:
    return join(*([tag("del", shipped)] if shipped else []), *([tag("ins", rebuilt)] if rebuilt else []))


def _report(report: DiffoscopeReport) -> Iterator[Markup]:
    if report.data is None:
        yield tag("p", f"There is none: {plain(report.reason, _SHOWN_CHARACTERS)}.", class_="soft")
        return
    lines: list[Markup] = []
    left = _MAX_REPORT_BYTES
    every = report.data.decode(errors="replace").splitlines()
    for line in every:
        written = _line(line)
        left -= len(written.encode()) + 1
        if left < 0:
            break
        lines.append(written)
    yield tag("pre", Markup("\n".join(lines)), tabindex="0")
    if len(lines) < len(every):
        yield tag("p", f"{len(every) - len(lines):,} more lines are not shown.", class_="soft")


def _line(line: str) -> Markup:
    text = plain(line.replace("\t", "    "), _SHOWN_CHARACTERS)
    changed = _CHANGED.match(line)
    return tag("del" if changed[1] == "-" else "ins", text) if changed else join(text)
