"""The bench command: what it lists, what it prints, which figures it refuses. No test looks at a figure's height."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "name": "inclusion",
    "ours": 1.5,
    "floor": 3,
    "ratio": 0.5,
    "unit": "proofs/s",
    "target": "ratio at least 0.5",
    "notes": "",
}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("bench.__main__")


def test_command_lists_every_benchmark_with_its_purpose(harness: ModuleType) -> None:
    run = subprocess.run([sys.executable, "-m", "bench"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in run.stdout.splitlines()] == list(harness.benchmarks())
    assert all(purpose for purpose in harness.benchmarks().values())


def test_every_benchmark_has_run(harness: ModuleType) -> None:
    for name in harness.benchmarks():
        tree = ast.parse((ROOT / "bench" / f"{name}.py").read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body), name


def test_unknown_name_is_wrong_usage(harness: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert harness.main(["no-such"]) == 2
    assert "inclusion" in capsys.readouterr().err


def test_json_and_table(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inclusion = importlib.import_module("bench.inclusion")
    monkeypatch.setattr(inclusion, "SIZE", 700)
    monkeypatch.setattr(inclusion, "PROOFS", 20)
    assert harness.main(["inclusion", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.pop("schema") == "glasshouse.bench/v1"
    assert harness.check_figure("inclusion", answer) == answer
    assert harness.main(["inclusion"]) == 0
    assert "proofs/s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peer": 2}, "a floor or a peer"),
        ({"floor": None}, "floor is no number"),
        ({"ours": float("nan")}, "ours is no number"),
        ({"ratio": "0.5"}, "ratio is no number"),
        ({"unit": 3}, "unit is no text"),
        ({"colour": "red"}, "colour"),
        ({"name": "other"}, "calls itself other"),
    ],
)
def test_refused_figures(harness: ModuleType, changes: dict[str, Any], complaint: str) -> None:
    assert harness.check_figure("inclusion", GOOD) == GOOD
    with pytest.raises(ValueError, match=complaint):
        harness.check_figure("inclusion", GOOD | changes)


def test_figures_with_a_limit_say_whether_they_keep_it(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = {name: value for name, value in GOOD.items() if name != "floor"} | {"limit": 2}
    for ours, word, kept in ((1.5, "pass", True), (2.5, "FAIL", False)):
        monkeypatch.setattr(
            importlib.import_module("bench.inclusion"), "run", lambda ours=ours: limited | {"ours": ours}
        )
        assert harness.main(["inclusion"]) == 0
        assert word in capsys.readouterr().out
        assert harness.main(["inclusion", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["pass"] is kept


def test_a_bundle_is_given_to_those_that_take_one(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Path | None] = []

    def measured(bundle: Path | None = None) -> dict[str, Any]:
        given.append(bundle)
        return GOOD

    monkeypatch.setattr(importlib.import_module("bench.inclusion"), "run", measured)
    assert harness.main(["inclusion", "--bundle", "rules.bundle", "--json"]) == 0
    assert harness.main(["inclusion", "--json"]) == 0
    assert given == [Path("rules.bundle"), None]
    assert harness.main(["inclusion", "--bundle"]) == 2
    capsys.readouterr()


@pytest.mark.parametrize("name", ["tag_to_published", "rules_to_countersigned", "page_size", "karton", "upload_memory"])
def test_promised_figures_are_there_and_documented(harness: ModuleType, name: str) -> None:
    assert name in harness.benchmarks()
    assert f"python -m bench {name}" in (ROOT / "docs" / "figures.md").read_text()
