"""`glasshouse relocate`: all of its commands, in the order in which a move meets them."""

from glasshouse.cli.relocating import erasing, overseeing, planning, public, running, watching
from glasshouse.cli.relocating.group import app

__all__ = ["app", "erasing", "overseeing", "planning", "public", "running", "watching"]
