"""Renders docs/cli.md from the command line's own help, so that the two cannot differ.

    python -m tools.cli_pages            write the page
    python -m tools.cli_pages --check    exit 1 if the page is not what would be written

Commands come from the typer application `glasshouse.cli.app:build`; `verify` from the verifier's own parser, because it
starts without typer.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from glasshouse_verify import cli as verifier
from typer.core import TyperGroup
from typer.main import get_command

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cli.md"
APPLICATION = "glasshouse.cli.app"


@dataclass(frozen=True, kw_only=True)
class DescribedOption:
    """One argument or option: how it is written, what it means."""

    form: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class DescribedCommand:
    """One command, with its options in the order of its help; `name` is such as "glasshouse evidence get"."""

    name: str
    usage: str
    told: str
    options: tuple[DescribedOption, ...]
    epilog: str = ""


def described_commands(application: typer.Typer) -> tuple[DescribedCommand, ...]:
    """Every visible command of a typer application, depth first."""
    command = get_command(application)
    return tuple(_walk(typer.Context(command, info_name="glasshouse")))


def _walk(context: typer.Context) -> Iterator[DescribedCommand]:
    command = context.command
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            child = command.commands[name]
            if not child.hidden:
                yield from _walk(typer.Context(child, info_name=name, parent=context))
        return
    records = [parameter.get_help_record(context) for parameter in command.params]
    yield DescribedCommand(
        name=context.command_path,
        usage=" ".join([context.command_path, *command.collect_usage_pieces(context)]),
        told=(command.help or "").strip(),
        options=tuple(DescribedOption(form=record[0], meaning=record[1]) for record in records if record is not None),
        epilog=(command.epilog or "").strip(),
    )


def described_verify() -> DescribedCommand:
    """The verifier's command, from its argparse parser."""
    parser = verifier._parser(0)
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    pieces = [parser.prog]
    options = []
    for action in actions:
        value = f" {action.metavar}" if action.metavar and action.option_strings else ""
        form = ", ".join(action.option_strings) + value if action.option_strings else str(action.metavar)
        pieces.append(form if action.required else f"[{form}]")
        options.append(DescribedOption(form=form, meaning=action.help or ""))
    return DescribedCommand(
        name=parser.prog,
        usage=" ".join(pieces),
        told=parser.description or "",
        options=tuple(options),
        epilog=parser.epilog or "",
    )


def all_commands() -> tuple[DescribedCommand, ...]:
    """What the installed `glasshouse` offers."""
    commands: list[DescribedCommand] = []
    if importlib.util.find_spec(APPLICATION) is not None:
        commands += described_commands(importlib.import_module(APPLICATION).build())
    if not any(command.name == "glasshouse verify" for command in commands):
        commands.append(described_verify())
    return tuple(sorted(commands, key=lambda command: command.name))


def render(commands: tuple[DescribedCommand, ...]) -> str:
    """The whole page as Markdown."""
    lines = [
        "# The command line",
        "",
        "Generated from the commands' own help by `make docs`.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    for command in commands:
        anchor = command.name.replace(" ", "-")
        first = " ".join(command.told.partition("\n\n")[0].split())
        lines.append(f"| [`{command.name}`](#{anchor}) | {_cell(first)} |")
    for command in commands:
        lines += ["", f"## {command.name}", "", "```", command.usage, "```", "", command.told]
        if command.options:
            lines += ["", "| argument or option | meaning |", "|---|---|"]
            lines += [f"| `{_cell(option.form)}` | {_cell(option.meaning)} |" for option in command.options]
        if command.epilog:
            # Click's mark for text that is not to be wrapped.
            kept = command.epilog.removeprefix("\b\n")
            lines += ["", *(("```", kept, "```") if kept != command.epilog else (kept,))]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the page, or with --check compare it; returns the exit code."""
    text = render(all_commands())
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text() == text:
            return 0
        print("docs/cli.md is not up to date; run: make docs", file=sys.stderr)
        return 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
