"""The rules of the house that a machine can keep: layers, sizes, dependencies, names. There is no exception list."""

import ast
import functools
import importlib.metadata
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ROOT / "src"
VERIFIER = ROOT / "verify" / "src" / "glasshouse_verify"
SOURCE_FOLDERS = (PRODUCT, VERIFIER, ROOT / "bench", ROOT / "tools")
FILE_LINES = 500
FUNCTION_LINES = 70
GATE_LINES = 1_500
DATA_LINES = 800
DATA_MODULES = ("region", "receipt", "shards", "receipt_check", "relocation", "relocation_check")
DRAWERS = {"util", "helper", "common", "manager", "service", "handler"}
NOT_FOR_THE_VERIFIER = {"socket", "http", "urllib", "subprocess", "asyncio", "sqlite3", "time", "datetime"}
FIRST_PARTY = {"glasshouse", "glasshouse_verify"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: Path) -> Iterator[tuple[Path, str]]:
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            yield path, path.read_text()


def offenders(folders: tuple[Path, ...], judge: Callable[[ast.AST], bool]) -> list[str]:
    """file:line of every node that the judge finds guilty."""
    return [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"
        for path, text in sources(*folders)
        for node in ast.walk(ast.parse(text))
        if judge(node)
    ]


def imported_names(text: str) -> set[str]:
    """Absolute modules that a source file imports anywhere, those under TYPE_CHECKING too.

    What is imported from a module is named too: it may be a module itself.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return names


def top_level(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


# --- layers --------------------------------------------------------------------------------------------------------


def test_rooms_import_downwards_only() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    run = subprocess.run([program, "--no-cache", "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_verifier_imports_cryptography_and_harmless_standard_modules_only() -> None:
    allowed = ({"cryptography", "glasshouse_verify"} | set(sys.stdlib_module_names)) - NOT_FOR_THE_VERIFIER
    found = {
        f"{path.name}: {name}" for path, text in sources(VERIFIER) for name in top_level(imported_names(text)) - allowed
    }
    assert found == set()


# --- sizes ---------------------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {len(text.splitlines())}"
        for path, text in sources(*SOURCE_FOLDERS, ROOT / "tests")
        if len(text.splitlines()) > FILE_LINES
    ]
    assert long == []


def test_functions_are_short() -> None:
    def is_long(node: ast.AST) -> bool:
        return isinstance(node, Function) and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES

    assert offenders(SOURCE_FOLDERS, is_long) == []


def docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node) is not None:
            lines.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def count_code_lines(text: str) -> int:
    """Lines that hold code: docstrings, comments and blank lines are not counted."""
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstring_lines(ast.parse(text)))


def test_code_lines_are_counted_without_prose() -> None:
    text = '"""Doc\n\nstring."""\n\nVALUE = """two\nlines"""  # why\n\n# comment\n'
    text += 'def f():\n    "doc"\n    return (\n        1\n    )\n'
    assert count_code_lines(text) == 6


def gate_modules() -> dict[str, str]:
    """What a sceptic reads to trust the release gate: its command and every module below that."""
    texts = {f"glasshouse_verify.{path.stem}".removesuffix(".__init__"): text for path, text in sources(VERIFIER)}
    reached: dict[str, str] = {}
    waiting = ["glasshouse_verify", "glasshouse_verify.cli"]
    while waiting:
        module = waiting.pop()
        if module in texts and module not in reached:
            reached[module] = texts[module]
            waiting += sorted(imported_names(texts[module]))
    return reached


def test_the_release_gate_can_be_read_in_an_afternoon() -> None:
    counts = {module: count_code_lines(text) for module, text in gate_modules().items()}
    assert "glasshouse_verify.gate" in counts
    assert sum(counts.values()) <= GATE_LINES, dict(sorted(counts.items(), key=lambda item: -item[1]))


def test_the_release_gate_loads_what_is_counted() -> None:
    code = "import sys, glasshouse_verify.cli; print(*(name for name in sys.modules if name.startswith('glasshouse')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == set(gate_modules())


def test_what_judges_receipts_and_relocations_can_be_read_beside_it() -> None:
    """With the gate's own ground below it, the second group of the verifier's modules: data, not releases."""
    counts = {name: count_code_lines((VERIFIER / f"{name}.py").read_text()) for name in DATA_MODULES}
    assert sum(counts.values()) <= DATA_LINES, counts
    assert not {f"glasshouse_verify.{name}" for name in DATA_MODULES} & set(gate_modules())


# --- dependencies --------------------------------------------------------------------------------------------------


def declared(pyproject: Path) -> set[str]:
    """Distributions that a project declares; an extra brings the distributions that it adds."""
    found: set[str] = set()
    for requirement in tomllib.loads(pyproject.read_text())["project"]["dependencies"]:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[([a-z,]+)\])?[^\[]*", requirement)
        assert match is not None, requirement
        found.add(match[1])
        for extra in (match[2] or "").split(",") if match[2] else ():
            found |= brought_by(match[1], extra)
    return {normalised(name) for name in found}


def brought_by(distribution: str, extra: str) -> set[str]:
    wanted = re.compile(rf"""([A-Za-z0-9._-]+).*;.*extra == ["']{extra}["']""")
    lines = importlib.metadata.requires(distribution) or []
    return {match[1] for line in lines if (match := wanted.match(line))}


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@functools.cache
def installed() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def distributions_of(module: str) -> set[str]:
    return {normalised(name) for name in installed().get(module, [])}


@pytest.mark.parametrize(
    ("folder", "pyproject"),
    [(PRODUCT, ROOT / "pyproject.toml"), (VERIFIER, ROOT / "verify" / "pyproject.toml")],
    ids=["glasshouse", "glasshouse-verify"],
)
def test_imports_are_declared(folder: Path, pyproject: Path) -> None:
    names = set().union(*(top_level(imported_names(text)) for _, text in sources(folder)))
    foreign = names - set(sys.stdlib_module_names) - FIRST_PARTY
    undeclared = {name for name in foreign if not distributions_of(name) & declared(pyproject)}
    assert undeclared == set()


def test_declared_dependencies_are_used() -> None:
    """Used means imported; a package used for its files alone is named by a string instead (importlib.util)."""
    used: set[str] = {"glasshouse-verify"}
    for _, text in sources(PRODUCT):
        strings = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        named = {value for value in strings if isinstance(value, str) and value.isidentifier()}
        for module in top_level(imported_names(text)) | named:
            used |= distributions_of(module)
    plain = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {normalised(re.split(r"[\[<>=]", requirement)[0]) for requirement in plain}
    assert wanted - used == set()


# --- habits --------------------------------------------------------------------------------------------------------


def test_nothing_is_guarded_by_assert() -> None:
    assert offenders((PRODUCT, VERIFIER), lambda node: isinstance(node, ast.Assert)) == []


def test_no_error_is_swallowed() -> None:
    def swallows(node: ast.AST) -> bool:
        if isinstance(node, ast.ExceptHandler):
            return all(isinstance(line, ast.Pass) or is_ellipsis(line) for line in node.body)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            given = {word.id for word in node.args if isinstance(word, ast.Name)}
            return name == "suppress" and bool(given & {"Exception", "BaseException"})
        return False

    assert offenders(SOURCE_FOLDERS, swallows) == []


def is_ellipsis(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and line.value.value is ...


def test_no_drawers() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path, _ in sources(*SOURCE_FOLDERS, ROOT / "tests")
        for word in re.split(r"[_/.]", str(path.relative_to(ROOT)))
        if word.removesuffix("s") in DRAWERS
    ]
    assert found == []


def test_test_files_have_distinct_names() -> None:
    names = [path.name for path, _ in sources(ROOT / "tests") if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def tracked_texts() -> Iterator[tuple[str, str]]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, listing.decode().split("\0")):
        path = ROOT / name
        data = path.read_bytes() if path.is_file() else b"\0"
        if b"\0" not in data:
            yield name, data.decode(errors="replace")


def test_no_path_of_one_machine() -> None:
    machine = re.compile(r"(?<![\w.$}-])/(?:work|root)/")
    found = [
        f"{name}:{number}"
        for name, text in tracked_texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if machine.search(line)
    ]
    assert found == []


def test_nothing_is_left_to_be_done_in_a_comment() -> None:
    note = re.compile(r"#.*\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in sources(*SOURCE_FOLDERS, ROOT / "tests")
        for number, line in enumerate(text.splitlines(), start=1)
        if note.search(line)
    ]
    assert found == []
