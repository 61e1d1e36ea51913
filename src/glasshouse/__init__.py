"""The Glasshouse rooms."""

# Every room reads whatever stands in a ledger, so all of them know every kind of statement.
import glasshouse_verify.alarm
import glasshouse_verify.blind
import glasshouse_verify.charter
import glasshouse_verify.receipt
import glasshouse_verify.trap  # noqa: F401
