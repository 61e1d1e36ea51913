"""Software tokens for tests: SoftHSM, a PKCS#11 module without hardware (Debian's softhsm2)."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"
OFFICER_PIN = "5678"

needs_softhsm = pytest.mark.skipif(
    not MODULE.exists() or shutil.which("softhsm2-util") is None, reason="softhsm2 is not installed (tools/setup)"
)


@contextmanager
def token_store(directory: Path) -> Iterator[dict[str, str]]:
    """A place for tokens of its own; yields the environment in which commands find it, set for this process too.

    A process that has loaded the module keeps to the place that it found then, until it is finalized.
    """
    tokens, settings = directory / "tokens", directory / "softhsm2.conf"
    tokens.mkdir(mode=0o700)
    settings.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(settings)
    yield {"SOFTHSM2_CONF": str(settings)}
    if str(MODULE) in pkcs11._loaded:
        pkcs11.lib(str(MODULE)).finalize()
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def make_token(label: str) -> None:
    """A new token in the place that the environment names."""
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", OFFICER_PIN]
    subprocess.run(command, check=True, capture_output=True)


def pin_file(directory: Path, pin: str = PIN) -> Path:
    """A private file with a PIN."""
    path = directory / "pin"
    path.touch(mode=0o600)
    path.write_text(pin + "\n")
    return path
