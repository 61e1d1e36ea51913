"""The whole story on one machine: `glasshouse demo` as a user runs it, and what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glasshouse.cli.demo.chapters import CHAPTERS

GLASSHOUSE = [sys.executable, "-m", "glasshouse"]
CLAIMS = ["charter", "ledger", "source", "provenance", "release", "rebuild", "status", "file"]
MAX_EVIDENCE_BYTES = 32 * 1024
MAX_PAGE_BYTES = 150_000

pytestmark = pytest.mark.timeout(1200)


def glasshouse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GLASSHOUSE, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / ".demo"


@pytest.fixture(scope="module")
def document(place: Path) -> dict[str, Any]:
    """The JSON that a whole run ends with."""
    done = glasshouse("demo", "--json", "--directory", place)
    assert done.returncode == 0, done.stderr[-4000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def downloads(place: Path) -> list[Path]:
    """The shipped files, without the signature files beside them."""
    return sorted(file for file in (place / "downloads").iterdir() if file.suffix != ".sig")


def verify(place: Path, file: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    evidence = place / "evidence" / f"{file.name}.evidence"
    return glasshouse("verify", file, "--evidence", evidence, "--charter", place / "charter.json", "--json", *extra)


def test_every_cheat_is_caught_by_somebody_else(document: dict[str, Any]) -> None:
    assert document["schema"] == "glasshouse.demo/v2"
    assert [cheat["name"] for cheat in document["cheats"] if not cheat["caught"]] == []
    assert {cheat["row"] for cheat in document["cheats"]} >= {"R1", "R3", "R4", "R10", "R15", "R20", "L1", "L3", "S3"}
    assert all(cheat["by"] and "acme" not in cheat["by"] for cheat in document["cheats"])


def test_what_was_proven_names_who_checked_it(document: dict[str, Any]) -> None:
    by = {party for proof in document["proven"] for party in proof["by"].split(", ")}
    assert {"lab", "second", "witness-1", "witness-2", "acme", "council"} <= by
    assert all(proof["recheck"] for proof in document["proven"])


def test_the_customer_has_pin_files_and_evidence(document: dict[str, Any], place: Path) -> None:
    assert (place / "charter.json").is_file()
    names = [file.name for file in downloads(place)]
    assert any(name.startswith("yara_python-4.5.4") for name in names)
    assert any(name.endswith(".yarc") for name in names)
    assert "zlib1.dll" in names
    for name in names:
        assert (place / "evidence" / f"{name}.evidence").stat().st_size <= MAX_EVIDENCE_BYTES


def test_each_evidence_has_its_page_and_the_run_its_report(document: dict[str, Any], place: Path) -> None:
    report = (place / "report.html").read_text()
    for file in downloads(place):
        page = place / "evidence" / f"{file.name}.html"
        assert page.stat().st_size <= MAX_PAGE_BYTES
        assert f'href="evidence/{page.name}"' in report
        assert f'href="downloads/{file.name}"' in report
    count = len(document["cheats"])
    assert f"{len(downloads(place))} files verified, {count} of {count} cheats caught" in report


def test_the_chapters_are_told_in_order(document: dict[str, Any]) -> None:
    assert [chapter["name"] for chapter in document["chapters"]] == list(CHAPTERS)
    assert all(chapter["seconds"] >= 0 for chapter in document["chapters"])


def test_each_file_verifies_offline_with_every_claim(document: dict[str, Any], place: Path) -> None:
    for file in downloads(place):
        done = verify(place, file)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["outcome"]) == (0, "verified")
        assert [claim["claim"] for claim in answer["claims"]] == CLAIMS
        assert {claim["state"] for claim in answer["claims"]} == {"verified"}


def test_the_conveyor_has_moved_and_the_old_site_is_refused(document: dict[str, Any], place: Path) -> None:
    claims = [proof["claim"] for proof in document["proven"] if proof["about"] == "the vendor's conveyor"]
    assert "what moscow (RU) and zurich-1 (CH) build of acme/hello-c 1.0 hello is identical" in claims
    assert sum("the charter allows CH only" in claim for claim in claims) == 2
    for name, country in (("hello-1.0-moscow", "RU"), ("hello-1.1-zurich-1", "CH"), ("zlib1.dll", "CH")):
        claim = json.loads(verify(place, place / "downloads" / name).stdout)["claims"][CLAIMS.index("provenance")]
        assert claim["text"] == f"the conveyor in {country} built these digests from that source"
    (late,) = (place / "scratch" / "1.2" / "offered").glob("*.evidence")
    done = glasshouse("verify", late.with_suffix(""), "--evidence", late, "--charter", place / "charter.json")
    assert done.returncode == 4


def test_the_signed_library_is_the_rebuilt_one_but_for_its_signature(document: dict[str, Any], place: Path) -> None:
    claims = {(proof["about"], proof["claim"]) for proof in document["proven"]}
    assert ("zlib1.dll", "rebuilt from source: identical-modulo-signature") in claims
    said = json.loads(verify(place, place / "downloads" / "zlib1.dll").stdout)["claims"]
    assert any("the same bytes but for the signature inside" in claim["text"] for claim in said)


def test_signature_files_hold(document: dict[str, Any], place: Path) -> None:
    signatures = list((place / "downloads").glob("*.sig"))
    assert {file.suffixes[-2] for file in signatures} == {".whl", ".tar"}
    for file in signatures:
        done = glasshouse("signature", "check", file.with_suffix(""), "--charter", place / "charter.json")
        assert done.returncode == 0, done.stderr


def test_the_customer_refuses_what_is_not_the_file(document: dict[str, Any], place: Path, tmp_path: Path) -> None:
    file = downloads(place)[0]
    altered = tmp_path / file.name
    altered.write_bytes(file.read_bytes()[:-1])
    evidence = place / "evidence" / f"{file.name}.evidence"
    done = glasshouse("verify", altered, "--evidence", evidence, "--charter", place / "charter.json")
    assert done.returncode == 3
    assert "the file in hand is" in done.stdout


def test_no_party_can_read_another_partys_keys_by_mode(document: dict[str, Any], place: Path) -> None:
    for key in (place / "nodes").glob("*/keys/*"):
        assert key.stat().st_mode & 0o077 == 0
        assert key.parent.stat().st_mode & 0o077 == 0


def test_the_recheck_commands_run(document: dict[str, Any], place: Path) -> None:
    """The stage is stopped, so commands that ask the ledger say so; those that read files answer."""
    done = glasshouse("charter", "show", place / "charter.json")
    assert json.loads(done.stdout)["version"] == 1
    done = glasshouse("evidence", "show", place / "evidence" / f"{downloads(place)[0].name}.evidence")
    assert json.loads(done.stdout)["schema"] == "glasshouse.evidence/v1"


def test_one_cheat_can_be_played_on_the_stage_that_is_there(document: dict[str, Any], place: Path) -> None:
    done = glasshouse("demo", "--cheat", "unlogged", "--json", "--directory", place)
    assert done.returncode == 0, done.stderr[-4000:]
    assert [cheat["name"] for cheat in json.loads(done.stdout)["cheats"]] == ["unlogged"]


def test_an_unknown_cheat_is_a_usage_error_that_names_the_known_ones() -> None:
    done = glasshouse("demo", "--cheat", "none-such")
    assert done.returncode == 2
    assert "backdoor" in done.stderr
