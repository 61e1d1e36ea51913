"""The transcripts in docs/spec/ledger-http.md and witness-http.md are what real servers answer."""

from pathlib import Path

import transcripts
from transcripts import PAGES, exchanges, send

from glasshouse.storage.db import Database


def test_the_ledgers_page(database: Database, tmp_path: Path) -> None:
    with transcripts.ledgers(database, tmp_path) as servers:
        shown = exchanges(PAGES / "ledger-http.md")
        assert len(shown) > 10
        for exchange in shown:
            assert send(servers[exchange.server], exchange.request) == exchange.answer


def test_the_witnesses_page(tmp_path: Path) -> None:
    with transcripts.witnesses(tmp_path) as servers:
        shown = exchanges(PAGES / "witness-http.md")
        assert len(shown) > 4
        for exchange in shown:
            assert send(servers[exchange.server], exchange.request) == exchange.answer
