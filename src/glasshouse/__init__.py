"""The Glasshouse rooms."""

import sys

# Every room reads whatever stands in a ledger, so all of them know every kind of statement.
import glasshouse_verify.access
import glasshouse_verify.alarm
import glasshouse_verify.blind
import glasshouse_verify.charter
import glasshouse_verify.receipt
import glasshouse_verify.relocation
import glasshouse_verify.trap  # noqa: F401

# With its own command line httpx would load click, rich and pygments: a quarter of what a command needs to start.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
