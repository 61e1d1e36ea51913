"""The report of a move: plain words from the statements, as a page and as a PDF."""

import pytest
from glasshouse_verify.relocation import Step
from tales import OBJECTS, late, tale

from glasshouse.cli.relocating.document import document
from glasshouse.cli.relocating.page import page
from glasshouse.cli.relocating.tale import chance, volume


def test_a_whole_move_is_told() -> None:
    told = tale()
    assert told.headline == "Australia has moved, and the old site is empty"
    assert [(place.site, place.objects) for place in (told.old, *told.new)] == [
        ("moscow", 0),
        ("zurich-1", OBJECTS),
        ("zurich-2", OBJECTS),
    ]
    assert {event.state for event in told.events} == {"verified"}
    assert not told.late
    assert told.supervisor == "Lab"


def test_what_has_not_happened_is_not_told() -> None:
    told = tale(until=Step.FENCE)
    assert told.headline == "Australia: the old site takes nothing more; what arrived is being checked"
    assert [place.objects for place in told.new] == [None, None]
    assert told.old.objects == OBJECTS
    assert told.ended is None


@pytest.mark.parametrize(
    ("asked", "headline"),
    [
        ({"alarmed": True}, "an alarm was raised"),
        ({"refused": True, "until": Step.REFUSAL}, "the supervisor refuses"),
        ({"until": Step.COUNTERSIGN}, "the old copy is not erased yet"),
        ({"until": Step.SOURCE}, "is moving"),
    ],
)
def test_the_headline_says_how_it_stands(asked: dict[str, object], headline: str) -> None:
    told = tale(**asked)
    assert headline in told.headline
    assert ("mismatch" in {event.state for event in told.events}) == ("alarmed" in asked or "refused" in asked)


def test_a_broken_promise_is_shown() -> None:
    assert b"and late" in page(late(tale()), ledger="http://ledger.example")
    assert b"and late" not in page(tale(), ledger="http://ledger.example")


def test_names_from_the_ledger_never_become_markup() -> None:
    told = tale(alarmed=True)
    hostile = told.events[-1].__class__(**{**told.events[-1].__dict__, "text": "<script>alert(1)</script>"})
    shown = page(told.__class__(**{**told.__dict__, "events": (hostile,)}), ledger="http://x/<b>")
    assert b"<script>" not in shown
    assert b"&lt;script&gt;" in shown


def test_the_document_is_a_pdf_with_the_same_words() -> None:
    data = document(tale())
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")


def test_volumes_and_chances() -> None:
    assert [volume(0), volume(1536), volume(600 << 20), volume(3 << 40)] == ["0 bytes", "1.5 KiB", "600 MiB", "3.0 TiB"]
    assert 0.99 < chance(4_603) < 0.9901
