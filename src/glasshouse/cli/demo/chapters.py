"""The chapters of the demo, in the order in which a whole run tells them.

To add one, write a function of the `Story` in a module of its own and list it in `CHAPTERS`, where the story has it.
What it has to show it leaves in `story.proven` and `story.played`; what it has to say while it runs goes to
`story.say`. Everything else (`glasshouse demo CHAPTER`, the help, the JSON, the report) follows from the table.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from glasshouse.cli.demo.cheats import play_cheats
from glasshouse.cli.demo.conveyor_move import move_conveyor
from glasshouse.cli.demo.data import keep_data
from glasshouse.cli.demo.record import Record, Told, load_record
from glasshouse.cli.demo.relocation import relocate
from glasshouse.cli.demo.story import Story

# Half of what the demo's charter gives a status: what lies on the stage still counts as fresh.
REUSE_SECONDS = 43_200


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """A chapter: its title, how it is told, and the chapters that the stage must have seen before.

    `lasting`: it changes what the chapters up to it found. Where it was told, neither they nor it are told again on
    that stage; a run of theirs alone makes a new one.
    `spoilt_by`: where one of these was told, this one is told on a new stage.
    """

    title: str
    tell: Callable[[Story], None]
    needs: tuple[str, ...] = ()
    lasting: bool = False
    spoilt_by: tuple[str, ...] = ()


CHAPTERS: dict[str, Chapter] = {
    "charter": Chapter(
        title="every party makes its node and keys, the members sign the charter, the ledger starts",
        tell=Story.found,
        lasting=True,
    ),
    "move": Chapter(
        title="the vendor's conveyor moves from Moscow to Zurich, and builds the same bytes there",
        tell=move_conveyor,
        needs=("charter",),
        lasting=True,
    ),
    "release": Chapter(
        title="the vendor builds its products, signs and publishes them",
        tell=Story.release,
        needs=("move",),
        lasting=True,
    ),
    "rebuild": Chapter(
        title="two independent parties rebuild them from source and sign what they got",
        tell=Story.oversee,
        needs=("release",),
    ),
    "check": Chapter(
        title="a customer checks every file offline, and gets its evidence as a page",
        tell=Story.check,
        needs=("rebuild",),
    ),
    "data": Chapter(
        title="customers' files go where the charter says, and what becomes of them can be proven",
        tell=keep_data,
        needs=("charter",),
        # A proposal that a cheat leaves open and an amendment of this chapter would be two successors of one charter.
        spoilt_by=("cheats",),
    ),
    "relocation": Chapter(
        title="Australia's data moves from Moscow to Zurich under supervision, and the old site is emptied",
        tell=relocate,
        needs=("data",),
        lasting=True,
        spoilt_by=("cheats",),
    ),
    "cheats": Chapter(
        title="cheats are played, and caught by somebody else than the cheater",
        tell=play_cheats,
        needs=("check",),
    ),
}


def tell(story: Story, name: str | None) -> tuple[Record, list[Told]]:
    """Tell a chapter with what it needs, or the whole story; returns the stage's record and what was told now.

    A stage that an earlier run left is gone on with where that is sound, see `reusable`.
    """
    needed = list(CHAPTERS) if name is None else list(_closure(name))
    record = None if name is None else reusable(load_record(story.stage.root), name)
    if record is None:
        record = Record()
    else:
        story.say(f"going on with the stage in {story.stage.root}")
        story.resume()
        needed = [one for one in needed if one == name or one not in record.told]
    story.builds = not {"move", "release"}.isdisjoint(needed)
    return record, [_tell(story, record, one) for one in needed]


def reusable(record: Record | None, name: str) -> Record | None:
    """The record, if its stage may be gone on with for a chapter; else None.

    It may where it was left whole and lately, and no chapter that lasts or spoils has passed this one by.
    """
    if record is None or not record.told or record.under_way is not None:
        return None
    if time.time() - record.touched > REUSE_SECONDS:
        return None
    if not record.told.keys().isdisjoint(CHAPTERS[name].spoilt_by):
        return None
    order = list(CHAPTERS)
    passed = order[order.index(name) :]
    return None if any(CHAPTERS[one].lasting for one in passed if one in record.told) else record


def _closure(name: str) -> Iterator[str]:
    """A chapter and all it needs, in the order of the table."""
    wanted = {name}
    for one in reversed(CHAPTERS):
        if one in wanted:
            wanted.update(CHAPTERS[one].needs)
    return (one for one in CHAPTERS if one in wanted)


def _tell(story: Story, record: Record, name: str) -> Told:
    chapter, root = CHAPTERS[name], story.stage.root
    story.proven.clear()
    story.played.clear()
    story.placed.clear()
    began, started = int(time.time()), time.monotonic()
    if record.told:
        record.begin(name, root)
    chapter.tell(story)
    told = Told(
        name=name,
        title=chapter.title,
        began=began,
        seconds=round(time.monotonic() - started, 1),
        proven=tuple(story.proven),
        played=tuple(story.played),
        placed=tuple(story.placed),
    )
    record.end(told, root)
    return told


def listing() -> Sequence[str]:
    """One line for each chapter: its name and its title."""
    width = max(map(len, CHAPTERS)) + 2
    return [f"{name:<{width}}{chapter.title}" for name, chapter in CHAPTERS.items()]
