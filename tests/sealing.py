"""Sealed objects written a second time, straight from docs/spec/sealed-object.md; examples of them and of wrappings."""

import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from glasshouse_verify.encoding import format_json

from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.wrapping import Wrapper, format_wrapping

HANDLE = "5a" * 32
REGION = "au"
SEGMENT = 65_536


def reference(key: bytes, handle: str, region: str, plaintext: bytes) -> bytes:
    """Seal a whole plaintext, its preamble included, under a given key. Never for anything but tests."""
    starts = range(0, max(1, len(plaintext)), SEGMENT)
    context = bytes.fromhex(handle) + region.encode("utf-8")
    return b"".join(
        AESGCM(key).encrypt(
            number.to_bytes(11, "big") + bytes([start == starts[-1]]), plaintext[start : start + SEGMENT], context
        )
        for number, start in enumerate(starts)
    )


def preamble(metadata: Any) -> bytes:
    """The length and the metadata, as the page has them."""
    text = format_json(metadata)
    return len(text).to_bytes(4, "big") + text


def example() -> dict[str, Any]:
    """What the page shows."""
    metadata = {"category": "suspicious", "name": "invoice.exe"}
    key, content = bytes(range(32)), b"MZ"
    return {
        "handle": HANDLE,
        "region": REGION,
        "metadata": metadata,
        "content": content.hex(),
        "plaintext": (preamble(metadata) + content).hex(),
        "data key": key.hex(),
        "sealed": reference(key, HANDLE, REGION, preamble(metadata) + content).hex(),
    }


def written(shown: dict[str, Any]) -> str:
    """The example as the page has it: a name, then its value in lines of 32 bytes."""
    lines = []
    for name, value in shown.items():
        text = value if isinstance(value, str) else format_json(value).decode()
        lines += [f"{name:<11}{text[:64]}", *(f"{'':<11}{text[at : at + 64]}" for at in range(64, len(text), 64))]
    return "\n".join(lines) + "\n"


# The keys behind the example of a wrapping: HPKE is randomised, so the page shows one that these keys open.
CUSTODIAN_KEY = bytes(range(1, 33))
SITE_KEY = bytes(range(2, 34))
DATA_KEY = bytes(range(32))


def wrapping_example() -> bytes:
    """A wrapping in dual custody under the keys above, another one each time."""
    public = X25519PrivateKey.from_private_bytes(CUSTODIAN_KEY).public_key().public_bytes_raw()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "wrap-1.aes"
        path.touch(mode=0o600)
        path.write_bytes(SITE_KEY)
        return format_wrapping(Wrapper(FileKeyring(path.parent), public).wrap(DATA_KEY, handle=HANDLE, region=REGION))
