"""D15 Nonce or key reuse over a resumed upload.

Cheat: an upload is broken off and resumed so that other content would be sealed under nonces that are used up: the
client sends an earlier part again with changes, the disk has lost what was sealed, two resumptions come at once, or
another process takes the upload over. Two sealed segments under one key and nonce give away the difference of their
contents, and enough to forge segments under that key.

Noticed by: the site's own sealer, before it seals anything.

Seen: the resumption is refused, by its offset or for good; whoever begins anew gets another data key, and no
byte of the broken upload is kept.
"""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from sealing import HANDLE, REGION, preamble, reference

from glasshouse.regions.errors import InvalidInput, SealBroken, SealSpent
from glasshouse.regions.seal import SEALED_SEGMENT_BYTES, SEGMENT_BYTES, Opener, Sealer
from glasshouse.storage import files

METADATA = {"category": "suspicious"}
CONTENT = b"the first content ".ljust(200_000, b"1")
OTHER = b"another content   ".ljust(200_000, b"2")
FORK = """
import os
from glasshouse.regions.errors import SealSpent
from glasshouse.regions.seal import Sealer
sealer = Sealer(handle="5a" * 32, region="au", metadata={})
sealer.update(bytes(70_000))
child = os.fork()
if child == 0:
    try:
        sealer.update(bytes(70_000))
    except SealSpent as error:
        os._exit(42 if "another process" in str(error) else 1)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(sealer.update(bytes(70_000))))
"""


class BrokenUpload:
    """A sealer and the file it has been writing to, at the moment when the connection went away."""

    def __init__(self, path: Path, content: bytes = CONTENT) -> None:
        self.path = path
        self.sealer = Sealer(handle=HANDLE, region=REGION, metadata=METADATA)
        path.write_bytes(self.sealer.update(content))

    def resume(self, position: int) -> None:
        self.sealer.check_kept(files.chunks(self.path), position=position)

    def go_on(self, content: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(self.sealer.update(content))
            file.write(self.sealer.finish())

    def content(self) -> bytes:
        return b"".join(Opener(self.sealer.key, handle=HANDLE, region=REGION).open(files.chunks(self.path)))


def segments(sealed: bytes) -> Iterable[bytes]:
    return (sealed[at : at + SEALED_SEGMENT_BYTES] for at in range(0, len(sealed), SEALED_SEGMENT_BYTES))


def test_attack_other_content_from_an_earlier_offset(tmp_path: Path) -> None:
    upload = BrokenUpload(tmp_path / "object")
    before = upload.path.read_bytes()
    for position in (0, SEGMENT_BYTES, upload.sealer.emitted, len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(InvalidInput, match="offset"):
            upload.resume(position)
    assert upload.path.read_bytes() == before
    # The refusal costs the honest client nothing.
    upload.resume(len(CONTENT))
    upload.go_on(b"the end")
    assert upload.content() == CONTENT + b"the end"


@pytest.mark.parametrize("lost", [1, SEALED_SEGMENT_BYTES, 2 * SEALED_SEGMENT_BYTES])
def test_attack_the_disk_lost_what_was_sealed(tmp_path: Path, lost: int) -> None:
    upload = BrokenUpload(tmp_path / "object")
    upload.path.write_bytes(upload.path.read_bytes()[:-lost])
    with pytest.raises(SealBroken, match="begin anew with another key"):
        upload.resume(len(CONTENT))
    # Not even with the right bytes: the client might have kept back that it sends others.
    with pytest.raises(SealSpent):
        upload.sealer.update(OTHER)
    again = BrokenUpload(tmp_path / "anew", OTHER)
    assert again.sealer.key != upload.sealer.key
    used = set(segments(upload.path.read_bytes()))
    assert not used & set(segments(again.path.read_bytes()))


def test_attack_the_disk_was_changed_meanwhile(tmp_path: Path) -> None:
    upload = BrokenUpload(tmp_path / "object")
    changed = bytearray(upload.path.read_bytes())
    changed[70_000] ^= 1
    upload.path.write_bytes(changed)
    with pytest.raises(SealBroken, match="segment 1 does not open"):
        upload.resume(len(CONTENT))
    with pytest.raises(SealSpent):
        upload.go_on(b"the end")


def test_attack_two_resumptions_at_once(tmp_path: Path) -> None:
    upload = BrokenUpload(tmp_path / "object", b"")
    start, pieces, writing = threading.Barrier(4), list[bytes](), threading.Lock()

    def resume(letter: bytes) -> None:
        start.wait(60)
        for _ in range(50):
            with contextlib.suppress(SealSpent), writing:
                pieces.append(upload.sealer.update(letter * 50_000))

    def collide() -> None:
        start.wait(60)
        for _ in range(200):
            with contextlib.suppress(InvalidInput, SealSpent):
                upload.sealer.check_kept([b"x"], position=-1)

    threads = [threading.Thread(target=resume, args=(letter,)) for letter in (b"1", b"2", b"3")]
    threads.append(threading.Thread(target=collide))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sealed = b"".join([*pieces, upload.sealer.finish()])
    # Whatever interleaved, each segment has a number of its own: the whole opens, in one order.
    opened = b"".join(Opener(upload.sealer.key, handle=HANDLE, region=REGION).open([sealed]))
    assert len(opened) == upload.sealer.position
    assert upload.sealer.sealed.sealed_size == len(sealed)


def test_attack_another_process_takes_the_upload_over() -> None:
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["42", str(SEALED_SEGMENT_BYTES)]


def test_control_a_broken_upload_goes_on(tmp_path: Path) -> None:
    upload = BrokenUpload(tmp_path / "object")
    upload.resume(len(CONTENT))
    upload.go_on(OTHER)
    assert upload.content() == CONTENT + OTHER
    whole = reference(upload.sealer.key, HANDLE, REGION, preamble(METADATA) + CONTENT + OTHER)
    assert upload.path.read_bytes() == whole


def test_control_what_the_cheat_would_have_gained() -> None:
    """A sealer that did reuse its nonces would give away the difference of two contents."""
    one, other = (reference(bytes(32), HANDLE, REGION, content)[:100] for content in (CONTENT, OTHER))
    difference = bytes(a ^ b for a, b in zip(one, other, strict=True))
    assert difference == bytes(a ^ b for a, b in zip(CONTENT[:100], OTHER[:100], strict=True))
