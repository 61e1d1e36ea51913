"""S3 servers on loopback: versitygw where Go is, else `rclone serve s3`."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.intake import free_port, wait_for

VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
ACCESS, SECRET, BUCKET = "test", "testsecret", "bench"


def rclone() -> Path:
    """The peer's program, which `tools/setup bench` installs."""
    found = shutil.which("rclone", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if found is None:
        raise RuntimeError("rclone is not installed; run: tools/setup bench")
    return Path(found)


def versitygw(directory: Path) -> Path | None:
    """A real S3 server, built once; None where there is no Go."""
    program = directory / "versitygw"
    go = shutil.which("go", path=os.pathsep.join((os.environ["PATH"], "/usr/local/go/bin")))
    if go is None:
        return None
    environment = {**os.environ, "GOBIN": str(directory), "GOFLAGS": "-buildvcs=false", "GOTOOLCHAIN": "local"}
    build = subprocess.run([go, "install", VERSITYGW], env=environment, capture_output=True, check=False)
    return program if build.returncode == 0 else None


@contextlib.contextmanager
def s3_server(program: Path | None, directory: Path) -> Iterator[str]:
    """An empty bucket; the address of its server. Connections are kept, as those of S3 are."""
    port = free_port()
    (directory / "buckets" / BUCKET).mkdir(parents=True)
    (directory / "meta").mkdir()
    if program is None:
        command = [str(rclone()), "serve", "s3", f"--auth-key={ACCESS},{SECRET}", f"--addr=127.0.0.1:{port}"]
        command += ["--vfs-cache-mode=writes", str(directory / "buckets")]
    else:
        command = [str(program), f"--access={ACCESS}", f"--secret={SECRET}", f"--port=127.0.0.1:{port}"]
        command += ["--quiet", "--keep-alive", "posix"]
        command += [f"--sidecar={directory / 'meta'}", str(directory / "buckets")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, [process])
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
