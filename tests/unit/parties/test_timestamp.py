"""The time-stamp authority, asked and judged by OpenSSL's own commands, in a process and over HTTP."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from ledgers import served
from starlette.applications import Starlette

from glasshouse.cli.timestamping import timestamp_routes
from glasshouse.parties.certificates import Purpose, create_chain
from glasshouse.parties.errors import KeyUnavailable, QueryRefused
from glasshouse.parties.timestamp import MAX_QUERY, QUERY_TYPE, REPLY_TYPE, TimestampAuthority

NOW = 1_790_000_000


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("keys")
    create_chain(directory, Purpose.TIME_STAMPING, "Witness", NOW)
    return directory


@pytest.fixture(scope="module")
def url(keys: Path) -> Iterator[str]:
    with served(Starlette(routes=[*timestamp_routes(TimestampAuthority(keys))])) as base:
        yield f"{base}/timestamp"


def query(data: Path, digest: str = "-sha256") -> bytes:
    command = ["openssl", "ts", "-query", "-data", str(data), digest, "-cert"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def text(reply: bytes, place: Path) -> str:
    place.write_bytes(reply)
    command = ["openssl", "ts", "-reply", "-in", str(place), "-text"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_stamp_holds_and_is_of_that_data(keys: Path, tmp_path: Path) -> None:
    data, reply = tmp_path / "data", tmp_path / "reply"
    data.write_bytes(b"stamped")
    reply.write_bytes(TimestampAuthority(keys).answer(query(data)))
    command = ["openssl", "ts", "-verify", "-in", str(reply), "-CAfile", str(keys / "timestamp-root.pem"), "-data"]
    assert subprocess.run([*command, str(data)], capture_output=True, check=False).returncode == 0
    data.write_bytes(b"other")
    assert subprocess.run([*command, str(data)], capture_output=True, check=False).returncode != 0


def test_each_stamp_has_a_number_of_its_own(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"stamped")
    authority = TimestampAuthority(keys)
    lines = [text(authority.answer(query(tmp_path / "data")), tmp_path / "reply").splitlines() for _ in range(2)]
    numbers = {line for found in lines for line in found if line.startswith("Serial number")}
    assert len(numbers) == 2


def test_what_the_authority_does_not_stamp(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"stamped")
    reply = TimestampAuthority(keys).answer(query(tmp_path / "data", "-sha1"))
    assert "Status: Rejected" in text(reply, tmp_path / "reply")
    with pytest.raises(QueryRefused, match="at most"):
        TimestampAuthority(keys).answer(bytes(MAX_QUERY + 1))


def test_without_its_files(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable):
        TimestampAuthority(tmp_path)
    for name in ("timestamp.key", "timestamp.pem"):
        shutil.copy(keys / name, tmp_path)
    (tmp_path / "timestamp.key").chmod(0o644)
    with pytest.raises(KeyUnavailable, match="read by others"):
        TimestampAuthority(tmp_path)


def test_over_http(url: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"stamped")
    answer = httpx.post(url, content=query(tmp_path / "data"), headers={"content-type": QUERY_TYPE})
    assert (answer.status_code, answer.headers["content-type"]) == (200, REPLY_TYPE)
    assert "Status: Granted" in text(answer.content, tmp_path / "reply")
    assert httpx.post(url, content=bytes(MAX_QUERY + 1)).status_code == 413
    assert httpx.get(url).status_code == 405


@pytest.mark.parametrize("body", [b"", b"no query", b"\x30\x03\x02\x01\x01"])
def test_a_malformed_query(body: bytes, keys: Path, url: str, tmp_path: Path) -> None:
    """Refused, or answered with OpenSSL's rejection; never stamped."""
    answer = httpx.post(url, content=body)
    if answer.status_code == 200:
        assert "Status: Rejected" in text(answer.content, tmp_path / "reply")
    else:
        assert answer.status_code == 400
        assert answer.json()["field"] == "query"
