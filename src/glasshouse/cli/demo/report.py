"""The demo's report: one page that a person can open, without scripts or anything from elsewhere."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from glasshouse.cli.demo.record import Played, Proof
from glasshouse.storage import files

_STYLE = """
:root { color-scheme: light dark; --ink: #18202c; --soft: #526074; --line: #d5dce6; --ground: #f4f6f9; --card: #fff;
  --good: #0b6b3a; --bad: #a4262c; --mark: #e3f3ea }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ecf3; --soft: #a3b0c3; --line: #313b4a; --ground: #10141b; --card: #181e27;
    --good: #6fd39b; --bad: #ff9a9a; --mark: #173326 }
}
* { box-sizing: border-box }
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 0 auto;
  padding: 1.5rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 80rem }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem } h2 { font-size: 1.15rem; margin: 0 0 .7rem }
h3 { font-size: 1rem; margin: 0 0 .4rem; overflow-wrap: anywhere } .limits { margin-top: 1.5rem }
p { margin: 0; max-width: 70ch } header p, dd, small { color: var(--soft) }
.sums { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.2rem 0 1.8rem; padding: 0; list-style: none }
.sums li { flex: 1 1 10rem; padding: .7rem 1rem } .sums b { display: block; font-size: 1.6rem; line-height: 1.2 }
.card, .sums li { background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
.card { padding: .9rem 1rem; margin: 0 0 .75rem }
.halves { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)) }
.halves > section { min-width: 0 }
.proofs { margin: 0; padding: 0; list-style: none }
.proofs li { border-top: 1px solid var(--line); padding: .45rem 0 .45rem 1.5rem; text-indent: -1.5rem }
.proofs li > * { text-indent: 0 } .proofs small { display: block; font-size: .875rem }
.tick { display: inline-block; width: 1.5rem; color: var(--good); font-weight: 700 }
code { display: block; font: .78rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
dl { margin: 0; font-size: .9375rem } dt { font-weight: 600; font-size: .8125rem; margin-top: .4rem }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-line }
.pill { float: right; margin-left: .5rem; border-radius: 1rem; padding: 0 .6rem; font-size: .875rem; font-weight: 600 }
.good { color: var(--good); background: var(--mark) } .bad { color: var(--card); background: var(--bad) }
@media print { body { background: none; padding: 0 } .card { break-inside: avoid } }
"""


def write_report(directory: Path, proven: Sequence[Proof], played: Sequence[Played], seconds: int) -> Path:
    """Write report.html for a run and return its path."""
    caught = sum(1 for cheat in played if cheat.caught)
    shipped: dict[str, list[Proof]] = {}
    for proof in proven:
        shipped.setdefault(proof.about, []).append(proof)
    sums = ((len(shipped), "shipped files checked"), (len(proven), "claims proven"))
    tiles = "".join(f"<li><b>{count}</b>{what}" for count, what in sums if proven)
    proofs = "".join(_file_card(name, mine) for name, mine in shipped.items()) or "<p>Not part of this run.</p>"
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Glasshouse demo: {caught} of {len(played)} cheats caught</title><style>{_STYLE}</style>"
        "<header><h1>Glasshouse demo</h1><p>A vendor, a supervisor, a second rebuilder, a customer council and two"
        f" witnesses, each a node of its own with its own keys, talking over HTTP. Played in {seconds} s. With each"
        " claim stand the parties that made it and the command that checks it again while the ledger runs.</p></header>"
        f"<main><ul class=sums>{tiles}<li><b>{caught} of {len(played)}</b>cheats caught</ul><div class=halves>"
        f"<section><h2>Proven, and by whom</h2>{proofs}</section>"
        f"<section><h2>Cheats played</h2>{''.join(map(_cheat_card, played))}</section></div>"
        "<section class=limits><h2>What this does not show</h2><p>The ledger shows what was shipped and who approved"
        " it, not that it is harmless, nor that anybody has read its source. Vendor, supervisor and witnesses who all"
        " collude are exposed by outside witnesses only. In this demo all parties run on one machine.</p></section>"
        "</main></html>"
    )
    path = directory / "report.html"
    files.write(path, page.encode())
    return path


def _file_card(name: str, proofs: Sequence[Proof]) -> str:
    rows = "".join(
        f"<li><span class=tick aria-hidden=true>✔</span><span>{escape(p.claim)}</span>"
        f"<small>by {escape(p.by)}<code>{escape(p.how)}</code></small>"
        for p in proofs
    )
    return f"<article class=card><h3>{escape(name)}</h3><ul class=proofs>{rows}</ul></article>"


def _cheat_card(cheat: Played) -> str:
    pill = "<span class='pill good'>caught</span>" if cheat.caught else "<span class='pill bad'>NOT CAUGHT</span>"
    return (
        f"<article class=card>{pill}<h3>{escape(cheat.row)} {escape(cheat.title)}</h3><dl>"
        f"<dt>Noticed by<dd>{escape(cheat.by)}<dt>What they see<dd>{escape(cheat.seen)}</dl></article>"
    )
