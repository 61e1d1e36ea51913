"""The demo's chapters: the table, what a chapter alone tells, and which stages it goes on with."""

import time
from pathlib import Path

import pytest
from click import unstyle
from typer.testing import CliRunner

from glasshouse.cli.app import build
from glasshouse.cli.demo import chapters
from glasshouse.cli.demo.chapters import CHAPTERS, REUSE_SECONDS, Chapter, reusable, tell
from glasshouse.cli.demo.record import Played, Proof, Record, Told, load_record
from glasshouse.cli.demo.stage import Stage
from glasshouse.cli.demo.story import Story

SHORT = {
    "one": Chapter(title="the first", tell=lambda story: story.proven.append(proof("first")), lasting=True),
    "two": Chapter(title="the second", tell=lambda story: story.proven.append(proof("second")), needs=("one",)),
    "aside": Chapter(title="beside it", tell=lambda _: None, needs=("one",), spoilt_by=("two",)),
    "three": Chapter(title="the third", tell=lambda _: None, needs=("two",), lasting=True),
}


def proof(about: str) -> Proof:
    return Proof(about=about, claim="so it is", by="lab", how="look")


def cheat(name: str, *, caught: bool = True) -> Played:
    return Played(name=name, row="R1", title="a cheat", caught=caught, by="customer", seen="exit 3", exit=3)


def told(name: str, *played: Played) -> Told:
    return Told(name=name, title="", began=1, seconds=0.5, played=played)


def left(*names: str) -> Record:
    return Record(told={name: told(name) for name in names})


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(chapters, "CHAPTERS", SHORT)
    monkeypatch.setattr(Story, "resume", lambda _: None)
    return Story(Stage(root=tmp_path, say=lambda _: None), [], [], lambda _: None)


def names(story: Story, chapter: str | None) -> list[str]:
    return [one.name for one in tell(story, chapter)[1]]


def test_what_a_chapter_needs_stands_before_it() -> None:
    order = list(CHAPTERS)
    assert all(order.index(need) < order.index(name) for name in order for need in CHAPTERS[name].needs)
    assert all(order.index(spoils) > order.index(name) for name in order for spoils in CHAPTERS[name].spoilt_by)
    assert all(name.isidentifier() and chapter.title for name, chapter in CHAPTERS.items())


def test_every_chapter_begins_with_the_charter() -> None:
    assert all(next(chapters._closure(name)) == "charter" for name in CHAPTERS)


def test_a_chapter_alone_tells_what_it_needs(story: Story) -> None:
    assert names(story, "three") == ["one", "two", "three"]


def test_the_whole_story_is_told_in_the_order_of_the_table(story: Story) -> None:
    assert names(story, None) == list(SHORT)
    assert names(story, None) == list(SHORT)


def test_a_chapter_goes_on_with_the_stage_that_is_there(story: Story) -> None:
    assert names(story, "two") == ["one", "two"]
    assert names(story, "three") == ["three"]
    assert names(story, "two") == ["one", "two"]
    assert names(story, "two") == ["two"]


@pytest.mark.parametrize(
    ("before", "name", "sound"),
    [
        (("one",), "two", True),
        (("one", "two"), "two", True),
        (("one", "two", "aside"), "two", True),
        (("one", "aside"), "aside", True),
        (("one", "two"), "aside", False),
        (("one",), "one", False),
        (("one", "two", "three"), "two", False),
        (("one", "two", "three"), "three", False),
        ((), "one", False),
    ],
)
def test_a_stage_is_gone_on_with_where_nothing_lasting_passed(
    story: Story, before: tuple[str, ...], name: str, sound: bool
) -> None:
    assert (reusable(left(*before), name) is not None) is sound


def test_a_stage_that_is_old_or_broken_is_not_gone_on_with(story: Story) -> None:
    for change in (
        {"touched": int(time.time()) - REUSE_SECONDS - 5},
        {"under_way": "two"},
    ):
        record = left("one")
        for name, value in change.items():
            setattr(record, name, value)
        assert reusable(record, "two") is None
    assert reusable(None, "two") is None


def test_the_record_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = left("one")
    record.end(Told(name="two", title="t", began=1, seconds=2.5, proven=(proof("f"),), played=(cheat("a"),)), tmp_path)
    assert load_record(tmp_path) == record
    with monkeypatch.context() as patch:
        patch.setattr("glasshouse.cli.demo.record.edition", lambda: "another")
        assert load_record(tmp_path) is None
    (tmp_path / "record.json").write_text('{"schema":"something/else"}')
    assert load_record(tmp_path) is None


def test_a_chapter_that_fails_leaves_a_stage_that_is_not_gone_on_with(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(story, "one") == ["one"]

    def fails(_: Story) -> None:
        raise LookupError

    with monkeypatch.context() as patch:
        patch.setitem(SHORT, "two", Chapter(title="t", tell=fails, needs=("one",)))
        with pytest.raises(LookupError):
            names(story, "two")
    assert names(story, "two") == ["one", "two"]


def test_cheats_of_an_earlier_telling_are_kept(tmp_path: Path) -> None:
    record = Record()
    record.end(told("cheats", cheat("a"), cheat("b", caught=False)), tmp_path)
    record.end(told("cheats", cheat("b")), tmp_path)
    assert [(p.name, p.caught) for p in record.told["cheats"].played] == [("a", True), ("b", True)]


def test_help_and_errors_list_the_chapters() -> None:
    run = CliRunner().invoke(build("demo"), ["demo", "--help"])
    wrong = CliRunner().invoke(build("demo"), ["demo", "none-such"])
    assert (run.exit_code, wrong.exit_code) == (0, 2)
    for name in CHAPTERS:
        assert f"  {name} " in unstyle(run.output)
        assert f"  {name} " in unstyle(wrong.output)


def test_a_cheat_is_played_in_its_chapter_only() -> None:
    wrong = CliRunner().invoke(build("demo"), ["demo", "release", "--cheat", "stale"])
    assert wrong.exit_code == 2
    assert "chapter cheats" in unstyle(wrong.output)
