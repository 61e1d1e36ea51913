"""`glasshouse verify FILE --evidence E --charter PIN [--at TIME] [--json]`: reads three files, prints the answer.

`glasshouse-verify`, which the verifier's own package installs, is the same without a clock: it has to be given --at.

Exit: 0 verified · 1 a file is unparseable or unreadable · 2 usage · 3 mismatch · 4 not authorised · 5 undecided.
"""

import argparse
import json
import re
import sys
from bisect import bisect_left
from dataclasses import asdict
from hashlib import file_digest
from pathlib import Path
from typing import Any, TextIO

from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.evidence import MAX_EVIDENCE, parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import Claim, Outcome, Report, State, utc

SCHEMA = "glasshouse.verify/v1"
_MARKS = {State.VERIFIED: "✔", State.MISMATCH: "✘", State.UNDECIDED: "?"}
_YEAR_10000 = 253_402_300_800


def main(argv: list[str] | None = None, now: int | None = None) -> int:
    """Run the command (on sys.argv) at Unix time `now`, which --at overrides, or has to name; returns the exit code."""
    options = _parser(now).parse_args(argv)
    try:
        with Path(options.file).open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        evidence = parse_evidence(_read(Path(options.evidence)))
        pin = _read(Path(options.charter))
        report = check_file(pin.rstrip(b"\n"), evidence, digest, options.at)
    except FormatError as error:
        return _fail(options.json, options.file, error.field, error.reason)
    except (VerifyError, OSError) as error:
        return _fail(options.json, options.file, None, str(error))
    answer = as_json if options.json else as_text
    _say(answer(options.file, digest, options.at, report), sys.stdout)
    return int(report.outcome)


def _parser(now: int | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="glasshouse verify",
        allow_abbrev=False,
        description="Check offline that a file is what the public ledger shows, built from the source shown.",
        epilog="Exit: 0 verified, 1 unparseable, 2 usage, 3 mismatch, 4 not authorised, 5 undecided.",
    )
    parser.add_argument("file", metavar="FILE", help="the file in hand")
    parser.add_argument("--evidence", required=True, metavar="E", help="its evidence file")
    parser.add_argument("--charter", required=True, metavar="PIN", help="the first charter, which you pinned")
    when = "judge at this time (UTC, 2026-11-21T12:00:00Z)"
    parser.add_argument("--at", type=_time, metavar="TIME", default=now, required=now is None, help=when)
    parser.add_argument("--json", action="store_true", help=f"print {SCHEMA}")
    return parser


def _time(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,12}", text, re.ASCII):
        return int(text)
    # Times as utc() writes them sort as text, up to the year 9999.
    seconds = bisect_left(range(_YEAR_10000), text, key=utc)
    if utc(seconds) != text or seconds == _YEAR_10000:
        raise argparse.ArgumentTypeError("must be UTC such as 2026-11-21T12:00:00Z, or Unix seconds")
    return seconds


def _read(path: Path) -> bytes:
    """No more of a file than its format allows, and one byte that makes too many."""
    with path.open("rb") as file:
        return file.read(MAX_EVIDENCE + 1)


def _fail(as_json: bool, file: str, field: str | None, reason: str) -> int:
    if as_json:
        error = {"reason": reason} | ({"field": field} if field else {})
        print(json.dumps({"schema": SCHEMA, "file": file, "outcome": "unparseable", "exit": 1, "error": error}))
    else:
        _say(_shown(f"glasshouse verify: {field + ': ' if field else ''}{reason}"), sys.stderr)
    return int(Outcome.UNPARSEABLE)


def _say(text: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def _shown(text: str) -> str:
    """Text from the files with line breaks, terminal controls and changes of writing direction made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_json(file: str, digest: str, at: int, report: Report) -> str:
    """The answer for programs; `digest` is the SHA-256 of what was judged."""
    outcome = report.outcome.name.lower().replace("_", "-")
    answer: dict[str, Any] = {"schema": SCHEMA, "file": file, "sha256": digest, "at": utc(at), "outcome": outcome}
    claims = [_claim_json(claim) for claim in report.claims]
    return json.dumps(answer | {"exit": int(report.outcome), "claims": claims}, indent=2)


def _claim_json(claim: Claim) -> dict[str, Any]:
    shown = asdict(claim) | {"state": claim.state, "when": None if claim.when is None else utc(claim.when)}
    del shown["outcome"]
    return shown


def as_text(file: str, digest: str, at: int, report: Report) -> str:
    """The answer for people."""
    title = report.outcome.name.replace("_", " ")
    lines = [f"{title}  {_shown(file)}", f"  sha256 {digest}, judged at {utc(at)}", ""]
    for claim in report.claims:
        lines.append(f"  {_MARKS[claim.state]} {claim.claim:<11}{_shown(claim.text)}")
        who = ", ".join(claim.by) + (f", {utc(claim.when)}" if claim.when is not None else "")
        lines += [f"      {label}: {_shown(text)}" for label, text in (("by", who), ("recheck", claim.recheck)) if text]
    limits = [f"  - {claim.limit}" for claim in report.claims if claim.limit]
    return "\n".join([*lines, *(["", "  What this does not show:", *limits] if limits else [])])
