"""Karton as `bench karton` runs it: Redis, an S3 server, `karton-system`, a producer and consumers, each a process.

    python -m bench.pipeline produce        sends tasks: a line "SIZE SECONDS" in, a line with their number out
    python -m bench.pipeline consume PLACE  takes tasks, keeps each file in PLACE

They find Redis and S3 in the environment, as any Karton service does, and run in a Python environment of Karton's
(`tools/setup bench` makes it).
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from bench.intake import START_SECONDS, free_port, wait_for

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".tools" / "karton" / "bin"
BUCKET = "karton"
CONSUMER = "karton.bench"
CONSUMED, CRASHED, BINDS = "karton.metrics.consumed", "karton.metrics.crashed", "karton.binds"
PRODUCERS = 2
CONSUMERS = 2
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
KEY, SECRET = "bench", "bench-secret"  # opens nothing but this run's S3 server


class Karton:
    """A running Karton, and what its S3 server is called."""

    def __init__(self, redis: "Redis", producers: list[subprocess.Popen[bytes]], s3: str) -> None:
        self._redis, self._producers, self.s3 = redis, producers, s3

    def load(self, size: int, seconds: float) -> float:
        """Files per second, from the first that is sent until the last is kept; raises RuntimeError if one is not."""
        before, start = self._consumed(), time.monotonic()
        for producer in self._producers:
            _ask(producer, f"{size} {seconds}")
        sent = sum(_answer(producer) for producer in self._producers)
        while self._consumed() < before + sent:
            if time.monotonic() > start + seconds + START_SECONDS:
                raise RuntimeError("consumers do not take what was sent")
            time.sleep(0.005)
        taken = time.monotonic() - start
        if self._redis.field(CRASHED, CONSUMER) is not None:
            raise RuntimeError("a consumer failed")
        return sent / taken

    def _consumed(self) -> int:
        return int(self._redis.field(CONSUMED, CONSUMER) or 0)


class Redis:
    """A connection that reads fields of hashes."""

    def __init__(self, port: int) -> None:
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS)
        self._stream = self._connection.makefile("rb")

    def field(self, key: str, name: str) -> bytes | None:
        """One field, or None."""
        self._connection.sendall(f"HGET {key} {name}\r\n".encode())
        length = int(self._stream.readline().removeprefix(b"$"))
        return None if length < 0 else self._stream.read(length + 2)[:-2]

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
        self._connection.close()


def _ask(producer: subprocess.Popen[bytes], line: str) -> None:
    if producer.stdin is None:
        raise RuntimeError("a producer cannot be told anything")
    producer.stdin.write(f"{line}\n".encode())
    producer.stdin.flush()


def _answer(producer: subprocess.Popen[bytes]) -> int:
    if producer.stdout is None:
        raise RuntimeError("a producer cannot say anything")
    return int(producer.stdout.readline())


@contextlib.contextmanager
def karton(directory: Path) -> Iterator[Karton]:
    """Everything that takes files the Karton way, started; raises RuntimeError where a part is not here."""
    kept = directory / "kept"
    kept.mkdir(parents=True)
    redis_port, s3_port = free_port(), free_port()
    environment = {
        "KARTON_REDIS_HOST": "127.0.0.1",
        "KARTON_REDIS_PORT": str(redis_port),
        "KARTON_S3_ADDRESS": f"http://127.0.0.1:{s3_port}",
        "KARTON_S3_ACCESS_KEY": KEY,
        "KARTON_S3_SECRET_KEY": SECRET,
        "KARTON_S3_BUCKET": BUCKET,
        # Otherwise each line that a service logs goes to Redis, too, for nobody to read.
        "KARTON_LOGGING_ENABLE_PUBLISH": "0",
    }
    own = [program("python"), "-m", "bench.pipeline"]
    with contextlib.ExitStack() as stack:
        start = [program("redis-server"), "--port", str(redis_port), "--bind", "127.0.0.1", "--dir", str(directory)]
        servers = [stack.enter_context(process(start))]
        s3 = s3_command(directory, s3_port)
        servers.append(stack.enter_context(process(s3)))
        for port in (redis_port, s3_port):
            wait_for(port, servers)
        redis = stack.enter_context(contextlib.closing(Redis(redis_port)))
        services = [[program("karton-system")], *[[*own, "consume", str(kept)]] * CONSUMERS]
        started = [stack.enter_context(process(service, environment)) for service in services]
        producers = [stack.enter_context(process([*own, "produce"], environment, pipes=True)) for _ in range(PRODUCERS)]
        end = time.monotonic() + START_SECONDS
        while redis.field(BINDS, CONSUMER) is None:
            if any(one.poll() is not None for one in started) or time.monotonic() > end:
                raise RuntimeError("Karton did not start")
            time.sleep(0.05)
        yield Karton(redis, producers, Path(s3[0]).name)


@contextlib.contextmanager
def process(
    command: list[str], environment: dict[str, str] | None = None, *, pipes: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A process while it is needed."""
    given, taken = (subprocess.PIPE, subprocess.PIPE) if pipes else (None, subprocess.DEVNULL)
    variables = {**os.environ, **(environment or {})}
    with subprocess.Popen(command, env=variables, stdin=given, stdout=taken, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.terminate()


def program(name: str) -> str:
    """A program of Karton's environment, else on PATH; raises RuntimeError where it is in neither."""
    found = shutil.which(name, path=os.pathsep.join((str(ENVIRONMENT), os.environ.get("PATH", ""))))
    if found is None or not ENVIRONMENT.is_dir():
        raise RuntimeError(f"{name} is not here: run `tools/setup bench`, which installs the peers")
    return found


def s3_command(directory: Path, port: int) -> list[str]:
    """What serves S3: versitygw where Go is there to build it, else rclone."""
    files, access, address = directory / "s3", (KEY, SECRET), f"127.0.0.1:{port}"
    (files / BUCKET).mkdir(parents=True)
    gateway = versitygw(directory)
    if gateway is None:
        rclone = shutil.which("rclone", path=sysconfig.get_path("scripts")) or program("rclone")
        return [rclone, "serve", "s3", "--addr", address, "--auth-key", ",".join(access), str(files)]
    (directory / "meta").mkdir()
    options = [f"--access={KEY}", f"--secret={SECRET}", f"--port={address}", "--quiet"]
    return [str(gateway), *options, "posix", f"--sidecar={directory / 'meta'}", str(files)]


def versitygw(directory: Path) -> Path | None:
    """The program, built from the Go module proxy."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        return None
    environment = {**os.environ, "GOBIN": str(directory), "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    built = subprocess.run([go, "install", VERSITYGW], env=environment, capture_output=True, check=False)
    return directory / "versitygw" if built.returncode == 0 else None
