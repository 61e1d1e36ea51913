"""python -m bench                                 list the benchmarks
python -m bench NAME [--json] [--bundle PATH]   run one ("all" for all of them)

--bundle is for those that need the rules of signature-base: a git bundle of them.
"""

import ast
import importlib
import inspect
import json
import math
import sys
from pathlib import Path

from bench import Figure

SCHEMA = "glasshouse.bench/v1"
ALL = "all"
_TEXTS = ("name", "unit", "target", "notes")
_NUMBERS = ("ours", "ratio")
_RIVALS = ("floor", "peer", "limit")


def benchmarks() -> dict[str, str]:
    """Name and purpose of each benchmark, read without importing it."""
    paths = sorted(path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("__"))
    return {path.stem: (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0] for path in paths}


def check_figure(name: str, figure: Figure) -> Figure:
    """Refuse a figure that a reader of the JSON could not rely on; raises ValueError."""
    rivals = [rival for rival in _RIVALS if rival in figure]
    if len(rivals) != 1:
        raise ValueError(f"{name}: has to report a floor or a peer or a limit, one of them")
    unknown = set(figure) - {*_TEXTS, *_NUMBERS, *rivals}
    if unknown:
        raise ValueError(f"{name}: reports {', '.join(sorted(unknown))}, which nobody knows")
    for member in (*_NUMBERS, *rivals):
        value = figure.get(member)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name}: {member} is no number")
    for member in _TEXTS:
        if not isinstance(figure.get(member), str):
            raise ValueError(f"{name}: {member} is no text")
    if figure["name"] != name:
        raise ValueError(f"{name}: calls itself {figure['name']}")
    return figure


def run(name: str, bundle: Path | None = None) -> Figure:
    """Run one benchmark and check what it reports; one that needs no bundle is not given any."""
    measure = importlib.import_module(f"bench.{name}").run
    given = {"bundle": bundle} if bundle is not None and "bundle" in inspect.signature(measure).parameters else {}
    figure: Figure = measure(**given)
    return check_figure(name, figure)


def passes(figure: Figure) -> bool | None:
    """Whether a figure keeps its limit; None where it has none, but a floor or a peer."""
    return figure["ours"] <= figure["limit"] if "limit" in figure else None


def _as_table(figures: list[Figure]) -> str:
    heading = ("name", "ours", "beside", "", "ratio", "unit", "target", "")
    rows = [heading]
    for figure in figures:
        rival, beside = next((rival, figure.get(rival, math.nan)) for rival in _RIVALS if rival in figure)
        rows.append(
            (
                figure["name"],
                f"{figure['ours']:,.5g}",
                f"{beside:,.5g}",
                rival,
                f"{figure['ratio']:.3g}",
                figure["unit"],
                figure["target"],
                {True: "pass", False: "FAIL", None: ""}[passes(figure)],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *(f"{figure['name']}: {figure['notes']}" for figure in figures)])


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code, 2 for wrong usage."""
    as_json, bundle, names = "--json" in arguments, None, [word for word in arguments if word != "--json"]
    if "--bundle" in names[:-1]:
        place = names.index("--bundle")
        bundle = Path(names[place + 1])
        del names[place : place + 2]
    known = benchmarks()
    if not names:
        for name, purpose in known.items():
            print(f"{name:20} {purpose}")
        return 0
    if len(names) > 1 or names[0] not in {*known, ALL}:
        print(f"{__doc__}\nbenchmarks: {', '.join(known)}", file=sys.stderr)
        return 2
    figures = []
    for name in known if names[0] == ALL else names:
        print(f"measuring {name} …", file=sys.stderr)
        figures.append(run(name, bundle))
        if as_json:
            kept = passes(figures[-1])
            document = {"schema": SCHEMA, **figures[-1]} | ({} if kept is None else {"pass": kept})
            print(json.dumps(document), flush=True)
    if not as_json:
        print(_as_table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
