"""The examples in docs/spec of this room's formats are what the code writes and what it reads."""

import re

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sealing import CUSTODIAN_KEY, DATA_KEY, HANDLE, REGION, SITE_KEY, example, written
from workshop import REPOSITORY

from glasshouse.regions.seal import object_context
from glasshouse.regions.wrapping import custodian_id, format_wrapping, open_custody, parse_wrapping

SPEC = REPOSITORY / "docs" / "spec"


def block(page: str, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (SPEC / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_sealed_object() -> None:
    assert block("sealed-object", "sealed-object") == written(example())


def test_the_wrapping() -> None:
    """HPKE is randomised: what the page shows is written as the code writes it, and opens with the keys behind it."""
    text = block("wrapping", "wrapping")
    wrapping = parse_wrapping(text.removesuffix("\n").encode())
    assert format_wrapping(wrapping).decode() + "\n" == text
    key = X25519PrivateKey.from_private_bytes(CUSTODIAN_KEY)
    assert (wrapping.key_id, wrapping.custodian) == ("wrap-1", custodian_id(key.public_key().public_bytes_raw()))
    inner = open_custody((key,), wrapping.blob, handle=HANDLE, region=REGION)
    assert AESGCM(SITE_KEY).decrypt(inner[:12], inner[12:], object_context(HANDLE, REGION)) == DATA_KEY
