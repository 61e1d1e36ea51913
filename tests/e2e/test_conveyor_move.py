"""The conveyor moves from Moscow to Zurich: real processes, real builds, docs/howto/move-the-conveyor.md word for word.

One initiative serves all tests of this file, which tell one story: each goes on where the one before ended.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.charter import Chain
from glasshouse_verify.gate import check_file
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Use
from howto import blocks_of, follow
from initiative import PARTIES, TERMS, Initiative, Setting, running, until
from typer.testing import CliRunner
from workshop import RECIPES, cache, environment
from world import PRODUCT, digest

from glasshouse.cli.app import build
from glasshouse.cli.conveyor import open_press
from glasshouse.cli.wiring import post
from glasshouse.conveyor.errors import ConveyorError
from glasshouse.conveyor.moving import Place
from glasshouse.conveyor.release import Order, ReleaseRun
from glasshouse.ledger.errors import LedgerError, Refused
from glasshouse.ledger.evidence import assemble
from glasshouse.parties.node import open_node

PAGE = "move-the-conveyor.md"
HELLO = "acme/hello-c"
NEW = Place(site="zurich-1", country="CH")
MISMATCH, REFUSED = 3, 4

pytestmark = pytest.mark.timeout(900)


class Move(Initiative):
    """The vendor's nodes and releases; the two rebuilders and auditors are at work by themselves."""

    @property
    def nodes(self) -> Path:
        return self.stage.root / "nodes"

    def follow(self, *headings: str) -> str:
        """Run sections of the page in the directory with the nodes; what they printed."""
        functions = [line + "\n" for line in blocks_of(PAGE, "2. ")[0].splitlines() if "() {" in line]
        blocks = [block for heading in headings for block in blocks_of(PAGE, heading)]
        run = follow([*functions, *blocks], self.nodes, LEDGER=self.charter.ledger.url)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def attempt(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return self.stage.attempt(*words, cwd=self.nodes)

    def refused(self, *words: str | Path) -> str:
        """A command that fails; its last words."""
        done = self.attempt(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr.splitlines()[-1]

    def refused_move(self, archive: Path) -> str:
        """The same of a move, in this process: starting one is most of what it takes."""
        words = ("conveyor", "move", str(archive), "--node", str(self.nodes / "acme-zurich"))
        done = CliRunner().invoke(build("conveyor"), words)
        assert isinstance(done.exception, ConveyorError), done.output
        return str(done.exception)

    @property
    def lock(self) -> Path:
        place = self.stage.root / "lock.jsonl"
        place.write_bytes(environment().lock.data)
        return place

    def recipe(self, version: str) -> Path:
        """The recipe of hello-c with a source of its own for each version, as versions have."""
        place = self.stage.root / "recipes" / version / "hello-c"
        if not place.exists():
            shutil.copytree(RECIPES / "hello-c", place)
            source = place / "source" / "hello.c"
            source.write_text(source.read_text().replace("hello from", f"hello {version} from"))
        return place

    def publish(self, node: str, version: str) -> Path:
        """Release a version by the vendor's own command; its one file."""
        words = ("release", self.recipe(version), "--version", version, "--lock", self.lock, "--node", node, "--json")
        (file,) = json.loads(self.stage.run(*words, cwd=self.nodes))["files"]
        return self.nodes / file

    def verify(self, file: Path) -> tuple[int, str]:
        """The customer's own commands on a file: exit code of the gate, and what it said."""
        evidence = self.stage.root / "hello.evidence"
        words = ("--ledger", self.charter.ledger.url, "--charter", self.stage.pin, "--out", evidence)
        found = self.attempt("evidence", "get", file, *words)
        if found.returncode:
            return found.returncode, found.stderr
        done = self.attempt("verify", file, "--evidence", evidence, "--charter", self.stage.pin)
        return done.returncode, done.stdout

    def installable(self, file: Path) -> str:
        """Wait until rebuilders and status parties have spoken and the gate passes; what it said."""
        last: list[object] = []

        def ready() -> bool:
            try:
                evidence = assemble(self.client, self.pin, digest_of(file))
            except LedgerError as error:
                last[:] = [error]
                return False
            report = check_file(self.pin, evidence, digest_of(file), int(time.time()) + 1)
            last[:] = report.claims
            return report.outcome == Outcome.VERIFIED

        until(ready, lambda: str(last))
        code, said = self.verify(file)
        assert code == 0, said
        return said

    def built(self, node: str, version: str) -> Path:
        """The file of a release in the node that made it."""
        return self.nodes / node / "data" / "releases" / "hello-c" / version / "out" / "hello"

    def built_at(self, version: str, place: Place) -> bool:
        """Whether the ledger holds, as an entry of its own, a conveyor's provenance of a version from a place."""
        for record in self.sync().standing(Use.PROVENANCE):
            parameters = record.predicate["buildDefinition"]["externalParameters"]
            if parameters["version"] == version:
                return {self.charter.jurisdiction(key) for key in record.keyids} == {place.country}
        return False


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Move]:
    environment()
    terms = TERMS.replace(PRODUCT, HELLO).replace('["CH"]', '["RU"]')
    parties = PARTIES | {"acme": ("moscow:RU:Moscow", *PARTIES["acme"][1:])}
    directory = tmp_path_factory.mktemp("move")
    with running(directory, Setting(parties=parties, terms=terms, rebuilds=cache()), Move) as initiative:
        yield initiative


def test_a_new_node_joins_before_it_can_build(live: Move) -> None:
    live.follow("1. ")
    (live.nodes / "acme-zurich" / "cache").symlink_to(cache())
    move = ("conveyor", "move", "acme", "--node", "acme-zurich")
    said = live.refused(*move)
    assert "cannot sign as conveyor by charter 1" in said
    assert "glasshouse charter join" in said
    live.follow("2. ")
    charter = live.sync().chain.newest.charter
    assert charter.version == 2
    assert {key.site for key in charter.parties["acme"].keys.values()} == {"moscow", "zurich-1"}
    assert set(charter.parties["acme"].roles) == {"vendor", "ledger", "member"}
    assert live.refused(*move) == "glasshouse: party: the ledger has no release of acme that stands. " + (
        "Release something first."
    )


def test_a_release_from_the_old_site(live: Move) -> None:
    assert "the conveyor in RU built these digests" in live.installable(live.publish("acme", "1.0"))


@pytest.mark.parametrize("name", ["tree", "secret", "provenance.dsse", "."])
def test_an_archive_that_lacks_something(live: Move, tmp_path: Path, name: str) -> None:
    archive = archived(live, tmp_path)
    lost = archive / "hello-c" / "1.0" / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    said = live.refused_move(archive)
    missing = lost if name != "." else archive / "hello-c" / "1.0" / "tree"
    fix = "copy data/releases/hello-c/1.0 of the old site's node again, whole"
    assert said == f"{missing}: is missing ({fix})"


@pytest.mark.parametrize("change", ["content", "mode", "provenance"])
def test_an_archive_that_is_not_what_was_released(live: Move, tmp_path: Path, change: str) -> None:
    release = archived(live, tmp_path) / "hello-c" / "1.0"
    if change == "provenance":
        (release / "provenance.dsse").write_bytes((release / "source.dsse").read_bytes())
        expected = "provenance.dsse: is not the one that the release of acme/hello-c 1.0 names"
    else:
        source = release / "tree" / "hello.c"
        source.chmod(0o755) if change == "mode" else source.write_text(source.read_text() + "/* */\n")
        expected = "tree: is not the source that acme/hello-c 1.0 was released from"
    assert expected in live.refused_move(tmp_path / "releases")


def test_the_site_where_it_was_built_is_no_new_site(live: Move) -> None:
    said = live.refused("conveyor", "move", "acme/data/releases", "--node", "acme")
    assert said.startswith("glasshouse: --node: stands at moscow (RU), where every current product was built")


def test_sites_that_disagree(live: Move, tmp_path: Path) -> None:
    """Moscow's conveyor ships what the source does not give: nothing is logged, nothing is written, and it shows."""
    recipe = live.recipe("1.1")
    words = ("release", recipe, "--version", "1.1", "--lock", live.lock, "--node", "acme")
    live.stage.run(*words, "--dry-run", cwd=live.nodes)
    built = live.nodes / "acme" / "data" / "releases" / "hello-c" / "1.1"
    (built / "out" / "hello").write_bytes((built / "out" / "hello").read_bytes() + b"\x00back door")
    record = json.loads((built / "build.json").read_text())
    (output,) = record["outputs"]
    honest, output["sha256"] = output["sha256"], digest_of(built / "out" / "hello")
    (built / "build.json").write_text(json.dumps(record))
    live.stage.run(*words, cwd=live.nodes)
    until(lambda: any(r.predicate.version == "1.1" for r in live.sync().standing(Use.RELEASE)))

    patch = tmp_path / "patch.json"
    move = ("conveyor", "move", "acme/data/releases", "--node", "acme-zurich", "--out", patch)
    done = live.attempt(*move)
    assert done.returncode == MISMATCH, done.stdout + done.stderr
    shown = done.stdout.splitlines()
    assert shown[:3] == [
        "DIFFERS: acme/hello-c 1.1 hello",
        f"  moscow (RU): {output['sha256']}",
        f"  zurich-1 (CH): {honest}",
    ]
    assert shown[-1] == "Nothing was logged and no amendment was written."
    explained = live.attempt(*shown[3].partition(": glasshouse ")[2].split())
    assert explained.returncode == MISMATCH, explained.stdout + explained.stderr
    answer = json.loads(live.attempt(*move, "--json").stdout)
    assert (answer["identical"], answer["patch"], answer["products"][0]["entry"]) == (False, None, None)
    assert not patch.exists()
    assert not live.built_at("1.1", NEW)
    live.stage.run(
        "hold", "withdraw", "acme/hello-c@1.1", "--reason", "not its source", "--node", "acme", cwd=live.nodes
    )


def test_the_page_on_moving_works_word_for_word(live: Move) -> None:
    until(lambda: any(r.predicate.reason == "not its source" for r in live.sync().standing(Use.HOLD)))
    (live.nodes / "hello-c").symlink_to(live.recipe("1.2"))
    printed = live.follow("3. ", "4. ", "5. ").splitlines()
    same = f"identical at moscow (RU) and zurich-1 (CH): acme/hello-c 1.0 hello  {digest_of(live.built('acme', '1.0'))}"
    assert same in printed
    assert live.built_at("1.0", NEW)
    assert not live.built_at("1.1", NEW)
    gate = live.sync().chain.newest.charter.products[HELLO].gate
    assert (gate.build_in, gate.sign_in) == (("CH",), ("CH",))


def test_control_both_sites_releases_stand(live: Move) -> None:
    """What was released from Moscow before the amendment is judged by the charter of its time."""
    assert "the conveyor in CH built these digests" in live.installable(live.built("acme-zurich", "1.2"))
    said = live.installable(live.built("acme", "1.0"))
    assert "the conveyor in RU built these digests" in said
    assert "version 3 of the charter" in said


def test_attack_built_at_the_old_site_afterwards(live: Move) -> None:
    """Its own command refuses; a conveyor that goes by the charter of old logs a release that no gate passes."""
    order = Order(recipe=live.recipe("1.3"), version="1.3", channel="stable", lock=live.lock.read_bytes())
    words = ("release", order.recipe, "--version", order.version, "--lock", live.lock, "--node", "acme")
    assert "lets acme/hello-c be built in CH only, not in RU" in live.refused(*words)
    file = publish_by_the_pin(live, order)
    until(lambda: live.verify(file)[0] != 1, lambda: live.verify(file)[1])
    code, said = live.verify(file)
    assert code == REFUSED
    assert "it was built in RU; the charter allows CH only" in said
    assert "it was signed in RU; the charter allows CH only" in said
    expected = {
        (party, rule, f"acme/hello-c 1.3 was {text}")
        for party in ("lab", "second")
        for rule, text in (
            ("provenance", "built in RU; the charter allows CH only"),
            ("releases", "not signed in CH"),
        )
    }
    until(lambda: expected <= findings(live), lambda: str(expected - findings(live)))
    assert not any("1.0" in text or "1.2" in text for _, rule, text in findings(live) if rule != "verdicts")


def test_the_old_keys_stop_and_their_releases_stay(live: Move) -> None:
    live.follow("6. ")
    order = Order(recipe=live.recipe("1.4"), version="1.4", channel="stable", lock=live.lock.read_bytes())
    with pytest.raises(Refused) as caught:
        publish_by_the_pin(live, order)
    assert caught.value.status == 403
    assert "the conveyor in RU built these digests" in live.installable(live.built("acme", "1.0"))


def publish_by_the_pin(live: Move, order: Order) -> Path:
    """Release at the old site as its conveyor did under the first charter."""
    place = live.stage.root / "old-habits" / order.version
    with open_press(open_node(live.nodes / "acme"), open_node(live.nodes / "acme").agent) as press:
        run = ReleaseRun(place, Chain(live.pin).newest.charter, order, press)
        source = run.publish_source(live.now)
        post(live.client, source.envelope, source.blobs)
        run.build()
        released = run.sign_release(live.now)
        post(live.client, released.envelope, released.blobs)
        (file,) = run.shipped
    return file


def findings(live: Move) -> set[tuple[str, str, str]]:
    """Party, rule and text of what the auditors have logged."""
    records = live.sync().standing(Use.FINDING)
    return {(r.predicate.party, r.predicate.rule, r.predicate.text) for r in records}


def archived(live: Move, place: Path) -> Path:
    """A copy of the old site's archive."""
    return Path(shutil.copytree(live.nodes / "acme" / "data" / "releases", place / "releases"))


def digest_of(file: Path) -> str:
    return digest(file.read_bytes())
