"""`glasshouse verify`: exit codes 0 to 5, --at, the text and the JSON, and files that are not what they should be."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from glasshouse_verify.alarm import Hold
from glasshouse_verify.cli import main
from glasshouse_verify.evidence import MAX_EVIDENCE, Evidence, format_evidence
from glasshouse_verify.report import utc
from glasshouse_verify.statement import Action, Use, Verdict, make_statement
from world import DAY, FILE, NOW, SHIPPED, World, digest

Run = Callable[..., int]


class Desk:
    """A directory with the three files, and the command."""

    def __init__(self, directory: Path, world: World) -> None:
        self.directory, self.world = directory, world
        self.file, self.evidence, self.pin = (directory / name for name in (FILE, "evidence", "charter.json"))
        self.file.write_bytes(SHIPPED)
        self.pin.write_bytes(world.pin)
        self.put(world.evidence())

    def put(self, evidence: Evidence) -> None:
        self.evidence.write_bytes(format_evidence(evidence))

    def run(self, *options: str, now: int = NOW) -> int:
        files = [str(self.file), "--evidence", str(self.evidence), "--charter", str(self.pin)]
        return main([*files, *options], now)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    world = World()
    world.honest()
    return Desk(tmp_path, world)


def desk_with(directory: Path, verdict: Verdict) -> Desk:
    world = World()
    release = world.release()
    world.rebuild(release, "lab", verdict)
    world.rebuild(release, "second")
    world.status()
    return Desk(directory, world)


# --- exit codes ----------------------------------------------------------------------------------------------------


def test_exit_0_verified(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run() == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"VERIFIED  {desk.file}\n  sha256 {digest(SHIPPED)}, judged at {utc(NOW)}\n")
    assert err == ""
    assert out.count("✔") == 8
    assert "What this does not show:" in out
    assert "by: lab, second, " in out
    assert "recheck: glasshouse ledger fsck" in out


def test_exit_1_unparseable(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.evidence.write_bytes(b"{}")
    assert desk.run() == 1
    assert capsys.readouterr() == ("", "glasshouse verify: evidence.schema: is missing\n")


@pytest.mark.parametrize("member", ["file", "evidence", "pin"])
@pytest.mark.parametrize("kind", ["missing", "a directory", "unreadable"])
def test_exit_1_unreadable(desk: Desk, capsys: pytest.CaptureFixture[str], member: str, kind: str) -> None:
    path: Path = getattr(desk, member)
    path.unlink()
    if kind == "a directory":
        path.mkdir()
    elif kind == "unreadable":
        path.symlink_to(path)
    assert desk.run() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert str(path) in err


def test_exit_1_pin(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.pin.write_bytes(desk.world.amendment({}))
    assert desk.run() == 1
    assert "a pin is the first charter" in capsys.readouterr().err
    desk.pin.write_bytes(b"\xff")
    assert desk.run() == 1


def test_a_pin_may_end_in_a_newline(desk: Desk) -> None:
    desk.pin.write_bytes(desk.world.pin + b"\n")
    assert desk.run() == 0


@pytest.mark.parametrize("name", ["evidence", "pin"])
def test_exit_1_endless_files(desk: Desk, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No more of a file is read than the format allows."""
    path: Path = getattr(desk, name)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert desk.run() == 1
    assert f"{MAX_EVIDENCE + 1} bytes, more than " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["file"], ["file", "--evidence", "e"], ["file", "--charter", "c"], ["a", "b", "--evidence", "e"], ["--bogus"]],
)
def test_exit_2_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments, NOW)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: glasshouse verify")


def test_exit_3_mismatch(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.file.write_bytes(SHIPPED + b"\n")
    assert desk.run() == 3
    out = capsys.readouterr().out
    assert out.startswith("MISMATCH  ")
    assert "✘ file" in out


def test_exit_3_differs(tmp_path: Path) -> None:
    assert desk_with(tmp_path, Verdict.DIFFERS).run() == 3


def test_exit_4_not_authorised(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.put(replace(desk.world.evidence(), checkpoint=desk.world.checkpoint("w1").decode()))
    assert desk.run() == 4
    assert capsys.readouterr().out.startswith("NOT AUTHORISED  ")


@pytest.mark.parametrize("verdict", [Verdict.BUILD_FAILED, Verdict.PACK_NOT_RECEIVED])
def test_exit_5_undecided(tmp_path: Path, verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk_with(tmp_path, verdict).run() == 5
    out = capsys.readouterr().out
    assert out.startswith("UNDECIDED  ")
    assert "? status" in out


def test_exit_5_stale(desk: Desk) -> None:
    assert desk.run(now=NOW + 2 * DAY) == 5


# --- --at ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1800000000", 1_800_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951_868_799),
        ("2026-11-21T12:00:00Z", 1_795_262_400),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ],
)
def test_times(desk: Desk, capsys: pytest.CaptureFixture[str], text: str, seconds: int) -> None:
    desk.run("--json", "--at", text)
    assert json.loads(capsys.readouterr().out)["at"] == utc(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "-1",
        "+1",
        "1.5",
        "1_000",
        " 1",
        "1 ",
        "٤٢",
        "1" * 13,
        "2026-11-21",
        "2026-11-21T12:00:00",
        "2026-11-21T12:00:00+00:00",
        "2026-11-21 12:00:00Z",
        "2026-11-21t12:00:00z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-12-31T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "26-11-21T12:00:00Z",
        "2026-11-21T12:00:00Z\n",
        "２０２６-11-21T12:00:00Z",
    ],
)
def test_times_that_are_none(desk: Desk, capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as caught:
        desk.run(f"--at={text}")
    assert caught.value.code == 2
    assert "--at" in capsys.readouterr().err


def test_every_day_of_eight_centuries() -> None:
    """The calendar of the verifier, which may not ask the machine's, against Python's."""
    import datetime

    day, epoch = datetime.date(1970, 1, 1), datetime.date(1970, 1, 1).toordinal()
    for ordinal in range(epoch, epoch + 292_194, 11):
        day = datetime.date.fromordinal(ordinal)
        assert utc((ordinal - epoch) * 86_400) == f"{day.isoformat()}T00:00:00Z"


def test_the_time_overrides_the_clock(desk: Desk) -> None:
    assert desk.run("--at", str(NOW), now=NOW + 30 * DAY) == 0
    assert desk.run("--at", utc(NOW + 30 * DAY)) == 5


def test_the_program_of_the_package_alone_has_no_clock(desk: Desk) -> None:
    files = [str(desk.file), "--evidence", str(desk.evidence), "--charter", str(desk.pin)]
    program = Path(sys.executable).with_name("glasshouse-verify")
    run = subprocess.run([program, *files], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert "--at" in run.stderr
    run = subprocess.run([program, *files, "--at", str(NOW)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("VERIFIED")


# --- JSON ----------------------------------------------------------------------------------------------------------

CLAIM = {"claim": str, "state": str, "text": str, "by": list, "when": (str, type(None)), "recheck": str, "limit": str}


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def test_json_verified(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.run("--json") == 0
    found = answer(capsys)
    assert {name: found[name] for name in found if name != "claims"} == {
        "schema": "glasshouse.verify/v1",
        "file": str(desk.file),
        "sha256": digest(SHIPPED),
        "at": utc(NOW),
        "outcome": "verified",
        "exit": 0,
    }
    for claim in found["claims"]:
        assert set(claim) == set(CLAIM)
        assert all(isinstance(claim[name], kind) for name, kind in CLAIM.items())
        assert claim["state"] == "verified"


def test_json_of_the_other_outcomes(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.run("--json", "--at", str(NOW + 2 * DAY))
    found = answer(capsys)
    assert (found["outcome"], found["exit"]) == ("undecided", 5)
    assert [claim["state"] for claim in found["claims"]].count("undecided") == 1
    desk.file.write_bytes(b"other")
    desk.run("--json")
    found = answer(capsys)
    assert (found["outcome"], found["exit"], found["sha256"]) == ("mismatch", 3, digest(b"other"))
    desk.put(replace(desk.world.evidence(), hashes=b""))
    desk.run("--json")
    found = answer(capsys)
    assert (found["outcome"], found["exit"]) == ("not-authorised", 4)
    assert [claim["claim"] for claim in found["claims"]] == ["charter", "ledger"]


def test_json_of_what_cannot_be_read(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.evidence.write_bytes(b"{}")
    assert desk.run("--json") == 1
    assert answer(capsys) == {
        "schema": "glasshouse.verify/v1",
        "file": str(desk.file),
        "outcome": "unparseable",
        "exit": 1,
        "error": {"field": "evidence.schema", "reason": "is missing"},
    }
    desk.evidence.unlink()
    assert desk.run("--json") == 1
    assert set(answer(capsys)["error"]) == {"reason"}


# --- hostile text --------------------------------------------------------------------------------------------------

HOSTILE = "fine\n  ✔ file       all is well\u202e\u009b2J"


def test_words_of_others_cannot_look_like_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks, terminal controls and changes of direction in a reason or an explanation are made visible."""
    world = World()
    release = world.release()
    world.rebuild(release, "lab", Verdict.DIFFERS, explanation=HOSTILE)
    hold = Hold(party="second", action=Action.HOLD, release=release, reason=HOSTILE, time=NOW)
    world.post(make_statement(Use.HOLD, hold), "second")
    world.status()
    assert Desk(tmp_path, world).run() == 3
    out = capsys.readouterr().out
    assert out.count("✔ file") == 3
    assert sum(line.startswith("  ✔ file") for line in out.splitlines()) == 1
    assert "\\n  ✔ file       all is well\\u202e\\x9b2J" in out
    assert all(c.isprintable() or c == "\n" for c in out)


def test_a_hostile_member_name_cannot_drive_the_terminal(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.evidence.write_bytes(b'{"\\u001b[2J\\u001b[HVERIFIED":1}')
    assert desk.run() == 1
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\\x1b[2J" in err


def test_file_name_that_is_no_text(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    odd = desk.directory / os.fsdecode(b"\xff\x1b[2J.whl")
    odd.write_bytes(SHIPPED)
    desk.file = odd
    assert desk.run() == 0
    assert "\\udcff\\x1b[2J.whl" in capsys.readouterr().out
    assert desk.run("--json") == 0
    assert answer(capsys)["file"] == str(odd)


def test_a_terminal_that_knows_ascii_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert desk.run() == 0
    sys.stdout.flush()
    assert b"\\u2714 file" in raw.getvalue()
