"""`glasshouse verify EVIDENCE --pin PIN`: a relocation from its one file, and what is said of other files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from glasshouse_verify.evidence import format_evidence
from glasshouse_verify.relocation import Step
from glasshouse_verify.relocation_check import format_relocation_evidence
from glasshouse_verify.report import utc
from relocation_world import DAY, MoveWorld
from world import FILE, NOW, SHIPPED, World

from glasshouse.cli.verifying import main


@pytest.fixture(scope="module")
def world() -> MoveWorld:
    made = MoveWorld()
    made.run()
    return made


@pytest.fixture
def files(tmp_path: Path, world: MoveWorld) -> list[str]:
    evidence, pin = tmp_path / "au-2026.evidence.json", tmp_path / "charter.json"
    evidence.write_bytes(format_relocation_evidence(world.evidence_of_move()))
    pin.write_bytes(world.pin + b"\n")
    return [str(evidence), "--pin", str(pin)]


def test_the_whole_process(files: list[str], world: MoveWorld) -> None:
    program = Path(sys.executable).parent / "glasshouse"
    command = [program, "verify", *files, "--at", utc(world.now)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(f"VERIFIED  {files[0]}\n")
    assert "✔ sample     lab read at each site 4603 draws" in run.stdout
    assert "No cryptography shows that no copy exists" in run.stdout


def test_for_programs(files: list[str], world: MoveWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, "--json"], world.now) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["schema"], answer["outcome"], answer["exit"]) == ("glasshouse.verify/v1", "verified", 0)
    names = ["charter", "ledger", "opened", "source", "arrival", "sample", "erasure", "watch"]
    assert [claim["claim"] for claim in answer["claims"]] == names
    assert all(claim["limit"] and claim["recheck"].startswith("glasshouse ") for claim in answer["claims"])


def test_a_move_that_has_not_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = MoveWorld()
    world.run(until=Step.ARRIVAL)
    evidence, pin = tmp_path / "evidence", tmp_path / "pin"
    evidence.write_bytes(format_relocation_evidence(world.evidence_of_move()))
    pin.write_bytes(world.pin)
    assert main([str(evidence), "--charter", str(pin)], world.now) == 5
    assert "? sample     not ended yet: nobody has said reveal" in capsys.readouterr().out


def test_the_time_given(files: list[str], world: MoveWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, "--at", str(NOW - DAY)], world.now) == 5
    assert main([*files, "--at", utc(world.now)], 0) == 0
    for wrong in ("tomorrow", "2027-13-01T00:00:00Z", "-5"):
        with pytest.raises(SystemExit) as end:
            main([*files, f"--at={wrong}"], world.now)
        assert end.value.code == 2
    assert "must be UTC" in capsys.readouterr().err


def test_what_is_no_such_evidence(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    for content in (b"", b"\x1b[31m", b'{"schema":"glasshouse.receipt-evidence/v1"}', b"x" * 1_000_001):
        other.write_bytes(content)
        assert main([str(other), *files[1:]], NOW) == 1
        said = capsys.readouterr().err
        assert said.startswith("glasshouse verify: evidence")
        assert "glasshouse receipt check" in said
        assert "\x1b" not in said
        assert main([str(other), *files[1:], "--json"], NOW) == 1
        assert json.loads(capsys.readouterr().out)["exit"] == 1
    assert main([str(tmp_path / "missing"), *files[1:]], NOW) == 1
    assert main([files[0], "--pin", files[0]], NOW) == 1


def test_a_file_in_hand_is_judged_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    world.honest()
    shipped, evidence, pin = (tmp_path / name for name in (FILE, "evidence", "charter"))
    shipped.write_bytes(SHIPPED)
    evidence.write_bytes(format_evidence(world.evidence()))
    pin.write_bytes(world.pin)
    assert main([str(shipped), f"--evidence={evidence}", "--charter", str(pin)], NOW) == 0
    assert "✔ rebuild" in capsys.readouterr().out


def test_help_tells_of_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"], NOW)
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "how a relocation went" in said
    assert "built from the source shown" in said
