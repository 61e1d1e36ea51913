"""What every page is made of: the common style sheet, the signs of the states, and the policy of its own parts only."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

_PARTS = files("glasshouse.cli.page")


def read(name: str) -> str:
    """A part of the pages, by its file name."""
    return (_PARTS / name).read_text(encoding="utf-8")


def styled(own: str) -> str:
    """A page's style sheet: the common one, then its own."""
    return read("base.css") + own


def source(text: str) -> str:
    """What a Content-Security-Policy allows just this script or style sheet by."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
