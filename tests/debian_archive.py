"""A small Debian archive and package index: signed by a real key, served over HTTP, resolved by the real apt.

It stands for the public origins in tests that change what an origin holds, which nobody can do to Debian.
"""

import contextlib
import functools
import hashlib
import http.server
import io
import lzma
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from glasshouse.conveyor.debian import archives
from glasshouse.conveyor.origin import Origins
from glasshouse.conveyor.store import http_client

SUITE = "bookworm"


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""


@contextlib.contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve a directory on loopback; yields its base URL."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(_Handler, directory=str(directory))
    ) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class SigningKey:
    """A fresh OpenPGP key in its own keyring; `public` is a keyring file with its public half."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("gpg") is None:
            pytest.skip("gpg is not installed, so no archive can be signed (package gpg)")
        # gpg's agent wants a short path for its socket.
        self._home = Path(tempfile.mkdtemp(prefix="gh-gpg-"))
        self._gpg("--quick-generate-key", "Archive <archive@example.org>", "ed25519", "sign", "never")
        self.public = directory / "archive-keyring.gpg"
        self.public.write_bytes(self._gpg("--export"))

    def clearsign(self, text: bytes) -> bytes:
        return self._gpg("--clearsign", stdin=text)

    def _gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--quiet", "--passphrase", "", *arguments]
        return subprocess.run(command, input=stdin, check=True, capture_output=True).stdout

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=False)
        shutil.rmtree(self._home, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Deb:
    """A package to put into the archive: what it needs, and its files by path."""

    name: str
    version: str = "1.0"
    depends: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


def make_deb(deb: Deb, compression: str = "xz", links: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a .deb file."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for path, content in deb.files.items():
            info = tarfile.TarInfo(f"./{path}")
            info.size, info.mode, info.mtime = len(content), 0o755, 1_000_000_000
            archive.addfile(info, io.BytesIO(content))
        for path, target in (links or {}).items():
            info = tarfile.TarInfo(f"./{path}")
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    body = lzma.compress(data.getvalue()) if compression == "xz" else data.getvalue()
    return make_ar({"debian-binary": b"2.0\n", "control.tar.xz": b"", f"data.tar.{compression}": body})


def make_ar(members: Mapping[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, content in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        out += b"\n" * (len(content) % 2)
    return out


class DebianArchive:
    """The three archives of a suite below one directory, with the same packages in the first."""

    def __init__(self, directory: Path, key: SigningKey) -> None:
        self.directory = directory
        self.key = key

    def publish(self, *debs: Deb, security: tuple[Deb, ...] = ()) -> None:
        """Put packages into the main archive, others into the security archive, and sign all three."""
        contents = {SUITE: debs, f"{SUITE}-security": security}
        for archive in archives(SUITE):
            stanzas = [self._add(deb, archive.mirror) for deb in contents.get(archive.suite, ())]
            self._publish_index(archive.mirror, archive.suite, stanzas)

    def _add(self, deb: Deb, mirror: str) -> str:
        data = make_deb(deb)
        path = f"pool/{deb.name}_{deb.version}_amd64.deb"
        place = self.directory / mirror / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        depends = f"Depends: {deb.depends}\n" if deb.depends else ""
        return (
            f"Package: {deb.name}\nVersion: {deb.version}\nArchitecture: amd64\nMaintainer: x\n{depends}"
            f"Filename: {path}\n"
            f"Size: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\nDescription: x\n"
        )

    def _publish_index(self, mirror: str, suite: str, stanzas: list[str]) -> None:
        plain = "\n".join(stanzas).encode()
        packages = lzma.compress(plain)
        digest = hashlib.sha256(packages).hexdigest()
        base = self.directory / mirror / "dists" / suite
        by_hash = base / "main/binary-amd64/by-hash/SHA256" / digest
        by_hash.parent.mkdir(parents=True, exist_ok=True)
        by_hash.write_bytes(packages)
        listed = {"main/binary-amd64/Packages": plain, "main/binary-amd64/Packages.xz": packages}
        release = (
            f"Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 01 Nov 2025 10:00:00 UTC\n"
            "Architectures: amd64\nComponents: main\nSHA256:\n"
        )
        for name, data in listed.items():
            release += f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n"
        (base / "InRelease").write_bytes(self.key.clearsign(release.encode()))

    def add_wheel(self, name: str, filename: str, content: bytes) -> str:
        """List a file in the package index below simple/ and return its SHA-256."""
        digest = hashlib.sha256(content).hexdigest()
        page = self.directory / "simple" / name
        page.mkdir(parents=True, exist_ok=True)
        (page / filename).write_bytes(content)
        with (page / "index.html").open("a") as index:
            index.write(f'<a href="{filename}#sha256={digest}">{filename}</a>\n')
        return digest

    @contextlib.contextmanager
    def origins(self) -> Iterator[Origins]:
        """The archive as somebody's origins, judged by its own key."""
        with served(self.directory) as base, http_client() as client:
            yield Origins(
                client=client,
                mirrors={"debian": f"{base}/debian", "debian-security": f"{base}/debian-security"},
                keyring=self.key.public,
                index_url=f"{base}/simple",
            )
