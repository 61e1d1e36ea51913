"""Go programs from the Go module proxy, built into Go's own caches, and run on loopback."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from ledgers import until

SUMDB = Path(__file__).parent / "conformance" / "go"


class Go:
    """Builds Go programs on demand."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory

    def build(self, package: str) -> Path:
        """The program of a package of a module version, or of this folder's own module."""
        if package == "sumdbcheck":
            target = self._directory / package
            command, cwd = [self._program, "build", "-o", str(target), "."], SUMDB
        else:
            module, _, version = package.partition("@")
            version, _, folder = version.partition("/")
            target = self._directory / folder.rpartition("/")[2]
            command, cwd = [self._program, "install", f"{module}/{folder}@{version}"], self._directory
        if not target.is_file():
            environment = {
                **os.environ,
                "GOBIN": str(self._directory),
                "GOFLAGS": "-buildvcs=false",
                "GOTOOLCHAIN": "local",
            }
            run = subprocess.run(
                command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False
            )
            if run.returncode != 0:
                pytest.skip(f"{package} cannot be built: {run.stderr.strip().splitlines()[-1]}")
        return target


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: Sequence[str], url: str, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A server process, once it answers at the URL."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        until(lambda: process.poll() is not None or _answers(url))
        assert process.poll() is None, f"{command[0]} ended at once"
        yield
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> bool:
    try:
        httpx.get(url)
    except httpx.HTTPError:
        return False
    return True
