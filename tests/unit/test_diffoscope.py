"""The real diffoscope in the real sandbox; what happens without them."""

import time
from pathlib import Path

import pytest
from elf_image import elf_image

from glasshouse.conveyor.errors import SandboxUnavailable
from glasshouse.conveyor.sandbox import probe
from glasshouse.supervision import diffoscope
from glasshouse.supervision.diffoscope import make_report


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "shipped" / "-engine.so", tmp_path / "rebuilt" / "built.so"
    for path, stamp in zip(paths, ("Nov 21 2026", "Nov 22 2026"), strict=True):
        path.parent.mkdir()
        path.write_bytes(elf_image({".text": b"\xc3", ".rodata": stamp.encode() + b"\0", ".comment": b"GCC: 12\0"}))
    return paths


@pytest.fixture
def runnable() -> None:
    if not diffoscope.PROGRAM.exists():
        pytest.skip("diffoscope is not installed")
    try:
        probe()
    except SandboxUnavailable as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.mark.usefixtures("runnable")
def test_report_names_what_differs(pair: tuple[Path, Path]) -> None:
    report = make_report(*pair)
    assert report.data is not None, report.reason
    text = report.data.decode()
    assert "Nov 21 2026" in text
    assert "Nov 22 2026" in text
    assert "/shipped/_-engine.so" in text
    assert str(pair[0].parent) not in text


@pytest.mark.usefixtures("runnable")
def test_identical_files_have_no_report(pair: tuple[Path, Path]) -> None:
    report = make_report(pair[0], pair[0])
    assert (report.data, report.reason) == (None, "diffoscope finds the files identical")


@pytest.mark.usefixtures("runnable")
def test_report_is_cut_at_its_bound(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffoscope, "MAX_REPORT_BYTES", 300)
    for index, path in enumerate(pair):
        path.write_text("".join(f"{number * (index + 2)}\n" for number in range(5_000)))
    report = make_report(*pair)
    assert report.data is not None, report.reason
    assert len(report.data) <= 300


@pytest.mark.usefixtures("runnable")
def test_time_is_bounded(pair: tuple[Path, Path]) -> None:
    start = time.monotonic()
    report = make_report(*pair, timeout_seconds=0)
    assert (report.data, report.reason) == (None, "diffoscope took longer than 0 seconds")
    assert time.monotonic() - start < 30


@pytest.mark.usefixtures("runnable")
def test_unreadable_file_is_a_reason(pair: tuple[Path, Path], tmp_path: Path) -> None:
    report = make_report(pair[0], tmp_path / "gone")
    assert report.data is None
    assert "status" in report.reason


def test_missing_program_is_a_reason(pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffoscope, "PROGRAM", tmp_path / "diffoscope")
    report = make_report(*pair)
    assert (report.data, report.reason) == (None, "diffoscope is not installed")
