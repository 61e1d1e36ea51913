"""Objects from upload to receipt at two real sites."""

import asyncio
import hashlib
import os
from collections.abc import Iterator

import pytest
from glasshouse_verify.dsse import format_envelope, parse_envelope
from glasshouse_verify.statement import Use, make_statement
from ledgers import until
from sites import Ground, Site, declared, honoured, put, receipt_of, running_region, same_journals, signing_sites

from glasshouse.regions.errors import InvalidInput, UploadRefused
from glasshouse.regions.journal import Kind, Note, heads
from glasshouse.storage.db import Database

LARGE = 3 << 20


@pytest.fixture(scope="module")
def region(
    database: Database, other_database: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    with running_region(Ground(tmp_path_factory.mktemp("region")), database, other_database) as sites:
        yield sites


def test_an_object_is_held_at_both_sites_under_one_receipt(region: tuple[Site, Site]) -> None:
    stored = region[0].upload(b"suspicious file")
    assert stored.created
    assert signing_sites(region[0].ground, stored.receipt) == {"zurich-1", "zurich-2"}
    said = receipt_of(stored.receipt)
    assert (said.sha256, said.size, said.site) == (hashlib.sha256(b"suspicious file").hexdigest(), 15, "zurich-1")
    assert honoured(stored.receipt, *region)


def test_the_receipt_is_the_statement_that_the_verifier_would_write(region: tuple[Site, Site]) -> None:
    key = bytes.fromhex("0b7237fa038970c48ec07cd73b625f5ee7c810f60f16ee6d8b7b62261062a5c6")
    for changes in ({}, {"customer_key": key}):
        envelope = region[0].upload(os.urandom(9), **changes).receipt
        assert make_statement(Use.RECEIPT, receipt_of(envelope)) == parse_envelope(envelope).payload
        assert format_envelope(parse_envelope(envelope)) == envelope


def test_objects_of_every_size_come_back(region: tuple[Site, Site]) -> None:
    for size in (0, 1, 65_500, 65_536, (1 << 20) - 7, LARGE):
        content = os.urandom(size)
        stored = region[1].upload(content)
        assert receipt_of(stored.receipt).size == size
        assert region[0].content(stored.handle) == region[1].content(stored.handle) == content


def test_the_same_content_again_gets_the_same_receipt(region: tuple[Site, Site]) -> None:
    for content in (b"the same", os.urandom(LARGE)):
        first = region[0].upload(content)
        again = region[0].upload(content)
        elsewhere = region[1].upload(content)
        assert (again.created, elsewhere.created) == (False, False)
        assert first.receipt == again.receipt == elsewhere.receipt
        assert region[0].upload(content, customer="wombat").handle != first.handle


def test_many_at_once_are_taken_once(region: tuple[Site, Site]) -> None:
    async def together() -> list[str]:
        uploads = (put(region[0].intake, declared(b"at once"), b"at once") for _ in range(20))
        return [stored.handle for stored in await asyncio.gather(*uploads)]

    assert len(set(region[0].loop.run(together()))) == 1


def test_numbers_have_no_gaps_and_the_journals_agree(region: tuple[Site, Site]) -> None:
    async def many() -> list[int]:
        contents = [os.urandom(100) for _ in range(150)]
        stored = await asyncio.gather(*(put(region[0].intake, declared(content), content) for content in contents))
        return [receipt_of(one.receipt).number for one in stored]

    numbers = region[0].loop.run(many())
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 150))
    for site in region:
        found = site.rows("select site, array_agg(number order by position) from regions.event group by site")
        assert all([n for n in column if n] == list(range(1, len([n for n in column if n]) + 1)) for _, column in found)
    until(lambda: same_journals(*region))


@pytest.mark.parametrize("size", [100, LARGE])
def test_what_is_not_as_declared_is_refused_and_not_kept(region: tuple[Site, Site], size: int) -> None:
    site, content = region[0], os.urandom(size)
    before, rows = set(site.place.vault.handles()), site.rows("select count(*) from regions.object")
    counts = heads(site.place.database)[site.name]
    wrong = declared(content, sha256=hashlib.sha256(b"other").hexdigest())
    for what, sent, field in (
        (wrong, content, "sha256"),
        (declared(content), content[:-1], "size"),
        (declared(content, size=size - 1), content, "size"),
    ):
        with pytest.raises(UploadRefused) as caught:
            site.loop.run(put(site.intake, what, sent))
        assert caught.value.field == field
    with pytest.raises(InvalidInput, match="none of the charter's"):
        site.loop.run(put(site.intake, declared(content, category="holiday"), content))
    assert set(site.place.vault.handles()) == before
    assert set(region[1].place.vault.handles()) == before
    assert site.rows("select count(*) from regions.object") == rows
    assert list(site.place.vault.spool.iterdir()) == []
    until(lambda: heads(site.place.database)[site.name].refused == counts.refused + 3)
    now = heads(site.place.database)[site.name]
    assert now.received - now.refused == now.number


def test_an_upload_that_broke_goes_on(region: tuple[Site, Site]) -> None:
    content = os.urandom(LARGE)

    async def broken() -> bytes:
        upload = await region[0].intake.begin(declared(content))
        await upload.write(content[: LARGE // 2])
        with pytest.raises(InvalidInput):
            await upload.resume(17)
        await upload.resume(upload.position)
        await upload.write(content[upload.position :])
        return (await upload.finish()).receipt

    assert honoured(region[0].loop.run(broken()), *region)


def test_an_upload_that_is_left_is_gone(region: tuple[Site, Site]) -> None:
    async def left() -> None:
        async with await region[0].intake.begin(declared(bytes(LARGE))) as upload:
            await upload.write(bytes(LARGE // 2))

    region[0].loop.run(left())
    assert list(region[0].place.vault.spool.iterdir()) == []


def test_an_erased_object_is_gone_at_both_sites_and_may_be_sent_anew(region: tuple[Site, Site]) -> None:
    stored = region[0].upload(b"to be erased")
    note = Note(kind=Kind.REMOVED, handle=stored.handle, body={"reason": "customer", "time": 1})
    event = region[1].loop.run(region[1].intake.append(note))
    assert event.kind == Kind.REMOVED
    query = "select state, sha256, wrapped, signatures from regions.object where handle = %s"
    for site in region:
        until(lambda site=site: site.rows(query, bytes.fromhex(stored.handle)) == [("removed", None, None, None)])
    assert region[0].upload(b"to be erased").handle != stored.handle


def test_a_note_that_cannot_be_applied_fails_alone(region: tuple[Site, Site]) -> None:
    site = region[0]

    async def some() -> list[object]:
        notes = [
            Note(kind=Kind.COUNTERS, body={"received": 1, "refused": 0}),
            Note(kind=Kind.EPOCH, body={}),
            Note(kind=Kind.COUNTERS, body={"received": 2, "refused": 0}),
        ]
        return await asyncio.gather(*map(site.intake.append, notes), return_exceptions=True)

    first, bad, last = site.loop.run(some())
    assert isinstance(bad, Exception)
    assert last.position == first.position + 1  # type: ignore[attr-defined]


def test_receipts_name_the_next_inventory(region: tuple[Site, Site]) -> None:
    site = region[0]
    site.loop.run(site.intake.append(Note(kind=Kind.EPOCH, body={"epoch": 6, "cut": {"zurich-1": 3}})))
    assert receipt_of(site.upload(b"after the sixth").receipt).epoch == 7
    assert receipt_of(region[1].upload(b"elsewhere").receipt).epoch == 1
