"""The report of a move as a PDF, for whoever files paper: the same words and the same picture as the page."""

import math
from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import XPos, YPos
from glasshouse_verify.report import utc

from glasshouse.cli.relocating.flows import held, words
from glasshouse.cli.relocating.tale import LIMITS, Place, Tale

_MARGIN, _WIDTH, _LINE = 20.0, 170.0, 5.0
_BOX, _HEIGHT, _STEP = 62.0, 18.0, 24.0
_ACCENT, _SOFT, _BAD, _INK = (11, 93, 84), (77, 91, 84), (163, 24, 43), (22, 33, 28)
_FONT = "helvetica"


def document(tale: Tale) -> bytes:
    """The PDF. Characters outside of Latin-1 are shown as question marks: the built-in fonts have no others."""
    paper = _Paper(tale)
    paper.cover()
    paper.flows()
    paper.steps()
    paper.limits()
    return bytes(paper.pdf.output())


class _Paper:
    def __init__(self, tale: Tale) -> None:
        self.tale, self.pdf = tale, FPDF(format="A4")
        self.pdf.set_margins(_MARGIN, _MARGIN, _MARGIN)
        self.pdf.set_auto_page_break(True, margin=_MARGIN)
        self.pdf.set_title(_latin(tale.headline))
        self.pdf.set_lang("en")
        self.pdf.add_page()

    def cover(self) -> None:
        self._say("Glasshouse relocation report", size=10, style="B", colour=_ACCENT)
        self._say(self.tale.headline, size=20, style="B", after=3)
        self._say(self.tale.lead, size=11, after=2)
        if self.tale.promised is not None:
            late = ", and it is late" if self.tale.late else ""
            self._say(f"Promised by {utc(self.tale.promised)}{late}.", size=11, after=2)

    def flows(self) -> None:
        self._title("From where to where")
        pdf, top, new = self.pdf, self.pdf.get_y() + 2, self.tale.new
        middle = top + _STEP * len(new) / 2
        self._box(_MARGIN, middle, self.tale.old, dashed=self.tale.old.objects == 0)
        right = _MARGIN + _WIDTH - _BOX
        for number, place in enumerate(new):
            there = top + _STEP * number + _STEP / 2
            self._box(right, there, place, dashed=False)
            self._arrow(_MARGIN + _BOX + 2, middle, right - 2, there)
        pdf.set_y(top + _STEP * len(new) + 2)
        self._say(words(self.tale), size=9, colour=_SOFT)

    def steps(self) -> None:
        self._title("Step by step")
        for event in self.tale.events:
            colour = _BAD if event.state == "mismatch" else _INK
            if self.pdf.will_page_break(6 * _LINE):
                self.pdf.add_page()
            self._say(f"{utc(event.time)}  {event.title}", size=11, style="B", colour=colour)
            self._say(event.text, size=10)
            self._say(f"Said by {event.by}, entry {event.entry}: {event.statement}", size=7.5, colour=_SOFT, after=3)

    def limits(self) -> None:
        self._title("What this does not show")
        for name, text in LIMITS:
            self._say(f"{name} {text}", size=10, after=1.5)

    def _title(self, text: str) -> None:
        self.pdf.ln(4)
        self._say(text, size=14, style="B", after=1.5)

    def _say(
        self,
        text: str,
        *,
        size: float,
        style: str = "",
        colour: Sequence[int] = _INK,
        after: float = 0,
    ) -> None:
        self.pdf.set_font(_FONT, style, size)
        self.pdf.set_text_color(*colour)
        self.pdf.multi_cell(_WIDTH, size * 0.45, _latin(text), align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.pdf.ln(after)

    def _box(self, x: float, middle: float, place: Place, *, dashed: bool) -> None:
        pdf, top = self.pdf, middle - _HEIGHT / 2
        pdf.set_draw_color(*(_SOFT if dashed else _ACCENT))
        pdf.set_dash_pattern(dash=1.5 if dashed else 0, gap=1.2 if dashed else 0)
        pdf.rect(x, top, _BOX, _HEIGHT, round_corners=True, corner_radius=2.5)
        pdf.set_dash_pattern()
        for offset, size, style, text in (
            (7.0, 11, "B", f"{place.site}, {place.jurisdiction}"),
            (13.0, 9, "", held(place)),
        ):
            pdf.set_font(_FONT, style, size)
            pdf.set_text_color(*_INK)
            pdf.text(x + 4, top + offset, _latin(text))

    def _arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        pdf, angle = self.pdf, math.atan2(to_y - y, to_x - x)
        pdf.set_draw_color(*_ACCENT)
        pdf.set_fill_color(*_ACCENT)
        pdf.line(x, y, to_x, to_y)
        points = [(to_x, to_y)]
        points += [(to_x - 3 * math.cos(angle + turn), to_y - 3 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
        pdf.polygon(points, style="DF")


def _latin(text: str) -> str:
    return text.replace("…", "...").replace("→", "->").encode("latin-1", "replace").decode("latin-1")
