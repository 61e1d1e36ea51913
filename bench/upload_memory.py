"""Peak memory of either site's process while a file of 1 GiB is uploaded, sealed, and stored at both.

GLASSHOUSE_UPLOAD_GIB=5 makes it 5 GiB. The figure is how many times the larger process fits into 300 MB.
"""

import hashlib
import http.client
import os
import tempfile
import time
from pathlib import Path

from bench import Figure
from bench.intake import pair, process_ids

LIMIT_MB = 300
PIECE_BYTES = 1 << 20
GIB = int(os.environ.get("GLASSHOUSE_UPLOAD_GIB", "1"))


def run() -> Figure:
    """Upload one file."""
    with tempfile.TemporaryDirectory(prefix="glasshouse-bench-") as scratch:
        Path(scratch).chmod(0o755)
        place = Path(scratch) / "ours"
        place.mkdir()
        with pair("ours", place) as port:
            start = time.perf_counter()
            upload(port, GIB << 30)
            seconds = time.perf_counter() - start
            peaks = [peak_mb(process) for process in process_ids(place)]
    return {
        "name": "upload_memory",
        "ours": max(peaks),
        "limit": LIMIT_MB,
        "ratio": LIMIT_MB / max(peaks),
        "unit": "MB",
        "target": f"<= {LIMIT_MB} MB",
        "notes": f"{GIB} GiB in {seconds:.0f} s; peaks: {', '.join(f'{p:.0f}' for p in peaks)} MB",
    }


def upload(port: int, size: int) -> None:
    """Send one file; raises RuntimeError unless it is stored."""
    kept = os.urandom(PIECE_BYTES - 8)
    digest = hashlib.sha256()
    for number in range(size // PIECE_BYTES):
        digest.update(number.to_bytes(8, "big") + kept)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1200)
    body = (number.to_bytes(8, "big") + kept for number in range(size // PIECE_BYTES))
    connection.request("PUT", f"/files/{digest.hexdigest()}", body, {"Content-Length": str(size)})
    answer = connection.getresponse()
    if answer.status != http.client.CREATED:
        raise RuntimeError(f"{answer.status} {answer.read().decode(errors='replace')}")
    connection.close()


def peak_mb(process: int) -> float:
    """The most memory that a process has had resident."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not say how much memory a process has had")
