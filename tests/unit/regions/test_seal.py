"""Sealing and opening objects: every size around a segment, every damage, and a nonce that is never used twice."""

import copy
import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sealing import HANDLE, REGION, example, preamble, reference

from glasshouse.regions import seal
from glasshouse.regions.errors import InvalidInput, SealBroken, SealSpent
from glasshouse.regions.seal import (
    MAX_METADATA,
    SEALED_SEGMENT_BYTES,
    SEGMENT_BYTES,
    TAG_BYTES,
    Opener,
    Sealer,
    new_handle,
)

METADATA: dict[str, Any] = {"category": "suspicious", "kind": "file"}
START = len(preamble(METADATA))
SIZES = [
    0,
    1,
    SEGMENT_BYTES - START - 1,
    SEGMENT_BYTES - START,
    SEGMENT_BYTES - START + 1,
    2 * SEGMENT_BYTES - START,
    2 * SEGMENT_BYTES - START + 1,
    5 * SEGMENT_BYTES,
]


def content_of(size: int) -> bytes:
    return hashlib.shake_256(size.to_bytes(8, "big")).digest(size)


def sealer(**changes: Any) -> Sealer:
    return Sealer(**({"handle": HANDLE, "region": REGION, "metadata": METADATA} | changes))


def sealed_object(content: bytes) -> tuple[bytes, bytes]:
    """Key and sealed bytes."""
    made = sealer()
    return made.key, made.update(content) + made.finish()


def opened(key: bytes, sealed: bytes, handle: str = HANDLE, region: str = REGION, step: int = 1 << 30) -> bytes:
    return b"".join(Opener(key, handle=handle, region=region).open(pieces(sealed, step)))


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


# --- honest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1_000, 65_535, 65_536, 65_537, 1 << 20])
def test_what_was_sealed_opens_in_pieces_of_any_size(size: int, step: int) -> None:
    content, made = content_of(size), sealer()
    sealed = b"".join([*(made.update(piece) for piece in pieces(content, step)), made.finish()])
    assert sealed == reference(made.key, HANDLE, REGION, preamble(METADATA) + content)
    opener = Opener(made.key, handle=HANDLE, region=REGION)
    assert b"".join(opener.open(pieces(sealed, step + 7))) == content
    assert opener.metadata == METADATA
    assert made.sealed == seal.Sealed(
        content_sha256=hashlib.sha256(content).hexdigest(),
        content_size=size,
        sealed_sha256=hashlib.sha256(sealed).hexdigest(),
        sealed_size=len(sealed),
    )
    assert len(sealed) == made.size_of(size)


def test_the_page_shows_what_opens() -> None:
    shown = example()
    opener = Opener(bytes.fromhex(shown["data key"]), handle=shown["handle"], region=shown["region"])
    assert b"".join(opener.open([bytes.fromhex(shown["sealed"])])).hex() == shown["content"]
    assert opener.metadata == shown["metadata"]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(kind: Callable[[bytes], Any]) -> None:
    content, made = content_of(200_000), sealer()
    sealed = made.update(kind(content)) + made.finish()
    opener = Opener(made.key, handle=HANDLE, region=REGION)
    assert opener.update(kind(sealed)) + opener.finish() == content


def test_the_metadata_are_there_after_the_first_segment() -> None:
    key, sealed = sealed_object(content_of(3 * SEGMENT_BYTES))
    opener = Opener(key, handle=HANDLE, region=REGION)
    with pytest.raises(InvalidInput, match="its first segment has not been opened"):
        _ = opener.metadata
    opener.update(sealed[: SEALED_SEGMENT_BYTES + 1])
    assert opener.metadata == METADATA


def test_the_longest_metadata_fill_a_segment() -> None:
    most = {"name": "x" * (MAX_METADATA - len('{"name":""}'))}
    made = sealer(metadata=most)
    sealed = made.update(b"content") + made.finish()
    opener = Opener(made.key, handle=HANDLE, region=REGION)
    assert b"".join(opener.open([sealed])) == b"content"
    assert opener.metadata == most
    with pytest.raises(InvalidInput, match=f"metadata: {MAX_METADATA + 1} bytes"):
        sealer(metadata={"name": most["name"] + "x"})


def test_little_is_held_whatever_the_length() -> None:
    made = sealer()
    opener = Opener(made.key, handle=HANDLE, region=REGION)
    for _ in range(64):
        opener.update(made.update(bytes(1 << 20)))
        assert len(made._held) <= SEGMENT_BYTES
        assert len(opener._held) <= SEALED_SEGMENT_BYTES
        assert made.position - made.emitted <= SEGMENT_BYTES
    opener.update(made.finish())
    opener.finish()


# --- damage -------------------------------------------------------------------------------------------------------


def test_every_damaged_byte_is_noticed() -> None:
    key, sealed = sealed_object(b"a small object")
    for at in range(len(sealed)):
        damaged = bytearray(sealed)
        damaged[at] ^= 1
        with pytest.raises(SealBroken, match="segment 0 does not open"):
            opened(key, bytes(damaged))


def test_every_cut_is_noticed() -> None:
    key, sealed = sealed_object(b"a small object")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            opened(key, sealed[:length])


@pytest.mark.parametrize("size", SIZES)
def test_cuts_and_additions_at_the_segments_are_noticed(size: int) -> None:
    key, sealed = sealed_object(content_of(size))
    segments = list(pieces(sealed, SEALED_SEGMENT_BYTES))
    for count in range(len(segments)):
        with pytest.raises(SealBroken, match="cut short"):
            opened(key, b"".join(segments[:count]))
    for added in (b"\0", sealed, segments[0], segments[-1], bytes(TAG_BYTES), bytes(SEALED_SEGMENT_BYTES)):
        with pytest.raises(SealBroken):
            opened(key, sealed + added)
        with pytest.raises(SealBroken):
            opened(key, added + sealed)
    for at in range(len(segments)):
        if len(segments) > 1:
            with pytest.raises(SealBroken):
                opened(key, b"".join(segments[:at] + segments[at + 1 :]))
            swapped = segments[:]
            swapped[at], swapped[at - 1] = swapped[at - 1], swapped[at]
            with pytest.raises(SealBroken):
                opened(key, b"".join(swapped))


def test_what_follows_the_end_is_named() -> None:
    key, sealed = sealed_object(content_of(SEGMENT_BYTES - START))
    with pytest.raises(SealBroken, match=r"bytes follow its last segment \(segment 0\)"):
        opened(key, sealed + b"x")


@pytest.mark.parametrize(("handle", "region"), [("5b" + HANDLE[2:], REGION), (HANDLE, "eu"), (HANDLE, "a")])
def test_another_handle_or_region_does_not_open(handle: str, region: str) -> None:
    key, sealed = sealed_object(b"content")
    with pytest.raises(SealBroken, match="another place, object or region"):
        opened(key, sealed, handle, region)


def test_another_objects_segments_do_not_open() -> None:
    (key, sealed), (other_key, _) = sealed_object(b"content"), sealed_object(b"content")
    with pytest.raises(SealBroken):
        opened(other_key, sealed)
    assert opened(key, sealed) == b"content"


@pytest.mark.parametrize(
    ("plaintext", "reason"),
    [
        (b"", "cut short"),
        (b"\0\0\0", "do not end within"),
        (b"\0\0\0\x02{", "do not end within"),
        (b"\xff\xff\xff\xff" + bytes(SEGMENT_BYTES), "do not end within"),
        (b"\0\0\0\x02[]", "not an object"),
        (b"\0\0\0\x03{ }", "not canonical JSON"),
        (b'\0\0\0\x0f{"a":1,"a":"b"}', "not canonical JSON"),
        (b"\0\0\0\0content", "not JSON"),
    ],
)
def test_a_preamble_of_another_form_is_refused(plaintext: bytes, reason: str) -> None:
    key = bytes(32)
    with pytest.raises(SealBroken, match=reason):
        opened(key, reference(key, HANDLE, REGION, plaintext))


def test_an_empty_last_segment_is_refused() -> None:
    """Every object has one sealed form only: nobody who holds the key can add an empty segment to a full one."""
    key, context = bytes(32), seal.object_context(HANDLE, REGION)
    full = preamble(METADATA).ljust(SEGMENT_BYTES, b"x")
    cipher = seal.AESGCM(key)
    sealed = cipher.encrypt(bytes(12), full, context)
    sealed += cipher.encrypt((1).to_bytes(11, "big") + b"\1", b"", context)
    with pytest.raises(SealBroken, match="16 bytes are no segment"):
        opened(key, sealed)


def test_an_opener_that_failed_says_so_again() -> None:
    key, sealed = sealed_object(b"content")
    opener = Opener(key, handle=HANDLE, region=REGION)
    opener.update(sealed[:-1])
    for call in (opener.finish, lambda: opener.update(sealed), opener.finish):
        with pytest.raises(SealBroken):
            call()


def test_an_opener_opens_one_object() -> None:
    key, sealed = sealed_object(b"content")
    opener = Opener(key, handle=HANDLE, region=REGION)
    assert b"".join(opener.open([sealed])) == b"content"
    with pytest.raises(SealSpent):
        opener.update(sealed)


# --- one key, one stream ------------------------------------------------------------------------------------------


def test_every_sealer_has_a_key_of_its_own() -> None:
    assert len({sealer().key for _ in range(100)}) == 100


def test_a_finished_sealer_seals_nothing_more() -> None:
    made = sealer()
    with pytest.raises(SealSpent, match="has not been finished"):
        _ = made.sealed
    made.update(b"content")
    made.finish()
    for call in (made.finish, lambda: made.update(b"more"), lambda: made.check_kept([], position=7)):
        with pytest.raises(SealSpent, match="it was finished"):
            call()


def test_a_sealer_that_failed_seals_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def encrypt(self, *_: object) -> bytes:
            raise MemoryError

    made = sealer()
    cipher = made._cipher
    made._cipher = Failing()  # type: ignore[assignment]
    with pytest.raises(MemoryError):
        made.update(bytes(2 * SEGMENT_BYTES))
    made._cipher = cipher
    for call in (made.finish, lambda: made.update(b"more")):
        with pytest.raises(SealSpent, match=r"it failed \(MemoryError\)"):
            call()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_sealer_is_never_copied(duplicate: Callable[[Sealer], object]) -> None:
    with pytest.raises(SealSpent, match="never copied"):
        duplicate(sealer())


def test_two_callers_at_once_are_refused() -> None:
    made, entered, leave = sealer(), threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        entered.set()
        assert leave.wait(60)
        yield from ()

    first = threading.Thread(target=lambda: made.check_kept(slow(), position=0))
    first.start()
    assert entered.wait(60)
    try:
        with pytest.raises(SealSpent, match="another caller"):
            made.update(b"content")
    finally:
        leave.set()
        first.join()
    sealed = made.update(b"content") + made.finish()
    assert opened(made.key, sealed) == b"content"


def test_a_forked_process_cannot_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sealer()
    made.update(b"content")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(SealSpent, match="another process"):
        made.finish()


def test_nonces_are_never_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[bytes] = []

    class Watching:
        def encrypt(self, nonce: bytes, data: bytes, _: bytes) -> bytes:
            used.append(bytes(nonce))
            return bytes(data) + bytes(16)

    made = sealer()
    made._cipher = Watching()  # type: ignore[assignment]
    for size in (0, 1, 65_536, 100_000, 131_072, 5):
        made.update(bytes(size))
    made.finish()
    assert len(set(used)) == len(used) == 5
    assert [nonce[-1] for nonce in used] == [0, 0, 0, 0, 1]
    assert [int.from_bytes(nonce[:11], "big") for nonce in used] == list(range(5))


# --- an upload that broke -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [0, 1, SEGMENT_BYTES, 2 * SEGMENT_BYTES - START, 200_000])
def test_a_broken_upload_goes_on(taken: int) -> None:
    content, made = content_of(300_000), sealer()
    kept = made.update(content[:taken])
    assert (made.position, made.emitted) == (taken, len(kept))
    made.check_kept(pieces(kept, 10_000), position=taken)
    sealed = kept + made.update(content[taken:]) + made.finish()
    assert sealed == reference(made.key, HANDLE, REGION, preamble(METADATA) + content)


def test_another_position_is_refused_and_the_right_one_taken() -> None:
    made = sealer()
    kept = made.update(content_of(200_000))
    for position in (0, 199_999, 200_001):
        with pytest.raises(InvalidInput, match=f"offset: {position}, expected 200000"):
            made.check_kept([kept], position=position)
    made.check_kept([kept], position=200_000)
    made.finish()


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept[:-1],
        lambda kept: kept + b"\0",
        lambda _: b"",
        lambda kept: kept[SEALED_SEGMENT_BYTES:] + kept[:SEALED_SEGMENT_BYTES],
        lambda kept: bytes([kept[0] ^ 1]) + kept[1:],
        lambda kept: kept[:-1] + bytes([kept[-1] ^ 1]),
    ],
)
def test_after_a_loss_the_key_is_spent(damage: Callable[[bytes], bytes]) -> None:
    made = sealer()
    kept = made.update(content_of(200_000))
    with pytest.raises(SealBroken):
        made.check_kept([damage(kept)], position=200_000)
    for call in (
        lambda: made.check_kept([kept], position=200_000),
        lambda: made.update(b"more"),
        made.finish,
    ):
        with pytest.raises(SealSpent, match=r"it failed \(SealBroken\)"):
            call()


# --- what is asked of the caller ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"handle": "5A" * 32}, "handle"),
        ({"handle": "5a" * 31}, "handle"),
        ({"region": "AU"}, "region"),
        ({"region": ""}, "region"),
        ({"metadata": {"ratio": 0.5}}, "metadata"),
        ({"metadata": {"text": "\ud800"}}, "metadata"),
    ],
)
def test_input_of_another_form_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        sealer(**changes)
    assert raised.value.field == field


def test_a_key_of_another_length_is_refused() -> None:
    for length in (0, 16, 31, 33):
        with pytest.raises(InvalidInput, match="data key"):
            Opener(bytes(length), handle=HANDLE, region=REGION)


def test_handles_are_random_and_of_the_form_that_sealers_take() -> None:
    handles = {new_handle() for _ in range(100)}
    assert len(handles) == 100
    assert all(sealer(handle=handle) for handle in handles)
