"""D12 One customer asking for another's receipt.

Cheat: a customer, or somebody with a customer's token, asks for the receipts, objects or uploads of another: by handle,
    by digest, by the name of an upload under way, by sending the same content, or by asking for its erasure.
Noticed by: the site: to a customer, objects of others do not exist.
Seen: HTTP 404, to the byte as for a handle that nobody has; its own list without them; a receipt of its own for content
    that both have sent.
"""

import hashlib
from collections.abc import Iterator

import pytest
from customers import KEY, Counters, counters, header
from glasshouse_verify.encoding import encode_base64
from glasshouse_verify.receipt import erasure_request
from sites import honoured, receipt_of

from glasshouse.storage.db import Database

CONTENT = b"what kookaburra has sent"
UNKNOWN = "0" * 64


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counters]:
    with counters(tmp_path_factory.mktemp("region"), database, other_database) as made:
        yield made


@pytest.fixture(scope="module")
def mallory(region: Counters) -> str:
    return region.enrol("mallory")


@pytest.fixture(scope="module")
def receipt(region: Counters) -> bytes:
    answer = region.first.send(CONTENT, region.token)
    assert answer.status_code == 201
    return answer.content


def test_control_its_own_receipt(region: Counters, receipt: bytes) -> None:
    handle = receipt_of(receipt).handle
    for counter in region.counters.values():
        answer = counter.ask("GET", f"/intake/v1/objects/{handle}/receipt", region.token)
        assert (answer.status_code, answer.content) == (200, receipt)


def test_attack_by_handle(region: Counters, receipt: bytes, mallory: str) -> None:
    """At both sites, and nothing in the answer tells a stranger's object from none."""
    handle = receipt_of(receipt).handle
    for counter in region.counters.values():
        asked = counter.ask("GET", f"/intake/v1/objects/{handle}/receipt", mallory)
        never = counter.ask("GET", f"/intake/v1/objects/{UNKNOWN}/receipt", mallory)
        assert asked.status_code == never.status_code == 404
        assert asked.content == never.content
        assert {**asked.headers, "date": ""} == {**never.headers, "date": ""}


@pytest.mark.parametrize("handle", ["..", "%2e%2e", "' or 1=1", "0" * 63, "A" * 64, "%00", "0" * 4000])
def test_attack_by_what_is_no_handle(region: Counters, mallory: str, handle: str) -> None:
    answer = region.first.ask("GET", f"/intake/v1/objects/{handle}/receipt", mallory)
    assert answer.status_code == 404


def test_attack_by_the_list(region: Counters, receipt: bytes, mallory: str) -> None:
    handle, time = receipt_of(receipt).handle, receipt_of(receipt).time
    for query in ("", f"?after={time - 1}.{'f' * 64}", f"?after={time}.{UNKNOWN}", "?customer=kookaburra"):
        assert handle not in region.first.ask("GET", f"/intake/v1/uploads{query}", mallory).text


def test_attack_by_the_same_content(region: Counters, receipt: bytes, mallory: str) -> None:
    """It gets a receipt of its own, as for any content: nothing tells that somebody else has sent it before."""
    first = region.first.send(CONTENT, mallory)
    never_seen = region.first.send(b"what nobody has sent", mallory)
    assert first.status_code == never_seen.status_code == 201
    own, other = receipt_of(first.content), receipt_of(receipt)
    assert (own.customer, own.sha256) == ("mallory", other.sha256)
    assert own.handle != other.handle
    assert own.salt != other.salt
    assert honoured(first.content, region.first.site, region.second.site)


def test_attack_by_erasure(region: Counters, receipt: bytes, mallory: str) -> None:
    """Even under the right signature: the token is not the customer's."""
    handle = receipt_of(receipt).handle
    signature = {"glasshouse-signature": encode_base64(KEY.sign(erasure_request(handle)))}
    answer = region.first.ask("DELETE", f"/intake/v1/objects/{handle}", mallory, headers=signature)
    assert answer.status_code == 404
    assert honoured(receipt, region.first.site, region.second.site)


def test_attack_by_anothers_upload_under_way(region: Counters, mallory: str) -> None:
    headers = {
        "glasshouse-sha256": hashlib.sha256(b"0123456789").hexdigest(),
        "upload-length": "10",
        "glasshouse-metadata": header({"category": "suspicious"}),
    }
    begun = region.first.ask("POST", "/intake/v1/uploads", region.token, headers=headers)
    place = begun.headers["location"]
    part = {"content-type": "application/partial-upload", "upload-offset": "0", "upload-complete": "?1"}
    assert region.first.ask("HEAD", place, mallory).status_code == 404
    assert region.first.ask("PATCH", place, mallory, headers=part, content=b"0123456789").status_code == 404
    assert region.first.ask("DELETE", place, mallory).status_code == 404
    answer = region.first.ask("PATCH", place, region.token, headers=part, content=b"0123456789")
    assert (answer.status_code, receipt_of(answer.content).customer) == (201, "kookaburra")


def test_attack_with_a_revoked_token(region: Counters) -> None:
    """Its objects are not anybody's now who holds the old token."""
    token = region.enrol("gone")
    handle = receipt_of(region.first.send(b"of one who left", token).content).handle
    region.first.accounts.revoke("gone")
    answer = region.first.ask("GET", f"/intake/v1/objects/{handle}/receipt", token)
    assert answer.status_code == 401
