"""The demo's report: one page that a person can open, without scripts or anything from elsewhere."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from glasshouse.cli.demo.cheats import Played
from glasshouse.cli.demo.story import Proof
from glasshouse.storage import files

_STYLE = """
:root { color-scheme: light dark; --ink: #1a2230; --soft: #5a6578; --line: #d8dee8;
  --good: #10693b; --bad: #a4262c; --ground: #fff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaf2; --soft: #9aa6ba; --line: #333d4d; --good: #62c98f; --bad: #ff8f8f; --ground: #12161d }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  margin: 0 auto; padding: 2rem 1rem; max-width: 62rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem }
p { color: var(--soft); max-width: 46rem; margin: .25rem 0 1rem }
ul { list-style: none; margin: 0; padding: 0 }
li { border-top: 1px solid var(--line); padding: .7rem 0; overflow-wrap: anywhere }
li > b { display: block; font-weight: 600 } li > span { color: var(--soft); display: block; font-size: .92rem }
code { font: .85rem ui-monospace, monospace } .good { color: var(--good) } .bad { color: var(--bad) }
@media print { body { max-width: none; padding: 0 } li { break-inside: avoid } }
"""


def write_report(directory: Path, proven: Sequence[Proof], played: Sequence[Played], seconds: int) -> Path:
    """Write report.html for a run and return its path."""
    caught = sum(1 for cheat in played if cheat.caught)
    proofs = "".join(
        f"<li><b><span class=good aria-hidden=true>✔</span> {escape(p.claim)}</b><span>by {escape(p.by)}</span>"
        f"<span>again: <code>{escape(p.how)}</code></span></li>"
        for p in proven
    )
    cheats = "".join(
        f"<li><b>{_mark(c.caught)} {escape(c.row)}: {escape(c.title)}</b><span>noticed by {escape(c.by)}</span>"
        f"<span>{escape(c.seen)}</span></li>"
        for c in played
    )
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Glasshouse demo: {caught} of {len(played)} cheats caught</title><style>{_STYLE}</style>"
        f"<main><h1>Glasshouse demo</h1><p>Six parties on one machine, sharing nothing but HTTP; {seconds} s."
        f" {len(proven)} claims proven, {caught} of {len(played)} cheats caught.</p>"
        f"<h2>Proven, and by whom</h2><ul>{proofs or '<li>not part of this run</li>'}</ul>"
        f"<h2>Cheats played</h2><ul>{cheats}</ul>"
        "<h2>What this does not show</h2><p>The ledger shows what was shipped and who approved it, not that it is"
        " harmless. Vendor, supervisor and witnesses who all collude need an outside witness to expose them."
        " In this demo all parties run on one machine.</p></main></html>"
    )
    path = directory / "report.html"
    files.write(path, page.encode())
    return path


def _mark(caught: bool) -> str:
    return "<span class=good>caught</span>" if caught else "<span class=bad>NOT CAUGHT</span>"
