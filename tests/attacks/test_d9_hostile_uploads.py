"""D9 Hostile uploads.

Cheat: a customer, or somebody with its token, sends archive bombs, names that climb out of directories, nothing at all,
    more than any disk holds, other bytes than declared, half of a file, one byte a minute, or one file many times over.
Noticed by: the site: what is declared is judged before the body is read, what comes is counted and hashed meanwhile,
    and content is never unpacked or looked into.
Seen: HTTP 408, 411, 413, 422 or 429 with the field that is wrong; nothing of it at either site; for one file sent many
    times at once, one object and one receipt.
"""

import contextlib
import hashlib
import select
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from customers import Counters, counters, header
from initiative import until
from sites import honoured, receipt_of

from glasshouse.regions.customers.pace import Pace
from glasshouse.storage.db import Database

LARGEST = 8 << 20


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counters]:
    with counters(tmp_path_factory.mktemp("region"), database, other_database, max_file_bytes=LARGEST) as made:
        yield made


def clean(region: Counters, before: int) -> bool:
    """Whether a site has no more objects than before, in its database, its vault and its spool."""
    spool = region.first.site.place.vault.spool
    return region.first.objects() == before and not any(path.is_file() for path in spool.rglob("*"))


@contextlib.contextmanager
def raw(region: Counters, content_length: int, sha256: str = "0" * 64) -> Iterator[socket.socket]:
    """A connection on which the head of an upload has been sent, and no body yet."""
    lines = (
        f"PUT /intake/v1/files/{sha256} HTTP/1.1",
        "Host: site",
        f"Authorization: Bearer {region.token}",
        f"Glasshouse-Metadata: {header({'category': 'suspicious'})}",
        f"Content-Length: {content_length}",
    )
    port = region.territory.public_ports["zurich-1"]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        yield connection


def answer_on(connection: socket.socket) -> bytes:
    answer = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            answer += piece
    return bytes(answer)


def test_control_an_ordinary_file(region: Counters) -> None:
    answer = region.first.send(b"an ordinary file", region.token, name="ordinary.txt")
    assert answer.status_code == 201, answer.text
    assert honoured(answer.content, region.first.site, region.second.site)


def test_attack_a_bomb(region: Counters) -> None:
    """A gigabyte of zeros in a megabyte: to a site it is a megabyte, under a name and a type that it never acts on."""
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(1024)) + packer.flush()
    assert len(bomb) < 2 << 20
    answer = region.first.send(bomb, region.token, name="invoice.zip", media_type="application/zip")
    assert answer.status_code == 201, answer.text
    said = receipt_of(answer.content)
    assert said.size == len(bomb)
    assert region.first.site.content(said.handle) == bomb
    sent_as_encoded = {"content-encoding": "deflate", "glasshouse-metadata": header({"category": "unknown"})}
    path = f"/intake/v1/files/{hashlib.sha256(bomb + b'2').hexdigest()}"
    answer = region.first.ask("PUT", path, region.token, headers=sent_as_encoded, content=bomb + b"2")
    assert receipt_of(answer.content).size == len(bomb) + 1


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "..", "a/b", "a\x00b", "a\nb"]
)
def test_attack_names_that_climb(region: Counters, name: str) -> None:
    before = region.first.objects()
    answer = region.first.send(b"climbing", region.token, name=name)
    assert (answer.status_code, answer.json()["field"]) == (422, "metadata.name")
    assert clean(region, before)


@pytest.mark.parametrize("digest", ["../../x", "..%2f..%2fx", "0" * 63, "0" * 65, "G" * 64, "A" * 64])
def test_attack_digests_that_are_none(region: Counters, digest: str) -> None:
    before = region.first.objects()
    answer = region.first.send(b"x", region.token, sha256=digest)
    assert answer.status_code in (404, 422)
    assert clean(region, before)


def test_control_nothing_at_all(region: Counters) -> None:
    """An empty file is a file."""
    answer = region.first.send(b"", region.token)
    assert answer.status_code == 201
    assert honoured(answer.content, region.first.site, region.second.site)


@pytest.mark.parametrize("size", [LARGEST + 1, 5 << 40, 2**62])
def test_attack_more_than_there_is_room_for(region: Counters, size: int) -> None:
    """Answered before a byte of it is read."""
    before = region.first.objects()
    with raw(region, size) as connection:
        answer = answer_on(connection)
    assert answer.startswith(b"HTTP/1.1 413 "), answer
    assert b'"field":"size"' in answer
    assert clean(region, before)


@pytest.mark.parametrize("length", ["-1", "1e9", "0x10", "1 000", ""])
def test_attack_sizes_that_are_none(region: Counters, length: str) -> None:
    before = region.first.objects()
    headers = {
        "glasshouse-sha256": "0" * 64,
        "upload-length": length,
        "glasshouse-metadata": header({"category": "unknown"}),
    }
    answer = region.first.ask("POST", "/intake/v1/uploads", region.token, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "Upload-Length")
    assert clean(region, before)


@pytest.mark.parametrize("size", [10, 100_000, 3 << 20], ids=["small", "of a few pieces", "through the spool"])
def test_attack_other_bytes_than_declared(region: Counters, size: int) -> None:
    before, (received, refused) = region.first.objects(), region.first.counts()
    answer = region.first.send(b"x" * size, region.token, sha256=hashlib.sha256(b"y" * size).hexdigest())
    assert (answer.status_code, answer.json()["field"]) == (422, "sha256")
    until(lambda: clean(region, before))
    until(lambda: region.first.counts()[1] > refused)
    assert region.first.counts()[0] - received == region.first.counts()[1] - refused


@pytest.mark.parametrize("size", [10, 3 << 20], ids=["small", "through the spool"])
def test_attack_half_of_a_file(region: Counters, size: int) -> None:
    """The connection ends in the middle of it."""
    before, content = region.first.objects(), b"x" * size
    with raw(region, size, hashlib.sha256(content).hexdigest()) as connection:
        connection.sendall(content[: size // 2])
        connection.shutdown(socket.SHUT_WR)
        answer_on(connection)
    until(lambda: clean(region, before))
    whole = region.first.send(content, region.token)
    assert whole.status_code == 201


def test_attack_one_byte_and_then_silence(region: Counters) -> None:
    before = region.first.objects()
    with raw(region, 1_000) as connection:
        connection.sendall(b"x")
        answer = answer_on(connection)
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    until(lambda: clean(region, before))


def test_attack_a_byte_now_and_then(region: Counters) -> None:
    """Never silent for long, and never done: the whole has to come at a certain pace."""
    before = region.first.objects()
    with raw(region, 1_000_000) as connection, contextlib.suppress(ConnectionError):
        while not select.select([connection], [], [], 0.2)[0]:
            connection.sendall(b"x")
        answer = answer_on(connection)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
    until(lambda: clean(region, before))


def test_attack_a_part_that_breaks_off(region: Counters) -> None:
    """What has come of it stays, is read back, and the rest is asked for; other bytes at its place never fit."""
    content = b"0123456789" * 20_000
    headers = {
        "glasshouse-sha256": hashlib.sha256(content).hexdigest(),
        "upload-length": str(len(content)),
        "glasshouse-metadata": header({"category": "suspicious"}),
    }
    place = region.first.ask("POST", "/intake/v1/uploads", region.token, headers=headers).headers["location"]
    port = region.territory.public_ports["zurich-1"]
    lines = (
        f"PATCH {place} HTTP/1.1",
        "Host: site",
        f"Authorization: Bearer {region.token}",
        "Content-Type: application/partial-upload",
        "Upload-Offset: 0",
        "Upload-Complete: ?1",
        f"Content-Length: {len(content)}",
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + content[:150_000])
        connection.shutdown(socket.SHUT_WR)
        answer_on(connection)

    def offset() -> int:
        return int(region.first.ask("HEAD", place, region.token).headers["upload-offset"])

    until(lambda: offset() > 0)
    at = offset()
    part = {"content-type": "application/partial-upload", "upload-offset": str(at), "upload-complete": "?1"}
    answer = region.first.ask("PATCH", place, region.token, headers=part, content=content[at:])
    assert answer.status_code == 201, answer.text
    assert region.first.site.content(receipt_of(answer.content).handle) == content


def test_attack_one_file_many_times_at_once(region: Counters) -> None:
    before = region.first.objects()
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: region.first.send(b"many times at once", region.token), range(12)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert sum(answer.status_code == 201 for answer in answers) == 1
    assert len({answer.content for answer in answers}) == 1
    assert region.first.objects() == before + 1
    assert honoured(answers[0].content, region.first.site, region.second.site)


def test_attack_faster_than_agreed(region: Counters) -> None:
    """One customer's haste is not another's delay."""
    token, pace = region.enrol("hasty"), region.first.reception.pace
    object.__setattr__(region.first.reception, "pace", Pace(1.0))
    try:
        answers = [region.first.ask("GET", "/intake/v1/policy", token) for _ in range(8)]
        other = region.first.ask("GET", "/intake/v1/policy", region.token)
    finally:
        object.__setattr__(region.first.reception, "pace", pace)
    late = [answer for answer in answers if answer.status_code == 429]
    assert late
    assert int(late[0].headers["retry-after"]) >= 1
    assert other.status_code == 200
