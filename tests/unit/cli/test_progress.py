"""The progress bar of `glasshouse submit`: on a terminal, and nowhere else."""

import io
import sys

import pytest

from glasshouse.cli.sending import _bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with _bar(1_000, as_json=False) as tell:
        assert tell is not None
        tell(400)
        tell(600)
    assert "1.0/1.0 kB" in sys.stderr.getvalue()


@pytest.mark.parametrize(("stream", "as_json"), [(io.StringIO(), False), (Terminal(), True)])
def test_no_bar_elsewhere(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, as_json: bool) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with _bar(1_000, as_json=as_json) as tell:
        assert tell is None
    assert stream.getvalue() == ""
