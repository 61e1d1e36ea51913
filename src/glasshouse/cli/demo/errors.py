"""The demo's own error."""


class DemoFailed(Exception):
    """A step of the demo did not go as it must; the message holds the last words of what failed."""
