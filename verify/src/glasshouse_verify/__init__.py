"""Formats and offline verification: pure functions over bytes."""
