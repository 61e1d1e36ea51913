"""The evidence page in a real browser: what a person sees with honest and altered files, pages, pins and clocks."""

import functools
import http.server
import json
import random
import re
import threading
from collections.abc import Iterator
from hashlib import sha256
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from evidence_cases import held, honest, long_lived
from glasshouse_verify.evidence import format_evidence
from visit import Visit, page_of
from world import DAY, FILE, NOW, SHIPPED, World

from glasshouse.cli.page.writing import write_page

CLAIMS = 8
PRE = re.compile(r'(<pre id="(evidence|charter)"[^>]*>)([^<]*)(</pre>)')
FLIPS = 12
LARGE_BYTES = 17 << 20


@pytest.fixture
def visit(browser: Any, folder: Path) -> Iterator[Visit]:
    made = Visit(browser, folder)
    yield made
    made.context.close()


def embedding(html: bytes, member: str, text: str) -> bytes:
    """A page that carries another evidence or charter, as a forger or a bad disk would leave it."""

    def other(match: re.Match[str]) -> str:
        return match[1] + escape(text, quote=False) + match[4] if match[2] == member else match[0]

    return PRE.sub(other, html.decode()).encode()


def embedded(html: bytes, member: str = "evidence") -> str:
    return next(unescape(match[3]) for match in PRE.finditer(html.decode()) if match[2] == member)


# --- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [honest, long_lived])
def test_honest_file(visit: Visit, make: Any) -> None:
    visit.open(page_of(make))
    assert visit.states() == ["verified"] * (CLAIMS - 1) + ["open"]
    assert "As checked by the command on" in visit.text("#checked")
    assert visit.give() == "Verified"
    assert visit.states() == ["verified"] * CLAIMS
    assert "Checked here, in this browser, at 2027-01-15 08:00:00 UTC" in visit.text("#checked")
    assert "Lab (lab), Second (second)" in visit.text("[data-claim=rebuild] .by")
    assert visit.problems == []


def test_altered_file(visit: Visit) -> None:
    visit.open(page_of())
    assert visit.give(SHIPPED + b"!", name="altered.whl") == "Mismatch"
    assert visit.states() == ["verified"] * (CLAIMS - 1) + ["mismatch"]
    assert "the file in hand is" in visit.text("#answer")
    assert visit.give(SHIPPED) == "Verified"


@pytest.mark.parametrize(("after", "headline"), [(DAY - 60, "Verified"), (DAY - 59, "Undecided"), (-61, "Undecided")])
def test_freshness_goes_by_the_clock_of_the_device(visit: Visit, after: int, headline: str) -> None:
    visit.open(page_of(), NOW + after)
    assert visit.give() == headline


def test_newer_evidence_can_be_brought_along(visit: Visit) -> None:
    world = honest()
    html = write_page(format_evidence(world.evidence()), world.pin, NOW, f"{FILE}.evidence").html
    visit.open(html, NOW + 2 * DAY)
    assert visit.give() == "Undecided"
    world.now = NOW + 2 * DAY
    world.status()
    assert visit.give(format_evidence(world.evidence()), "#own-evidence", "newer.evidence") == "Verified"
    assert "from newer.evidence" in visit.text("#answer")


def test_a_held_release(visit: Visit) -> None:
    def make() -> World:
        world = World()
        held(world)
        return world

    visit.open(page_of(make))
    assert visit.text("#checked").count("It found a mismatch.") == 1
    assert visit.give() == "Mismatch"
    assert "lab placed a hold on it" in visit.text("#answer")


# --- pages that were changed ---------------------------------------------------------------------------------------


def spoilt(member: str, text: str) -> str:
    """The embedded evidence with one letter or digit changed in a member."""
    document = json.loads(text)
    place: Any = document
    path = {
        "hash": ["hashes"],
        "checkpoint": ["checkpoint"],
        "signature": ["rebuilds", 0, "signatures", 0, "sig"],
        "row": ["row", "row", "verdicts", "lab", "statement"],
        "delta": ["amendments", 1, "delta", "status", "maximum_age"],
        "pin": ["pin"],
    }[member]
    for name in path[:-1]:
        place = place[name]
    value = place[path[-1]]
    if isinstance(value, int):
        place[path[-1]] = value + 1
    else:
        middle = len(value) // 2
        place[path[-1]] = value[:middle] + ("0" if value[middle] != "0" else "1") + value[middle + 1 :]
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


@pytest.mark.parametrize("member", ["hash", "checkpoint", "signature", "row", "delta", "pin"])
def test_page_with_one_value_changed(visit: Visit, member: str) -> None:
    html = page_of(long_lived)
    visit.open(embedding(html, "evidence", spoilt(member, embedded(html))))
    assert visit.give() in ("Not authorised", "Mismatch", "Unreadable")
    assert visit.states().count("verified") < CLAIMS


def test_page_with_one_bit_flipped(visit: Visit) -> None:
    chance = random.Random(7)
    html = page_of(long_lived)
    for member in ("evidence", "charter"):
        data = embedded(html, member).encode()
        for bit in chance.sample(range(8 * len(data)), FLIPS):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            text = changed.decode("utf-8", "replace")
            visit.open(embedding(html, member, text))
            assert visit.give() in ("Not authorised", "Mismatch", "Unreadable"), (member, bit)


def test_changed_script_does_not_run(visit: Visit) -> None:
    """The policy names the script by its hash; a page whose maker changed both is another page."""
    html = page_of().replace(b'"Verified"', b'"VERIFIED"')
    visit.open(html)
    assert visit.page.locator("#no-script").is_visible()
    assert not visit.page.locator("#check").is_visible()


# --- the pin -------------------------------------------------------------------------------------------------------


def test_own_charter(visit: Visit) -> None:
    world, html = honest(), page_of()
    visit.open(html)
    shown = visit.page.evaluate(
        "getSelection().selectAllChildren(document.getElementById('pin')), String(getSelection())"
    )
    assert visit.give() == "Verified"
    assert "rests on the charter in this page" in visit.text("#answer")
    assert visit.give(world.pin + b"\n", "#own-charter", "mine.json") == "Verified"
    assert "from mine.json" in visit.text("#answer")
    assert "rests on the charter in this page" not in visit.text("#answer")
    assert visit.text("#pin-file").replace(" ", "") == sha256(world.pin + b"\n").hexdigest()
    assert visit.text("#pin").replace(" ", "") == shown == json.loads(embedded(html))["pin"]


def test_charter_of_another_initiative(visit: Visit) -> None:
    visit.open(page_of())
    visit.give()
    assert visit.give(World(initiative="Another").pin, "#own-charter", "other.json") == "Not authorised"
    assert visit.states() == ["mismatch"] + ["open"] * (CLAIMS - 1)
    assert visit.text("#pin-from") == "other.json"
    assert visit.give(b"{}", "#own-charter", "junk.json") == "Unreadable"


# --- where the browser cannot --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lack",
    [
        "crypto.subtle.importKey = () => Promise.reject(new DOMException('', 'NotSupportedError'))",
        "crypto.subtle.verify = () => Promise.resolve(true)",
        "crypto.subtle.verify = () => Promise.resolve(false)",
        "Object.defineProperty(Crypto.prototype, 'subtle', {value: undefined})",
    ],
)
def test_browser_without_signatures(visit: Visit, lack: str) -> None:
    """A browser that cannot tell a good signature from a bad one says so, and nothing becomes verified."""
    visit.context.add_init_script(lack)
    visit.open(page_of())
    assert visit.give() == "Not checked"
    assert "use glasshouse verify" in visit.text("#answer")
    assert "As checked by the command" in visit.text("#checked")


def test_without_scripts(browser: Any, folder: Path) -> None:
    visit = Visit(browser, folder, java_script_enabled=False)
    (folder / "page.html").write_bytes(page_of())
    visit.page.goto((folder / "page.html").as_uri())
    assert visit.page.locator("#no-script").is_visible()
    for selector in ("#check", "#own", "#save"):
        assert not visit.page.locator(selector).is_visible()
    assert "As checked by the command on 2027-01-15 08:00:00 UTC" in visit.text("#checked")
    assert visit.page.locator("[data-claim]").count() == CLAIMS
    assert "the only release of that name" in visit.text("[data-claim=status]").lower()
    visit.context.close()


def test_large_files_are_hashed_in_pieces(visit: Visit) -> None:
    content = random.Random(1).randbytes(LARGE_BYTES)
    visit.open(page_of())
    assert visit.give(content) == "Mismatch"
    assert sha256(content).hexdigest() in visit.text("#answer")


# --- nothing leaves ------------------------------------------------------------------------------------------------


def test_no_request_from_a_file(visit: Visit) -> None:
    visit.open(page_of())
    visit.give()
    visit.give(honest().pin, "#own-charter", "mine.json")
    assert visit.requests == [(visit.folder / "page.html").as_uri()]


def test_no_request_from_a_server(visit: Visit) -> None:
    """Not even for an icon; and the network may be gone once the page is there."""
    (visit.folder / "page.html").write_bytes(page_of())
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            asked.append(self.path)

    serve = functools.partial(Handler, directory=str(visit.folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        visit.page.clock.set_fixed_time(NOW)
        visit.page.goto(f"http://127.0.0.1:{server.server_port}/page.html")
        visit.context.set_offline(True)
        assert visit.give() == "Verified"
        server.shutdown()
    assert asked == ["/page.html"]
    assert len(visit.requests) == 1


def test_script_from_elsewhere_is_refused(visit: Visit) -> None:
    """Whatever got into the page's text, the policy runs nothing but the page's own script, and fetches nothing."""
    visit.open(page_of())
    tried = visit.page.evaluate(
        """async () => {
            const image = document.createElement("img");
            const failed = new Promise((done) => { image.onerror = () => done("refused"); });
            image.src = "https://example.com/x.png";
            return [await failed, await fetch("https://example.com/").then(() => "fetched", () => "refused")];
        }"""
    )
    assert tried == ["refused", "refused"]


# --- dropping and saving -------------------------------------------------------------------------------------------

DROP = """(names) => {
    const transfer = new DataTransfer();
    for (const name of names) transfer.items.add(new File(["the engine as shipped"], name));
    return transfer;
}"""


def test_dropped_file(visit: Visit) -> None:
    visit.open(page_of())
    transfer = visit.page.evaluate_handle(DROP, [FILE])
    visit.page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    visit.page.dispatch_event("#claims", "drop", {"dataTransfer": transfer})
    assert visit.headline() == "Verified"


def test_two_dropped_files(visit: Visit) -> None:
    visit.open(page_of())
    visit.page.dispatch_event("body", "drop", {"dataTransfer": visit.page.evaluate_handle(DROP, ["a", "b"])})
    assert visit.headline() == "Not checked"


def test_evidence_and_charter_can_be_saved(visit: Visit) -> None:
    visit.open(page_of())
    for button, name, member in (
        ("#save-evidence", f"{FILE}.evidence", "evidence"),
        ("#save-charter", "charter.json", "charter"),
    ):
        with visit.page.expect_download() as download:
            visit.page.click(button)
        assert download.value.suggested_filename == name
        assert Path(download.value.path()).read_text() == embedded(page_of(), member)


def test_names_from_the_evidence_stay_text(visit: Visit) -> None:
    """Names and reasons that others chose, with markup in them: shown as they are, by the command and by the script."""
    name = "<img src=x onerror=alert(1)>&amp;\"'.whl"

    def make() -> World:
        world = World(initiative="</pre><script>alert(1)</script>", parties={"lab": {"name": "<b>Lab</b>"}})
        release = world.release(name=name)
        world.rebuild(release, "lab", explanation="</script><script>alert(2)</script>")
        world.rebuild(release, "second")
        world.status()
        return world

    visit.open(page_of(make))
    assert visit.give(name="innocent.whl") == "Verified"
    assert visit.text("h1") == name
    assert "<b>Lab</b> (lab)" in visit.text("[data-claim=rebuild] .by")
    assert visit.page.locator("img, script:not([type=module]), .body b").count() == 0
    assert visit.problems == []
