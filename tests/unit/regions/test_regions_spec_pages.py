"""The examples in docs/spec of this room's formats are what the code writes and what it reads."""

import re
from dataclasses import fields
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from custodians import guarded
from ledgers import served
from sealing import CUSTODIAN_KEY, DATA_KEY, HANDLE, REGION, SITE_KEY, example, written
from transcripts import exchanges, send
from workshop import REPOSITORY

from glasshouse.regions.custody import Refusal
from glasshouse.regions.custody_request import Answer, Item, Reason, UnwrapRequest
from glasshouse.regions.custody_server import create_custody_app
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


def test_the_custodians_page(tmp_path: Path) -> None:
    shown = exchanges(SPEC / "custody-http.md")
    assert len(shown) == 3
    with (
        guarded(tmp_path) as guard,
        served(create_custody_app(guard.custodian)) as url,
        httpx.Client(base_url=url) as http,
    ):
        for exchange in shown:
            assert send(http, exchange.request) == exchange.answer


def test_every_refusal_and_member_of_a_request_is_explained() -> None:
    text = (SPEC / "custody-http.md").read_text()
    for refusal in Refusal:
        assert f"`{refusal}`" in text
    for kind in (UnwrapRequest, Item, Reason, Answer):
        for field in fields(kind):
            assert field.name == "schema" or f"`{field.name}`" in text
