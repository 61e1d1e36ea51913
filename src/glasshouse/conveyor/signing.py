"""Signing Windows files: what the build left goes in, the same file with an Authenticode signature inside comes out.

osslsigncode reads the key, in a process that knows nothing of the build; the build knows nothing of the key. What it
may change is checked by each rebuilder, see docs/spec/authenticode.md.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.charter import Authenticode

from glasshouse.conveyor.errors import InvalidInput, SigningFailed, ToolUnavailable
from glasshouse.parties.certificates import fingerprint, load_certificates
from glasshouse.parties.keys import read_private
from glasshouse.storage import files

_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class CodeSigner:
    """The files of a code-signing key and its certificates (PEM), and the URL of a time-stamp authority, if any."""

    key: Path
    certificates: Path
    timestamps: str | None = None


def check_pinned(signer: CodeSigner, pins: Authenticode | None) -> None:
    """Raise InvalidInput unless the charter lets this certificate sign, and KeyUnavailable unless key and it are there.

    What the charter does not pin is signed in vain: every rebuilder's verdict would be *differs*.
    """
    read_private(signer.key)
    prints = [fingerprint(certificate) for certificate in load_certificates(signer.certificates)]
    if pins is None or prints[0] not in pins.signers or not set(prints[1:]) <= set(pins.chain):
        raise InvalidInput(
            "sign.authenticode",
            f"the charter does not pin the code-signing certificate {prints[0]}, or not its chain",
            "amend the product's gate; see: glasshouse certificate pins",
        )
    if bool(pins.timestampers) != bool(signer.timestamps):
        asked = "asks for" if pins.timestampers else "allows no"
        raise InvalidInput("sign.authenticode", f"the charter {asked} time stamps", "set conveyor.timestamps")


def embed_signature(unsigned: Path, signed: Path, signer: CodeSigner, now: int) -> None:
    """Write `unsigned` with a signature of Unix time `now` to `signed`, durably.

    Raises SigningFailed with osslsigncode's last words, ToolUnavailable where it is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="glasshouse-sign-") as name:
        out = Path(name) / "signed"
        command = ["osslsigncode", "sign", "-h", "sha256", "-time", str(now)]
        command += ["-certs", str(signer.certificates), "-key", str(signer.key)]
        command += ["-ts", signer.timestamps] if signer.timestamps else []
        command += ["-in", str(unsigned), "-out", str(out)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
        except FileNotFoundError as error:
            raise ToolUnavailable("osslsigncode is not installed", "install the package osslsigncode") from error
        except subprocess.TimeoutExpired as error:
            raise SigningFailed(f"osslsigncode did not finish within {_SECONDS} seconds") from error
        if done.returncode:
            words = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
            raise SigningFailed(f"osslsigncode could not sign {unsigned.name}: {' / '.join(words[-3:])}")
        files.write(signed, out.read_bytes())
