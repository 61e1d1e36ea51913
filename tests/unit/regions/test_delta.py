"""Deltas: one spelling, nothing lenient; and which shards they touch."""

from dataclasses import replace

import pytest
from glasshouse_verify.errors import FormatError
from glasshouse_verify.receipt import Reason, Tombstone
from world import NOW, digest

from glasshouse.regions import delta as module
from glasshouse.regions.delta import Delta, HeldRow, changed_prefixes, format_delta, parse_delta

KEYS = sorted(digest(b"%d" % n) for n in range(6))
ADDED = tuple(HeldRow(key=key, commitment=digest(key.encode())) for key in KEYS[:3])
REMOVED = (
    Tombstone(key=KEYS[0], reason=Reason.CUSTOMER, removed=NOW, residue_until=NOW + 60, request=bytes(64)),
    Tombstone(key=KEYS[4], reason=Reason.RETENTION, removed=NOW, residue_until=NOW + 60),
)
CHANGED = (Tombstone(key=KEYS[5], reason=Reason.CATEGORY, removed=NOW),)
FULL = Delta(region="au", epoch=7, added=ADDED, removed=REMOVED, changed=CHANGED)
EMPTY = Delta(region="au", epoch=1)


@pytest.mark.parametrize("delta", [FULL, EMPTY, replace(FULL, added=()), replace(FULL, removed=(), changed=())])
def test_round_trip(delta: Delta) -> None:
    data = format_delta(delta)
    assert parse_delta(data) == delta
    assert data.count(b"\n") == 1 + len(delta.added) + len(delta.removed) + len(delta.changed)


def test_every_other_spelling() -> None:
    data = format_delta(FULL)
    lines = data.splitlines(keepends=True)
    for other in (
        b"",
        b"\n",
        data[:-1],
        data + b"\n",
        data + lines[-1],
        data.replace(b"\n", b"\r\n"),
        data.replace(b":", b": ", 1),
        b"".join([lines[0], lines[2], lines[1], *lines[3:]]),
        b"".join([lines[0], *lines[2:]]),
        b"".join([lines[0], lines[1], lines[1], *lines[3:]]),
        b"".join([lines[0], *lines[4:], *lines[1:4]]),
        b"".join([*lines[1:], lines[0]]),
        data.replace(b'"epoch":7', b'"epoch":07'),
        data.replace(b"/v1", b"/v2"),
        data.replace(b'"reason":"category"', b'"reason":"lost"'),
        data.replace(b'"added":3', b'"added":2'),
        data.replace(b'"added":3', b'"added":999999999'),
        data.replace(b'"region":"au"', b'"region":"' + b"a" * 2_000 + b'"'),
    ):
        assert other != data
        with pytest.raises(FormatError):
            parse_delta(other)


def test_every_truncation() -> None:
    data = format_delta(FULL)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            parse_delta(data[:length])


@pytest.mark.parametrize("member", ["added", "removed", "changed"])
def test_order(member: str) -> None:
    rows = getattr(replace(FULL, changed=REMOVED), member)
    for wrong in (rows[::-1], (rows[0], rows[0])):
        with pytest.raises(FormatError, match=f"delta.{member}: must ascend by key"):
            replace(FULL, **{member: wrong})


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    data = format_delta(FULL)
    monkeypatch.setattr(module, "MAX_ROWS", 5)
    with pytest.raises(FormatError, match="more than 5 rows"):
        replace(FULL)
    with pytest.raises(FormatError, match="announces more than 5 rows"):
        parse_delta(data)


def test_shards_touched() -> None:
    held, erased = changed_prefixes(FULL, 2)
    assert held == {key[:2] for key in (*KEYS[:3], KEYS[0], KEYS[4])}
    assert erased == {key[:2] for key in (KEYS[0], KEYS[4], KEYS[5])}
