"""The examples of docs/spec/journal.md and peer-http.md are what the code writes and reads."""

import base64
import re

from sites import declared
from workshop import REPOSITORY
from world import NOW, digest

from glasshouse.regions.batch import Answer, Batch, Item, format_answer, format_batch, parse_answer, parse_batch
from glasshouse.regions.customers.moving import Account, Page, Used, format_page, parse_page
from glasshouse.regions.journal import START, Event, Kind, extended
from glasshouse.regions.receipts import Facts

SPEC = REPOSITORY / "docs" / "spec"
CONTENT = b"suspicious file"
SEALED = b"the sealed object"


def block(page: str, language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", (SPEC / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0]).removesuffix("\n")


def stored() -> Item:
    what = declared(CONTENT)
    facts = Facts(
        customer=what.customer,
        country=what.country,
        sha256=what.sha256,
        size=what.size,
        category=what.category,
        retention=31_536_000,
        epoch=3,
        charter=digest(b"charter"),
        party="acme",
        salt=digest(b"salt"),
        time=NOW,
        sealed_sha256=digest(SEALED),
        sealed_size=len(SEALED),
    )
    event = Event.make("zurich-1", 1, Kind.STORED, digest(b"handle"), 1, facts.body())
    return Item(event=event, facts=facts, data_key=bytes(range(32)), signature=bytes(64), sealed=SEALED)


def removed() -> Item:
    body = {"reason": "retention", "time": NOW + 31_536_000}
    return Item(event=Event.make("zurich-1", 2, Kind.REMOVED, digest(b"handle"), None, body))


def test_the_events() -> None:
    lines = [item.event.text.decode() for item in (stored(), removed()) if item.event.text]
    assert block("journal", "journal") == "\n".join(lines)
    for line, item in zip(lines, (stored(), removed()), strict=True):
        assert Event.parse(line.encode()) == item.event


def test_the_chain() -> None:
    chain, shown = START, []
    for item in (stored(), removed()):
        chain = extended(chain, item.event)
        shown.append(chain.hex())
    assert block("journal", "chain") == "\n".join(shown)


def test_the_batch() -> None:
    items = (stored(), removed())
    keyid = bytes.fromhex(digest(b"key"))
    batch = Batch(region="au", site="zurich-1", after=0, chain=START, keyid=keyid, items=items)
    written = b"".join(format_batch(batch))
    assert parse_batch(written) == batch
    length, head, tail = written[:4], written[4 : -len(SEALED)], written[-len(SEALED) :]
    assert block("peer-http", "batch") == f"{length.hex()}\n{head.decode()}\n{tail.hex()}"


def test_the_answer() -> None:
    chain = extended(extended(START, stored().event), removed().event)
    answer = Answer(
        position=2, chain=chain.hex(), keyid=digest(b"another key"), signatures={"1": bytes(64)}, missing=()
    )
    assert block("peer-http", "answer") == format_answer(answer).decode()
    assert parse_answer(format_answer(answer)) == answer


def test_every_kind_of_event_is_explained() -> None:
    text = (SPEC / "journal.md").read_text()
    assert [kind for kind in Kind if f"| `{kind}` |" not in text] == []
    assert base64.b64encode(bytes(64)).decode() in (SPEC / "peer-http.md").read_text()


def test_the_accounts() -> None:
    account = Account(
        id="kookaburra",
        country="AU",
        token_sha256=digest(b"token"),
        enrolled=NOW,
        changed=NOW * 1_000,
        off=False,
        categories_off=("telemetry",),
        public_key=bytes(range(32)),
        bytes_per_day=1_000_000,
        used=Used(day=NOW // 86_400, bytes=700),
    )
    page = Page(customers=(account,))
    assert block("peer-http", "customers") == format_page(page).decode()
    assert parse_page(format_page(page)) == page
