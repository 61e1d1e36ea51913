"""The evidence page as the command writes it: what stands in it, what it may run, and that it can be made again."""

import json
import re
import time
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from evidence_cases import held, honest, long_lived, replete
from forgery import forge
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.errors import CharterError, FormatError
from glasshouse_verify.evidence import format_evidence
from glasshouse_verify.report import Outcome
from typer.testing import CliRunner
from visit import page_of
from world import DAY, FILE, NOW, SHIPPED, World, digest

from glasshouse.cli.app import build
from glasshouse.cli.page import writing
from glasshouse.cli.page.sections import TITLES
from glasshouse.cli.page.writing import Page, write_page
from glasshouse.supervision.markup import Markup, join, tag

MAX_BYTES = 150_000


def written(world: World, at: int = NOW, evidence: Any = None) -> Page:
    return write_page(format_evidence(evidence or world.evidence()), world.pin, at, f"{FILE}.evidence")


def text_of(html: bytes) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", html.decode().partition("<body>")[2])).split())


def states(html: bytes) -> dict[str, str]:
    return dict(re.findall(r'data-claim="(\w+)" data-state="(\w+)"', html.decode()))


@pytest.mark.parametrize("make", [honest, long_lived])
def test_page_is_one_small_file(make: Any) -> None:
    html = page_of(make)
    assert len(html) <= MAX_BYTES
    text = html.decode()
    assert re.findall(r"<(?:link|img|iframe|object|embed|base)\b", text) == []
    assert re.findall(r'\b(?:src|href)="(?!#)', text.partition("<script")[0]) == []


def test_policy_allows_the_pages_own_script_and_style_only() -> None:
    text = page_of().decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    for element, kind in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{element}[^>]*>(.*?)</{element}>", text, re.DOTALL)
        assert f"{kind} 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}';" in policy[1]
    assert "unsafe" not in policy[1]


def test_page_can_be_made_again() -> None:
    assert written(honest()).html == written(honest()).html
    assert written(honest()).html != written(honest(), NOW + 1).html


def test_page_holds_evidence_and_pin_as_text() -> None:
    world = honest()
    html = written(world).html.decode()
    found = {name: unescape(text) for name, text in re.findall(r'<pre id="(\w+)"[^>]*>([^<]*)</pre>', html)}
    assert found == {"evidence": format_evidence(world.evidence()).decode(), "charter": world.pin.decode()}
    assert statement_id(world.pin) in text_of(html.encode())


def test_claims_are_those_of_the_gate_and_the_file_is_not_among_them() -> None:
    page = written(honest())
    assert page.report.outcome == Outcome.VERIFIED
    assert list(states(page.html)) == list(TITLES)
    assert states(page.html) == dict.fromkeys(TITLES, "verified") | {"file": "open"}
    text = text_of(page.html)
    assert "As checked by the command on 2027-01-15 08:00:00 UTC. Everything but the file itself was verified." in text
    assert "No file was in hand." in text
    for claim in page.report.claims[:-1]:
        assert claim.text in text
        assert claim.limit in text
        assert claim.recheck in text


def test_who_did_what() -> None:
    text = text_of(page_of(long_lived))
    for words in (
        "Showed the source: 42 files",
        "Built and released it in the channel stable",
        "Rebuilt it from the source: identical",
        "Not varied: kernel",
        "Signed the status",
        "Cosigned the ledger at 11 entries",
        "Voted for charter version 5",
        "Votes on the charter: 2 of 3 decide",
        "This evidence counts as fresh until 2027-01-15 19:59:00 UTC",
    ):
        assert words in text


def test_how_it_was_rebuilt_and_what_was_placed_on_it() -> None:
    text = text_of(page_of(replete))
    words = "Rebuilt it from the source in bubblewrap 0.8.0, bound to its result before the release"
    assert f"{words}: identical-modulo-signature" in text
    world = World()
    held(world)
    assert "Placed a hold on it: a 'quoted' reason — ü" in text_of(written(world).html)


@pytest.mark.parametrize(
    ("at", "words"),
    [(NOW + 9 * DAY, "The evidence did not suffice."), (NOW - DAY, "The evidence did not suffice.")],
)
def test_stale_evidence_is_written_down_as_that(at: int, words: str) -> None:
    page = written(honest(), at)
    assert page.report.outcome == Outcome.UNDECIDED
    assert words in text_of(page.html)
    assert states(page.html)["status"] == "undecided"


def test_hold_and_foreign_key_are_written_down() -> None:
    world = World()
    held(world)
    assert states(written(world).html)["status"] == "mismatch"
    world = World()
    world.oversee(world.release(by="acme-old"))
    assert "It found somebody not authorised." in text_of(written(world).html)


def test_release_without_rebuild_or_status() -> None:
    world = World()
    world.release()
    page = written(world)
    assert states(page.html)["rebuild"] == "undecided"
    assert "counts as fresh" not in text_of(page.html)


def test_claims_beyond_a_broken_foundation_are_not_reached() -> None:
    world = honest()
    forgery = forge(world, 2, rebuilds=[3, 4], status=5, checkpoint=world.checkpoint("w1"))
    page = written(world, evidence=forgery)
    assert states(page.html) == {"charter": "verified", "ledger": "mismatch"} | dict.fromkeys(list(TITLES)[2:], "open")
    assert "Not reached" in text_of(page.html)
    assert "Cosigned the ledger" not in text_of(page.html)


def test_no_page_without_the_right_pin() -> None:
    evidence = format_evidence(honest().evidence())
    with pytest.raises(CharterError, match="no page was written: the evidence starts from another first charter"):
        write_page(evidence, World(initiative="Another").pin, NOW, "x")
    with pytest.raises(FormatError):
        write_page(evidence[:-1], honest().pin, NOW, "x")


def test_script_is_the_modules_without_comments() -> None:
    script = writing.script()
    modules = Path(writing.__file__).parent.glob("js/*.mjs")
    kept = script.splitlines()
    for module in modules:
        for line in module.read_text().splitlines():
            if line and not re.match(r" *(?://|/?\*)|import |export |  [A-Za-z, 0-9]+,?$|\} from ", line):
                assert line in kept, (module.name, line)
    assert "</script" not in script
    assert "//" not in re.sub(r"https?://", "", script)


# --- markup --------------------------------------------------------------------------------------------------------


def test_text_becomes_no_markup() -> None:
    assert tag("p", "<b>&", Markup("<i>x</i>"), title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;<i>x</i></p>'
    assert tag("p", hidden=True, data_state="a") == '<p hidden data-state="a"></p>'
    assert tag("p", hidden=False) == "<p></p>"
    assert join("a", "<") == "a&lt;"


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    world = World()
    world.now = int(time.time())
    world.honest()
    (tmp_path / f"{FILE}.evidence").write_bytes(format_evidence(world.evidence()))
    (tmp_path / "charter.json").write_bytes(world.pin + b"\n")
    return tmp_path


def run(folder: Path, *extra: str) -> Any:
    arguments = ["evidence", "html", str(folder / f"{FILE}.evidence"), "--charter", str(folder / "charter.json")]
    return CliRunner().invoke(build("evidence"), [*arguments, *extra])


def test_command_writes_beside_the_evidence(folder: Path) -> None:
    done = run(folder)
    assert done.exit_code == 0
    html = (folder / f"{FILE}.html").read_bytes()
    assert sha256(html).hexdigest() in done.output
    assert "everything but the file itself verified" in done.output


def test_command_answers_programs(folder: Path) -> None:
    done = run(folder, "--json", "--out", str(folder / "page.html"), "--at", "2027-01-15T08:00:00Z")
    html = (folder / "page.html").read_bytes()
    assert json.loads(done.output) == {
        "schema": "glasshouse.evidence-html/v1",
        "page": str(folder / "page.html"),
        "bytes": len(html),
        "sha256": sha256(html).hexdigest(),
        "outcome": json.loads(done.output)["outcome"],
    }
    again = run(folder, "--out", str(folder / "again.html"), "--at", "2027-01-15T08:00:00Z")
    assert again.exit_code == 0
    assert (folder / "again.html").read_bytes() == html


def test_page_remakes_itself_with_the_command_it_names(folder: Path) -> None:
    run(folder)
    html = (folder / f"{FILE}.html").read_bytes()
    command = re.search(r"glasshouse evidence html \S+ --charter charter.json --at (\S+Z)", text_of(html))
    assert command is not None
    run(folder, "--at", command[1], "--out", str(folder / "again.html"))
    assert (folder / "again.html").read_bytes() == html


def test_digest_in_the_page_is_the_released_files(folder: Path) -> None:
    run(folder)
    assert digest(SHIPPED) in text_of((folder / f"{FILE}.html").read_bytes()).replace(" ", "")
