"""Writes evidence as one HTML file: the claims as the gate finds them now, and the means to check them again inside.

The file is a function of the evidence, the pin, the time and this version of Glasshouse, byte for byte, so that a page
from elsewhere can be made again and compared. It holds the evidence and the pin as text, a style sheet and a script;
its Content-Security-Policy lets exactly those two run and forbids every request (docs/spec/evidence-page.md).
"""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from html import escape
from importlib.metadata import version
from shlex import quote
from string import Template

from glasshouse_verify.charter import Chain
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.errors import CharterError
from glasshouse_verify.evidence import parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import Outcome, Report, utc

from glasshouse.cli.page import sections
from glasshouse.cli.page.parts import read, source, styled
from glasshouse.supervision.markup import join

_FIRST_MODULE = "screen"
_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z0-9]+)\.mjs";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:const|class|function|async function) (\w+))", re.MULTILINE)
# Whole lines only: what is left is code as it stands in the module.
_COMMENT = re.compile(r"^ *(?://.*|/\*\*(?:[^*]|\*(?!/))*\*/)\n|^\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The file, and what the gate said when it was written; the file itself was not in hand."""

    html: bytes
    report: Report


def write_page(evidence: bytes, pin: bytes, at: int, name: str) -> Page:
    """Make the page of an evidence file called `name`, judged at Unix time `at`.

    Raises FormatError where evidence or pin do not parse, CharterError where the evidence does not follow from the pin:
    then there is nobody in whose name the page could say anything.
    """
    parsed = parse_evidence(evidence)
    subject = sections.Subject(pin, parsed)
    report = check_file(pin, parsed, subject.file.sha256, at)
    if (charter := report.claims[0]).outcome != Outcome.VERIFIED:
        raise CharterError(f"no page was written: {charter.text}")
    policy, style, code = _inline()
    released = subject.file.name
    values = {
        "policy": policy,
        "symbols": read("symbols.html"),
        "style": style,
        "script": code,
        "title": join(released),
        "name": sections.breakable(released),
        "lead": sections.lead(subject),
        "facts": sections.facts(subject),
        "initiative": join(Chain(pin).newest.charter.initiative),
        "pin": sections.digest(statement_id(pin)),
        "pin_file": sections.digest(sha256(pin).hexdigest()),
        "checked": sections.checked(report, at),
        "claims": sections.claims(subject, report),
        "people": sections.people(subject),
        "until": sections.until(subject),
        "verify": join(f"glasshouse verify {quote(released)} --evidence {quote(name)} --charter charter.json"),
        "fetch": join(f"glasshouse evidence get {quote(released)} --ledger {quote(subject.charter.ledger.url)}"),
        "remake": join(f"glasshouse evidence html {quote(name)} --charter charter.json --at {utc(at)}"),
        "release": join(version("glasshouse")),
        "written": utc(at),
        "written_text": sections.shown(at),
        "evidence": join(evidence.decode()),
        "evidence_name": escape(name),
        "evidence_size": f"{len(evidence):,}",
        "charter": join(pin.decode()),
        "charter_size": f"{len(pin):,}",
        "script_size": f"{len(code.encode()):,}",
        "script_hash": sha256(code.encode()).hexdigest(),
    }
    return Page(html=Template(read("page.html")).substitute(values).encode(), report=report)


@cache
def _inline() -> tuple[str, str, str]:
    """The policy, the style sheet and the script that it allows."""
    style, code = styled(read("page.css")), script()
    policy = f"default-src 'none'; script-src {source(code)}; style-src {source(style)}; base-uri 'none'; "
    return policy + "form-action 'none'; require-trusted-types-for 'script'", style, code


def script() -> str:
    """The modules as one script: each a function of those it imports, so that what they do not export stays theirs."""
    done: dict[str, str] = {}

    def add(module: str) -> None:
        text = read(f"js/{module}.mjs")
        for _, needed in _IMPORT.findall(text):
            if needed not in done:
                add(needed)
        body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const {\1} = \2;\n", _COMMENT.sub("", text)))
        exported = ", ".join(name for _, name in _EXPORT.findall(text))
        done[module] = f"const {module} = (() => {{\n{body.strip()}\nreturn {{ {exported} }};\n}})();\n"

    add(_FIRST_MODULE)
    return "".join(done.values())
