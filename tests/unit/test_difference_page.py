"""The page of a mismatch: what it says, that it holds no script and nothing from outside, and its bounds."""

import html.parser
import io
import re
import zipfile
from pathlib import Path

import pytest
from elf_image import elf_image
from typer.testing import CliRunner

from glasshouse.cli.app import build
from glasshouse.supervision.compare import Comparison, compare
from glasshouse.supervision.difference_page import MAX_PAGE_BYTES, Sides, difference_page
from glasshouse.supervision.diffoscope import DiffoscopeReport

NONE = DiffoscopeReport(data=None, reason="not installed")
TEXT = {"p", "h1", "h2", "ul", "li", "b", "code", "pre", "del", "ins", "table", "thead", "tbody", "tr", "th", "td"}
ELEMENTS = {"html", "head", "meta", "title", "style", "body", "main"} | TEXT
HOSTILE = '</pre></td><script>alert("1")</script><img src=x onerror=alert(1)>&amp;\u202e\x1b[31m\x00'


class Reader(html.parser.HTMLParser):
    """Elements, attributes and text of a page; open elements must be closed."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page.decode())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def page_of(
    directory: Path, shipped: bytes, rebuilt: bytes, report: DiffoscopeReport = NONE, name: str = "engine.so"
) -> bytes:
    sides = Sides(shipped=directory / "shipped" / name, rebuilt=directory / "rebuilt" / name)
    for path, data in ((sides.shipped, shipped), (sides.rebuilt, rebuilt)):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return difference_page(sides, compare(sides.shipped, sides.rebuilt), report)


def check_harmless(page: bytes) -> Reader:
    """A page that could do nothing even without its policy."""
    read = Reader(page)
    names = {name for name, _ in read.elements}
    assert names <= ELEMENTS
    used = {key for _, attributes in read.elements for key in attributes}
    assert used <= {"lang", "charset", "http-equiv", "content", "name", "class", "scope", "tabindex"}
    (policy,) = [a["content"] or "" for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; base-uri 'none'; form-action 'none'", policy
    )
    assert b"url(" not in page
    assert b"@import" not in page
    assert len(page) <= MAX_PAGE_BYTES
    return read


def test_it_says_what_explain_says_and_shows_every_place(tmp_path: Path) -> None:
    images = [
        elf_image({".text": b"\xc3", ".rodata": f"built {day}\0".encode(), ".comment": b"GCC: 12\0"})
        for day in ("Nov 21 2026", "Nov 22 2026")
    ]
    report = DiffoscopeReport(data="--- /shipped/e\n+++ /rebuilt/e\n│ -built Nov 21\n│ +built Nov 22\n".encode())
    page = page_of(tmp_path, *images, report)
    text = check_harmless(page).text
    assert "engine.so: shipped and rebuilt differ" in text
    assert 'section .rodata, at byte 7: shipped "built Nov 21 2026"' in text or "section .rodata" in text
    assert "time stamp (1 place): the build writes the time" in text
    assert "An explanation is no verdict" in text
    assert "<del>│ -built Nov 21</del>" in page.decode()
    assert "<ins>│ +built Nov 22</ins>" in page.decode()
    assert "--- /shipped/e\n+++ /rebuilt/e" in page.decode()


def test_identical_files(tmp_path: Path) -> None:
    text = check_harmless(page_of(tmp_path, b"x", b"x")).text
    assert "engine.so: identical" in text
    assert "differ" not in text


def test_without_diffoscope_the_reason_stands_there(tmp_path: Path) -> None:
    assert "There is none: not installed." in check_harmless(page_of(tmp_path, b"x", b"y")).text


def test_hostile_contents_and_names_are_text(tmp_path: Path) -> None:
    archives = []
    for tail in ("1", "2"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(zipfile.ZipInfo("<script>alert(0)</script>.py"), f"{HOSTILE}\n{tail}{HOSTILE}")
            archive.writestr(zipfile.ZipInfo(f"only{tail}<b>"), "")
        archives.append(buffer.getvalue())
    report = DiffoscopeReport(data=f"│ -{HOSTILE}\n│ +{HOSTILE}2\n\x1b[0m\xff".encode("latin-1", "replace"))
    read = check_harmless(page_of(tmp_path, *archives, report, name="<svg onload=alert(1)>.whl"))
    assert "<svg onload=alert(1)>.whl: shipped and rebuilt differ" in read.text
    assert "<script>alert(0)</script>.py" in read.text
    assert all(character.isprintable() or character == "\n" for character in read.text)


@pytest.mark.parametrize("filler", ["&", "<", "\u202e", "x"])
def test_it_is_bounded_whatever_the_files_hold(filler: str, tmp_path: Path) -> None:
    def archive(tail: str) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as made:
            for number in range(210):
                lines = "\n".join(f"{filler * 190}{tail}{line}" for line in range(20))
                made.writestr(zipfile.ZipInfo(f"{filler * 100}{number}"), lines)
        return buffer.getvalue()

    report = DiffoscopeReport(data="\n".join(f"│ -{filler * 600}" for _ in range(3_000)).encode())
    read = check_harmless(page_of(tmp_path, archive("a"), archive("b"), report))
    assert "are not shown" in read.text
    assert "more lines are not shown" in read.text
    assert "The comparison stopped there" in read.text


def test_a_comparison_without_detail(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    sides = Sides(shipped=tmp_path / "a", rebuilt=tmp_path / "a")
    check_harmless(difference_page(sides, Comparison(identical=True), NONE))


# --- the command ---------------------------------------------------------------------------------------------------


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(build("explain"), ["explain", *map(str, words)])
    return result.exit_code, result.output


def test_the_command_prints_words_and_writes_the_page(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("built at 2026-11-21 10:00:00\n")
    (tmp_path / "b").write_text("built at 2026-11-22 10:00:00\n")
    code, output = run(tmp_path / "a", tmp_path / "b", "--html", tmp_path / "d.html")
    assert code == 3
    assert "First difference: the file, line 1" in output
    assert "- time stamp (1 place)" in output
    assert "time stamp" in check_harmless((tmp_path / "d.html").read_bytes()).text
    code, output = run(tmp_path / "a", tmp_path / "b", "--json")
    assert code == 3
    assert '"causes": [\n    "timestamp"\n  ]' in output


def test_the_command_on_equal_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    assert run(tmp_path / "a", tmp_path / "a") == (0, "The two files are identical.\n")
    assert run(tmp_path / "a", tmp_path / "gone")[0] == 2
