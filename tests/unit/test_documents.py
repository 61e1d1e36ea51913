"""Documentation that cannot rot: generated pages are current, links lead somewhere, every page can be found."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ENTRANCES = (ROOT / "README.md", DOCS / "ARCHITECTURE.md")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of tools/, which is no installed package."""
    monkeypatch.syspath_prepend(ROOT)

    def load(name: str) -> ModuleType:
        return __import__(f"tools.{name}", fromlist=["main"])

    return load


def pages() -> Iterator[Path]:
    yield ROOT / "README.md"
    yield from sorted(DOCS.rglob("*.md"))


def linked_from(page: Path) -> set[Path]:
    """The files of this repository that a page links to."""
    targets = (target.partition("#")[0] for target in LINK.findall(page.read_text()) if "://" not in target)
    return {(page.parent / target).resolve() for target in targets if target}


def test_links_lead_somewhere() -> None:
    broken = {
        f"{page.relative_to(ROOT)} -> {target}"
        for page in pages()
        for target in linked_from(page)
        if not target.exists()
    }
    assert broken == set()


def test_every_format_page_is_linked_from_an_entrance() -> None:
    linked = set().union(*(linked_from(page) for page in ENTRANCES if page.exists()))
    assert {str(page.relative_to(ROOT)) for page in (DOCS / "spec").glob("*.md") if page not in linked} == set()


def test_every_page_can_be_reached() -> None:
    reached: set[Path] = set()
    waiting = list(ENTRANCES)
    while waiting:
        page = waiting.pop()
        if page.exists() and page.suffix == ".md" and page not in reached:
            reached.add(page)
            waiting += linked_from(page)
    assert {str(page.relative_to(ROOT)) for page in pages()} - {
        str(page.relative_to(ROOT)) for page in reached
    } == set()


@pytest.mark.parametrize("module", ["cli_pages", "attacks_table"])
def test_generated_pages_are_current(module: str) -> None:
    command = [sys.executable, "-m", f"tools.{module}", "--check"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_command_and_option_is_explained(tool: Any) -> None:
    commands = tool("cli_pages").all_commands()
    assert any(command.name == "glasshouse verify" for command in commands)
    silent = [command.name for command in commands if not command.told]
    silent += [
        f"{command.name} {option.form}" for command in commands for option in command.options if not option.meaning
    ]
    assert silent == []


def test_documented_commands_of_an_application(tool: Any) -> None:
    import typer

    application = typer.Typer()
    group = typer.Typer()
    application.add_typer(group, name="evidence")

    @group.command("get")
    def get(digest: str = typer.Argument(help="what to look for"), ledger: str = typer.Option(help="where")) -> None:
        """Fetch evidence."""

    @application.command("hidden", hidden=True)
    def hidden() -> None:
        """Not shown."""

    (command,) = tool("cli_pages").described_commands(application)
    assert (command.name, command.told) == ("glasshouse evidence get", "Fetch evidence.")
    assert [option.meaning for option in command.options] == ["what to look for  [required]", "where  [required]"]
    page = tool("cli_pages").render((command,))
    assert "## glasshouse evidence get" in page
    assert "hidden" not in page


# --- the attack matrix ---------------------------------------------------------------------------------------------

FOLLOWS = '''"""R3, L2 Unlogged release offered.

Cheat: the vendor hands out a file
    that no ledger shows.
Noticed by: the customer.
Seen: exit 5, undecided | no evidence.

More words: of any kind.
"""

def test_attack_offered_without_evidence() -> None: ...

def test_control_logged() -> None:
    """The logged file is accepted.

    At length.
    """
'''


def test_attack_docstring_is_read(tool: Any) -> None:
    table = tool("attacks_table")
    module = table.parse_module(Path("test_unlogged.py"), FOLLOWS)
    assert (module.rows, module.title) == (("R3", "L2"), "Unlogged release offered")
    assert module.cheat == "the vendor hands out a file that no ledger shows."
    assert module.seen == "exit 5, undecided | no evidence."
    assert [case.told for case in module.attacks] == ["offered without evidence"]
    assert [case.told for case in module.controls] == ["The logged file is accepted"]
    page = table.render((module,))
    assert page.count("exit 5, undecided \\| no evidence.") == 2
    assert "| R4 | logged, not rebuilt | not played yet | |" in page


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("R3, L2 Unlogged", "Unlogged", "first line"),
        ("R3, L2", "R99", "R99 is no row"),
        ("Seen:", "Sees:", "Cheat, Noticed by, Seen"),
        ("Noticed by: the customer.", "Noticed by:", "Cheat, Noticed by, Seen"),
        ("test_control_", "test_", "test_control_"),
        ("test_attack_", "test_", "test_attack_"),
    ],
)
def test_attack_docstring_that_breaks_the_convention(tool: Any, before: str, after: str, reason: str) -> None:
    table = tool("attacks_table")
    broken = FOLLOWS.replace(before, after)
    assert ast.parse(broken)
    with pytest.raises(table.ConventionError, match=reason):
        table.parse_module(Path("test_unlogged.py"), broken)
