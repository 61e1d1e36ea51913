"""The transcripts in docs/spec/intake-http.md are what a real site answers. To write them anew, run this file."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import transcripts
from customers import Counters, counters
from glasshouse_verify.encoding import format_json, parse_json
from ledgers import own_database
from region_examples import records
from transcripts import PAGES, exchanges, send

from glasshouse.regions.metadata import check_metadata
from glasshouse.regions.telemetry import parse_batch
from glasshouse.storage.db import Database

PAGE = PAGES / "intake-http.md"
ELSEWHERE = "https://geneva.acme.example"


@contextlib.contextmanager
def page_of(region: Counters) -> Iterator[httpx.Client]:
    assert region.token == "gh_token_of_kookaburra_10"
    with httpx.Client(base_url=region.first.url) as http:
        yield http


def test_the_intakes_page(database: Database, other_database: Database, tmp_path: Path) -> None:
    with counters(tmp_path, database, other_database, elsewhere=ELSEWHERE) as region, page_of(region) as http:
        shown = exchanges(PAGE)
        assert len(shown) == 5
        for exchange in shown:
            assert send(http, exchange.request) == exchange.answer


def test_the_examples_are_taken() -> None:
    check_metadata(records()["intake-metadata"])
    batch = parse_batch(format_json(records()["telemetry"]))
    assert {record.type for record in batch.records} == {"detection", "update", "heartbeat", "fault"}
    assert parse_json(format_json(records()["telemetry"]), "telemetry", 10_000) == records()["telemetry"]


def main() -> None:
    """Write the answers into the page."""
    with (
        tempfile.TemporaryDirectory() as name,
        own_database(Path(name) / "one") as one,
        own_database(Path(name) / "other") as other,
        counters(Path(name) / "region", one, other, elsewhere=ELSEWHERE) as region,
        page_of(region) as http,
    ):
        transcripts._rewrite(PAGE, {"": http})


if __name__ == "__main__":
    main()
