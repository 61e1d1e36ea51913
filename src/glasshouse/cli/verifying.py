"""`glasshouse verify`: a file against its evidence, which the verifier answers alone; or evidence that is all there is.

The evidence of a relocation is about no file that one could hold. It is recognised by its schema.
"""

import argparse
import calendar
import json
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from glasshouse_verify.cli import SCHEMA, as_json, as_text
from glasshouse_verify.cli import main as verify_file
from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.evidence import MAX_EVIDENCE
from glasshouse_verify.report import Outcome

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_HELP = {"-h", "--help"}


def main(arguments: Sequence[str], now: int) -> int:
    """Run the command at Unix time `now`, which --at overrides; returns the exit code."""
    given = {argument.partition("=")[0] for argument in arguments}
    if "--evidence" in given:
        return verify_file(list(arguments), now)
    if given & _HELP:
        print(_parser(now).format_help())
        return verify_file(list(arguments), now)
    options = _parser(now).parse_args(arguments)
    try:
        # Only who has such evidence waits for what judges it.
        from glasshouse_verify.relocation_check import check_relocation, parse_relocation_evidence

        data = _read(options.file)
        report = check_relocation(_read(options.pin).rstrip(b"\n"), parse_relocation_evidence(data), options.at)
    except FormatError as error:
        return _fail(options, error.field, error.reason)
    except (VerifyError, OSError) as error:
        return _fail(options, None, str(error))
    answer = as_json if options.json else as_text
    encoding = sys.stdout.encoding or "utf-8"
    text = answer(str(options.file), sha256(data).hexdigest(), options.at, report)
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    return int(report.outcome)


def _parser(now: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="glasshouse verify",
        allow_abbrev=False,
        description="Check offline how a relocation went, from its evidence. With --evidence, of a file: see below.",
        epilog="Exit: 0 verified, 1 unparseable, 2 usage, 3 mismatch, 4 not authorised, 5 undecided or not ended yet.",
    )
    parser.add_argument("file", metavar="EVIDENCE", type=Path, help="what glasshouse relocate evidence wrote")
    pin = "the first charter, which you pinned"
    parser.add_argument("--pin", "--charter", required=True, metavar="PIN", type=Path, dest="pin", help=pin)
    when = "judge at this time (UTC, 2026-11-21T12:00:00Z)"
    parser.add_argument("--at", type=_time, metavar="TIME", default=now, help=when)
    parser.add_argument("--json", action="store_true", help=f"print {SCHEMA}")
    return parser


def _time(text: str) -> int:
    try:
        return int(text) if text.isascii() and text.isdigit() else calendar.timegm(time.strptime(text, _TIME))
    except ValueError:
        raise argparse.ArgumentTypeError("must be UTC such as 2026-11-21T12:00:00Z, or Unix seconds") from None


def _read(path: Path) -> bytes:
    """No more of a file than its format allows, and one byte that makes too many."""
    with path.open("rb") as file:
        return file.read(MAX_EVIDENCE + 1)


def _fail(options: argparse.Namespace, field: str | None, reason: str) -> int:
    if options.json:
        error = {"reason": reason} | ({"field": field} if field else {})
        shown = {"schema": SCHEMA, "file": str(options.file), "outcome": "unparseable", "exit": 1, "error": error}
        print(json.dumps(shown))
    else:
        text = f"glasshouse verify: {field + ': ' if field else ''}{reason}"
        if (field or "").startswith("evidence"):
            text += "\nA file in hand is checked with --evidence, a receipt by: glasshouse receipt check"
        print("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text), file=sys.stderr)
    return int(Outcome.UNPARSEABLE)
