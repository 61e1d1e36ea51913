"""The Glasshouse rooms."""
