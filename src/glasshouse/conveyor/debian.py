"""Debian as an origin: signed indexes, what they list, and what apt would install from them alone.

Trust runs from the local archive keyring over an archived InRelease file to the Packages files that it names by
SHA-256, and from there to each package. A mirror only transports bytes.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glasshouse.conveyor.archive import ArchiveError, Readable, decompressed
from glasshouse.conveyor.errors import InvalidLock, LockMismatch, OriginUnavailable, ToolUnavailable

DEFAULT_MIRRORS = {
    "debian": "http://deb.debian.org/debian",
    "debian-security": "http://deb.debian.org/debian-security",
}
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
MAX_RELEASE_BYTES = 4 << 20
MAX_PACKAGES_BYTES = 512 << 20
_TOOL_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One suite of one Debian archive, as a path prefix below a mirror, e.g. debian/dists/bookworm."""

    mirror: str
    suite: str

    @property
    def release(self) -> str:
        """The archive path of its signed index."""
        return f"{self.mirror}/dists/{self.suite}/InRelease"

    def packages(self, architecture: str) -> str:
        """The archive path of its list of packages."""
        return f"{self.mirror}/dists/{self.suite}/main/binary-{architecture}/Packages.xz"


def archives(suite: str) -> tuple[Archive, ...]:
    """The archives that make up a Debian release: main, its updates and its security fixes."""
    return (
        Archive(mirror="debian", suite=suite),
        Archive(mirror="debian", suite=f"{suite}-updates"),
        Archive(mirror="debian-security", suite=f"{suite}-security"),
    )


@dataclass(frozen=True, kw_only=True)
class SignedRelease:
    """The signed text of an InRelease file: listed files as path → (SHA-256, size), and who signed it."""

    suite: str
    date: str
    files: Mapping[str, tuple[str, int]]
    fingerprints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Package:
    """What a Packages file says about one package; `filename` is relative to the mirror."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int
    filename: str


def find_keyring() -> Path:
    """The Debian archive keyring of this machine. Raises `ToolUnavailable`."""
    for path in KEYRINGS:
        if path.is_file():
            return path
    raise ToolUnavailable("the Debian archive keyring is not installed", "install the package debian-archive-keyring")


def read_release(data: bytes, keyring: Path, field: str) -> SignedRelease:
    """Check the signatures of an InRelease file and read what was signed.

    At least one key of the keyring must have signed, and no signature may be bad; signatures of unknown keys do not
    count. Raises `LockMismatch` (row `field`) otherwise, `ToolUnavailable` without gpgv.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        command = ["gpgv", "--keyring", str(keyring.resolve()), "--status-fd", "2", "--output", "-", file.name]
        result = _run(command, "gpgv")
    fingerprints = _good_signers(result.stderr.decode(errors="replace"))
    if not fingerprints:
        raise LockMismatch(field, "is not signed by a key of the Debian archive keyring")
    return _parse_release(result.stdout, fingerprints, field)


def _good_signers(status: str) -> tuple[str, ...]:
    """Fingerprints of the primary keys whose signatures are good, from gpgv's status lines; none if one is bad."""
    found: set[str] = set()
    good = False
    for line in status.splitlines():
        words = line.removeprefix("[GNUPG:] ").split()
        if not words or not line.startswith("[GNUPG:] "):
            continue
        if words[0] == "BADSIG":
            return ()
        if words[0] == "NEWSIG":
            good = False
        elif words[0] == "GOODSIG":
            # Not said of a key that has expired or was revoked.
            good = True
        elif words[0] == "VALIDSIG" and good:
            found.add(words[-1])
    return tuple(sorted(found))


def _parse_release(text: bytes, fingerprints: tuple[str, ...], field: str) -> SignedRelease:
    fields: dict[str, str] = {}
    files: dict[str, tuple[str, int]] = {}
    section = ""
    for line in text.decode("utf-8", errors="replace").splitlines():
        if line.startswith(" "):
            words = line.split()
            if section == "SHA256" and len(words) == 3 and words[1].isascii() and words[1].isdigit():
                files[words[2]] = (words[0], int(words[1]))
        else:
            section, _, value = line.partition(":")
            fields[section] = value.strip()
    if "Codename" not in fields or "Date" not in fields:
        raise InvalidLock(field, "is not a Debian InRelease file")
    return SignedRelease(suite=fields["Codename"], date=fields["Date"], files=files, fingerprints=fingerprints)


def read_packages(stream: Readable, wanted: Collection[str]) -> Iterator[Package]:
    """The stanzas of a Packages.xz stream for the names in `wanted`. Raises `OriginUnavailable` if it is damaged."""
    names = {f"Package: {name}".encode() for name in wanted}
    try:
        for stanza in _stanzas(decompressed(stream, "Packages.xz")):
            if stanza.split(b"\n", 1)[0] in names:
                yield _parse_stanza(stanza)
    except (ArchiveError, lzma.LZMAError, KeyError, ValueError) as error:
        raise OriginUnavailable(f"a Packages file cannot be read: {error}") from error


def _stanzas(stream: Readable) -> Iterator[bytes]:
    rest = b""
    total = 0
    while chunk := stream.read(1 << 20):
        total += len(chunk)
        if total > MAX_PACKAGES_BYTES:
            raise ArchiveError(f"is larger than {MAX_PACKAGES_BYTES} bytes")
        *stanzas, rest = (rest + chunk).split(b"\n\n")
        yield from stanzas
    if rest.strip():
        yield rest.rstrip(b"\n")


def _parse_stanza(stanza: bytes) -> Package:
    fields = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", stanza.decode("utf-8"), re.MULTILINE))
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        architecture=fields["Architecture"],
        sha256=fields["SHA256"],
        size=int(fields["Size"]),
        filename=fields["Filename"],
    )


def resolve_names(
    indexes: Mapping[str, Path], suites: Sequence[Archive], architecture: str, packages: Sequence[str], keyring: Path
) -> list[tuple[str, str]]:
    """What apt installs for `packages` on an empty system from these indexes alone: (name, version), sorted.

    `indexes` maps archive paths to local files. Nothing of the machine's own package state or configuration is read,
    nothing is installed, and no right beyond writing a temporary directory is needed.
    """
    with tempfile.TemporaryDirectory(prefix="glasshouse-apt-") as name:
        root = Path(name)
        for path, file in indexes.items():
            place = root / "mirror" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        config = _write_apt_tree(root, suites, architecture, keyring)
        environment = {"APT_CONFIG": str(config), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C"}
        update = _run(["apt-get", "-q", "update"], "apt-get", environment)
        if update.returncode:
            raise OriginUnavailable(f"apt-get refuses the indexes: {_last_lines(update)}")
        command = ["apt-get", "-q", "-y", "-s", "--no-install-recommends", "install", *packages]
        result = _run(command, "apt-get", environment)
    if result.returncode:
        raise InvalidLock("environment.packages", f"apt-get cannot resolve them: {_last_lines(result)}")
    found = re.findall(r"^Inst (\S+) \((\S+) ", result.stdout.decode(), re.MULTILINE)
    return sorted((package.partition(":")[0], version) for package, version in found)


def _write_apt_tree(root: Path, suites: Sequence[Archive], architecture: str, keyring: Path) -> Path:
    for directory in ("state/lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "log"):
        (root / directory).mkdir(parents=True)
    (root / "state/status").touch()
    option = f"[arch={architecture} signed-by={keyring.resolve()}]"
    lines = [f"deb {option} file:{root}/mirror/{suite.mirror} {suite.suite} main\n" for suite in suites]
    (root / "etc/sources.list").write_text("".join(lines))
    settings = {
        "Dir": str(root),
        "Dir::State": str(root / "state"),
        "Dir::State::status": str(root / "state/status"),
        "Dir::Cache": str(root / "cache"),
        "Dir::Etc": str(root / "etc"),
        "Dir::Log": str(root / "log"),
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        # The indexes are archived ones: how old they may be is judged by whoever reads the lock, not by this clock.
        "Acquire::Check-Valid-Until": "false",
        "Acquire::Check-Date": "false",
        "Acquire::Languages": "none",
        # Room for all of Debian from the start: apt would make it anew, and larger, several times.
        "APT::Cache-Start": "100000000",
    }
    if os.geteuid() == 0:
        settings["APT::Sandbox::User"] = "root"
    config = root / "apt.conf"
    config.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return config


def _run(
    command: list[str], tool: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, capture_output=True, env=environment, timeout=_TOOL_SECONDS, check=False)
    except FileNotFoundError as error:
        raise ToolUnavailable(
            f"{tool} is not installed", f"install {tool} with the system's package manager"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise OriginUnavailable(f"{tool} did not finish within {_TOOL_SECONDS} seconds") from error


def _last_lines(result: subprocess.CompletedProcess[bytes]) -> str:
    lines = (result.stdout + result.stderr).decode(errors="replace").strip().splitlines()
    return " / ".join(lines[-4:])


def host_mirrors(root: Path = Path("/")) -> dict[str, str]:
    """The mirrors this machine uses where it is Debian itself, else the public ones."""
    mirrors = dict(DEFAULT_MIRRORS)
    # Other files name other vendors' archives.
    for file in (root / "etc/apt/sources.list", root / "etc/apt/sources.list.d/debian.sources"):
        if not file.is_file():
            continue
        for uri, suites in _source_lines(file):
            for suite in suites:
                key = "debian-security" if suite.endswith("-security") else "debian"
                if uri.startswith(("http://", "https://")) and uri.rstrip("/").endswith(f"/{key}"):
                    mirrors[key] = uri.rstrip("/")
    return mirrors


def _source_lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    text = file.read_text(errors="replace")
    if file.suffix == ".list":
        for match in re.finditer(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", text, re.MULTILINE):
            yield match[1], [match[2]]
    elif file.suffix == ".sources":
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^([A-Za-z-]+):\s*(.*)$", stanza, re.MULTILINE))
            if "deb" in fields.get("Types", "").split():
                for uri in fields.get("URIs", "").split():
                    yield uri, fields.get("Suites", "").split()
