"""Rebuilder and auditor daemons: the independent parties' side."""
