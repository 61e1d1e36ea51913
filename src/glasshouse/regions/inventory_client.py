"""Asking a site for proofs from its newest inventory. What it answers is checked by whoever uses it."""

import json
from dataclasses import dataclass

import httpx
from glasshouse_verify.codec import Digest, Identifier, decode
from glasshouse_verify.shards import ShardProof

from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.outgoing import open_http, read_bounded
from glasshouse.regions.errors import SiteUnavailable

TIMEOUT_SECONDS = 20.0
MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A site's answer about one handle: the inventory's number and statement id, and a proof from each of its trees."""

    schema: str = "glasshouse.inventory-proof/v1"
    region: Identifier
    site: Identifier
    epoch: int
    inventory: Digest
    held: ShardProof
    erased: ShardProof


def fetch_proof(url: str, region: str, handle: str) -> Proven:
    """Raises SiteUnavailable where the site does not answer, or not with a proof; FormatError for one that is none."""
    place = f"{url.rstrip('/')}/inventory/v1/{region}/proof/{handle}"
    try:
        with open_http(TIMEOUT_SECONDS) as client, client.stream("GET", place) as response:
            data = read_bounded(response, MAX_ANSWER_BYTES)
            if response.status_code != httpx.codes.OK:
                raise SiteUnavailable(f"{place} answers {response.status_code}: {data[:200].decode(errors='replace')}")
    except (httpx.HTTPError, httpx.InvalidURL, LedgerError) as error:
        raise SiteUnavailable(f"{url} does not answer: {error}") from error
    try:
        proven: Proven = decode(Proven, json.loads(data), "proof")
    except ValueError as error:
        raise SiteUnavailable(f"{place} answers something else than JSON") from error
    return proven
