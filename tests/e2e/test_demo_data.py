"""The demo's chapters about data and its move, alone: what they prove and leave behind, and that it checks offline."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.dsse import parse_envelope

pytestmark = pytest.mark.timeout(600)
GLASSHOUSE = [sys.executable, "-m", "glasshouse"]


def glasshouse(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GLASSHOUSE, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data") / ".demo"


@pytest.fixture(scope="module")
def document(place: Path) -> dict[str, Any]:
    done = glasshouse("demo", "relocation", "--json", "--directory", place)
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def claims(document: dict[str, Any], about: str) -> list[str]:
    return [proof["claim"] for proof in document["proven"] if proof["about"] == about]


def test_it_proves_what_it_says(document: dict[str, Any]) -> None:
    assert [chapter["name"] for chapter in document["chapters"]] == ["charter", "data", "relocation"]
    files = claims(document, "files from four countries")
    for country, where in (
        ("AU", "moscow (RU)"),
        ("DE", "zurich-1 (CH) and zurich-2 (CH)"),
        ("US", "zurich-1 (CH) and zurich-2 (CH)"),
        ("JP", "zurich-1 (CH) and zurich-2 (CH)"),
    ):
        assert any(claim.startswith(f"from {country}, ") and f"durable at {where}" in claim for claim in files), files
    assert any("moscow answers 421 before a byte is sent: data of JP" in claim for claim in files)
    away, back, caught_up = claims(document, "a site that is lost and comes back")
    assert "zurich-1 takes nothing in, as the charter says: exit 1" in away
    assert "taken in at both sites" in back
    assert "log the same inventory" in caught_up
    (look,) = claims(document, "who may look")
    assert "refused (no-grant)" in look


def test_its_receipt_checks_offline_by_the_commands_that_it_names(document: dict[str, Any], place: Path) -> None:
    """The stage is stopped: nothing is asked of anybody."""
    followed = [proof for proof in document["proven"] if proof["about"] == "seikyusho.js, from upload to tombstone"]
    checks = [proof for proof in followed if "receipt check" in proof["recheck"]]
    assert [("held" in proof["recheck"], "erased" in proof["recheck"]) for proof in checks] == [
        (True, False),
        (False, True),
    ]
    for proof, words in zip(checks, ("it is held as of", "(customer): removed"), strict=True):
        assert "receipt check exits 0" in proof["claim"]
        assert words in proof["claim"]
        done = glasshouse(*proof["recheck"].split()[1:], cwd=place.parent)
        assert (done.returncode, words in done.stdout) == (0, True), done.stdout


def test_receipts_carry_the_signatures_of_their_sites_alone(document: dict[str, Any], place: Path) -> None:
    receipts = {path.stem: parse_envelope(path.read_bytes()) for path in place.glob("customers/*/*.receipt")}
    assert {name: len(receipt.signatures) for name, receipt in receipts.items()} == {
        "after-the-fence.js": 2,
        "during-the-move.js": 1,
        "invoice.js": 1,
        "rechnung.vbs": 2,
        "resume.hta": 2,
        "second.js": 2,
        "seikyusho.js": 2,
    }


def test_the_report_has_the_picture_in_words_too(document: dict[str, Any], place: Path) -> None:
    report = (place / "report.html").read_text()
    north = "zurich-1 (CH) and zurich-2 (CH)."
    assert f"AU: moscow (RU). DE: {north} US: {north} JP: {north}" in report
    assert f"AU: {north}" in report
    assert 'role="img"' in report


def test_the_move_is_proven_by_the_commands_that_it_names(document: dict[str, Any], place: Path) -> None:
    """The stage is stopped: the evidence is all there is."""
    about = "Australia's move from Moscow to Zurich"
    assert len(claims(document, about)) == 6
    (offline,) = [proof for proof in document["proven"] if proof["about"] == about and "offline" in proof["claim"]]
    done = glasshouse(*offline["recheck"].split()[1:], cwd=place.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (place / "evidence" / "au-2026.html").read_text()
    assert "Australia has moved, and the old site is empty" in page
    assert (place / "evidence" / "au-2026.pdf").read_bytes().startswith(b"%PDF-")
