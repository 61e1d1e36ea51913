"""`glasshouse relocate`: all of its commands, in the order in which a move meets them."""

from glasshouse.cli.relocating import planning, public
from glasshouse.cli.relocating.group import app

__all__ = ["app", "planning", "public"]
