"""Sealed objects over every way of cutting them into pieces, breaking uploads off, and damaging what was stored."""

import hashlib
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sealing import HANDLE, REGION, preamble, reference

from glasshouse.regions.errors import InvalidInput, SealBroken, SealSpent
from glasshouse.regions.seal import SEALED_SEGMENT_BYTES, SEGMENT_BYTES, TAG_BYTES, Opener, Sealer

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
VALUES = st.one_of(
    st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(st.characters(exclude_categories=["Cs"]))
)
METADATA = st.dictionaries(NAMES, VALUES, max_size=6)
LENGTHS = st.one_of(
    st.integers(0, 300),
    st.integers(0, 3).flatmap(lambda n: st.integers(max(0, n * SEGMENT_BYTES - 300), n * SEGMENT_BYTES + 300)),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(bounds)]


@given(METADATA, LENGTHS, st.lists(st.integers(0, 1 << 20), max_size=6), st.lists(st.integers(0, 1 << 20), max_size=6))
@settings(max_examples=150)
def test_pieces_make_no_difference(metadata: dict[str, Any], length: int, one: list[int], other: list[int]) -> None:
    content = hashlib.shake_256(b"content").digest(length)
    sealer = Sealer(handle=HANDLE, region=REGION, metadata=metadata)
    sealed = b"".join([*map(sealer.update, cut(content, one)), sealer.finish()])
    assert sealed == reference(sealer.key, HANDLE, REGION, preamble(metadata) + content)
    assert len(sealed) == sealer.size_of(length) == sealer.sealed.sealed_size
    opener = Opener(sealer.key, handle=HANDLE, region=REGION)
    assert b"".join(opener.open(cut(sealed, other))) == content
    assert opener.metadata == metadata


@given(LENGTHS, st.data())
@settings(max_examples=150)
def test_no_other_bytes_open(length: int, data: st.DataObject) -> None:
    sealer = Sealer(handle=HANDLE, region=REGION, metadata={})
    sealed = sealer.update(bytes(length)) + sealer.finish()
    start, stop = sorted(data.draw(st.integers(0, len(sealed)), label="place") for _ in range(2))
    other = sealed[:start] + data.draw(st.binary(max_size=3 * TAG_BYTES), label="instead") + sealed[stop:]
    if other == sealed:
        return
    with pytest.raises(SealBroken):
        list(Opener(sealer.key, handle=HANDLE, region=REGION).open(cut(other, [start, stop])))


class Upload(RuleBasedStateMachine):
    """A client that breaks off and resumes, a disk that now and then loses something, against a list of nonces."""

    @initialize()
    def begin(self) -> None:
        self.sealer = Sealer(handle=HANDLE, region=REGION, metadata={"category": "unknown"})
        self.disk = bytearray()
        self.sent = bytearray()
        self.lost = False
        self.ended = False

    @precondition(lambda self: not self.ended)
    @rule(size=LENGTHS, seed=st.integers(0, 255))
    def send(self, size: int, seed: int) -> None:
        piece = bytes([seed]) * size
        if self.lost:
            return
        self.disk += self.sealer.update(piece)
        self.sent += piece

    @precondition(lambda self: not self.ended)
    @rule(offset=st.integers(-2, 2))
    def resume(self, offset: int) -> None:
        position = len(self.sent) + offset
        kept = cut(bytes(self.disk), [7, SEALED_SEGMENT_BYTES])
        if offset:
            with pytest.raises(InvalidInput):
                self.sealer.check_kept(kept, position=position)
        elif self.lost:
            with pytest.raises(SealBroken):
                self.sealer.check_kept(kept, position=position)
            self.ended = True
        else:
            self.sealer.check_kept(kept, position=position)

    @precondition(lambda self: not self.ended and not self.lost and self.disk)
    @rule(place=st.integers(0, 1 << 20), kind=st.sampled_from(["cut", "flip", "add"]))
    def lose(self, place: int, kind: str) -> None:
        place %= len(self.disk)
        if kind == "cut":
            del self.disk[place:]
        elif kind == "flip":
            self.disk[place] ^= 0x40
        else:
            self.disk += b"\0"
        self.lost = True

    @precondition(lambda self: not self.ended and not self.lost)
    @rule()
    def finish(self) -> None:
        self.disk += self.sealer.finish()
        self.ended = True
        whole = preamble({"category": "unknown"}) + bytes(self.sent)
        assert self.disk == reference(self.sealer.key, HANDLE, REGION, whole)
        assert self.sealer.sealed.content_sha256 == hashlib.sha256(self.sent).hexdigest()

    @precondition(lambda self: self.ended)
    @rule()
    def nothing_more(self) -> None:
        for call in (self.sealer.finish, lambda: self.sealer.update(b"x")):
            with pytest.raises(SealSpent):
                call()

    @invariant()
    def what_is_held_is_bounded(self) -> None:
        assert self.sealer.position == len(self.sent)
        assert len(self.sealer._held) <= SEGMENT_BYTES


Upload.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
TestUploads = Upload.TestCase
