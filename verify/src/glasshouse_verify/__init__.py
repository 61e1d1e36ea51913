"""Formats and offline verification: pure functions over bytes."""

# A charter is a statement too: whoever parses statements knows it, whatever else is imported.
from glasshouse_verify import charter as charter
