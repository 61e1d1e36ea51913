"""A time-stamp authority (RFC 3161): says, signed, that a digest existed at a time. OpenSSL does the format.

    POST /timestamp   application/timestamp-query → application/timestamp-reply

Its key is a party's own, apart from the vendor's: a vendor whose code-signing key is stolen cannot have a signature
dated before the theft. The clock is this machine's; a token is worth what its authority's clock is worth.
"""

import secrets
import subprocess
import tempfile
from pathlib import Path

from glasshouse.parties.certificates import CERTIFICATE_SUFFIX, Purpose, load_certificates
from glasshouse.parties.errors import KeyUnavailable, QueryRefused
from glasshouse.parties.keys import KEY_SUFFIX, read_private

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
MAX_QUERY = 4_096
_SECONDS = 30
# An object identifier derived from a UUID (ITU-T X.667) needs no registration.
POLICY = "2.25.249473829357618920461093858573401975624"
_SETTINGS = f"""
[tsa]
default_tsa = authority
[authority]
serial = serial
default_policy = {POLICY}
signer_digest = sha256
digests = sha256
accuracy = secs:1
ordering = no
tsa_name = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """Answers queries with the time-stamping key of a keys directory. Safe for threads: each answer stands alone."""

    def __init__(self, keys: Path) -> None:
        """Raises KeyUnavailable where key or certificate cannot be used."""
        self._key = keys.absolute() / f"{Purpose.TIME_STAMPING}{KEY_SUFFIX}"
        self._certificate = keys.absolute() / f"{Purpose.TIME_STAMPING}{CERTIFICATE_SUFFIX}"
        read_private(self._key)
        load_certificates(self._certificate)

    def answer(self, query: bytes) -> bytes:
        """The reply to a query: a token, or OpenSSL's refusal of what the query asks. Raises QueryRefused."""
        if len(query) > MAX_QUERY:
            raise QueryRefused(f"a query has at most {MAX_QUERY} bytes")
        with tempfile.TemporaryDirectory(prefix="glasshouse-timestamp-") as name:
            directory = Path(name)
            (directory / "query").write_bytes(query)
            (directory / "settings").write_text(_SETTINGS)
            # Random, so that no state has to survive; never zero, and of an even number of digits.
            (directory / "serial").write_text(f"{secrets.randbits(63) | 1 << 62:016X}\n")
            command = ["openssl", "ts", "-reply", "-config", "settings", "-queryfile", "query", "-out", "reply"]
            command += ["-signer", str(self._certificate), "-inkey", str(self._key)]
            try:
                done = subprocess.run(command, cwd=directory, capture_output=True, timeout=_SECONDS, check=False)
            except FileNotFoundError as error:
                raise KeyUnavailable("openssl is not installed; install the package openssl") from error
            reply = directory / "reply"
            if done.returncode or not reply.exists():
                reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
                raise QueryRefused(f"no time-stamp query: {' '.join(reason)[:200]}")
            return reply.read_bytes()
