"""The parts of `relocate run` where a store is emptied: its inventory and its fence, and what the destinations copy."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from glasshouse_verify.codec import Digest
from glasshouse_verify.region import Mode
from glasshouse_verify.relocation import Step
from rich.console import Console

from glasshouse.cli.beside import open_beside
from glasshouse.cli.relocating.steps import Mover, Said
from glasshouse.cli.relocating.tale import volume
from glasshouse.parties.errors import SettingsError
from glasshouse.relocation.archive import ArchiveBucket, ArchiveDirectory, ArchivePlace
from glasshouse.relocation.copying import Copying, Destination, copy_all
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import NotYet, StoreLied
from glasshouse.relocation.foreign import SourceInventory, fence, take_inventory
from glasshouse.relocation.landing import Landings
from glasshouse.relocation.listing import list_archive
from glasshouse.relocation.pace import Meter, Progress
from glasshouse.relocation.plan import OldStore, open_way, read_plan, read_secret
from glasshouse.relocation.stores.addresses import parse_bucket, read_credentials
from glasshouse.storage import files

SOURCE, FENCE = "at-source", "at-fence"
# A store is listed anew by a destination after so many times as long as the last pass took.
_REST = 4


class OldStoreSite:
    """The part of the site whose store is emptied."""

    def __init__(self, mover: Mover, *, may_fence: bool) -> None:
        self._mover, self._may_fence = mover, may_fence
        self._plan = store_of(mover)

    def open(self, course: Course) -> Said:
        """Say that the members' amendment is in force."""
        course.before(Step.OPEN, self._mover.party, self._mover.site)
        return self._mover.say(course, Step.OPEN, site=self._mover.site, epoch=0, charter=Digest(course.opening.id))

    def source(self, course: Course) -> Said:
        """Say what the store holds: everything listed, read and hashed."""
        course.before(Step.SOURCE, self._mover.party, self._mover.site)
        found = self._inventory(SOURCE)
        return self._mover.say(course, Step.SOURCE, **self._members(found, 0))

    def fence(self, course: Course) -> Said:
        """Have the store refuse writes, list it anew, and say what it holds for good."""
        course.before(Step.FENCE, self._mover.party, self._mover.site)
        if not self._may_fence:
            told = "Run this with --fence once the destinations have copied most of it"
            raise NotYet(f"{course.id}: the store still takes what is written. {told}")
        began = self._mover.place / "fenced-ms"
        store = open_way(self._mover.session.node.directory, self._plan)
        writer = self._plan.writer
        fenced = fence(store, store if writer is None else open_way(self._mover.session.node.directory, writer))
        if not fenced.refused:
            raise StoreLied(
                f"{store.url} still takes writes ({fenced.words}); take the writers' credentials away first"
            )
        if not began.exists():
            files.write(began, str(time.time_ns() // 1_000_000).encode())
        found = self._inventory(FENCE)
        members = {**self._members(found, 1), "refused": 0, "at_ms": int(began.read_text())}
        return self._mover.say(course, Step.FENCE, **members)

    def _inventory(self, name: str) -> SourceInventory:
        node, place = self._mover.session.node.directory, self._mover.place
        store, secret = open_way(node, self._plan), read_secret(node, self._plan)
        before = place / SOURCE / "seen"
        with _told("reading the store") as meter:
            how = Copying(meter=meter, bytes_per_second=_pace(self._mover))
            found = take_inventory(store, place / name, secret, before=before if name == FENCE else None, how=how)
        Console(stderr=True, log_path=False).log(f"hand {found.described} to the supervisor")
        return found

    def _members(self, found: SourceInventory, epoch: int) -> dict[str, Any]:
        return {"site": self._mover.site, "epoch": epoch, "rows": found.rows.sharded, "size": found.size}


class StoreDestination:
    """The part of a destination: copy until nothing is left, and say what is there."""

    def __init__(self, mover: Mover) -> None:
        self._mover, self._plan = mover, store_of(mover)
        self._rested_until = 0.0

    def arrive(self, course: Course) -> Said:
        """Copy; once the store is fenced copy the rest, list and read everything here, and say it."""
        fence_ = course.last(Step.FENCE)
        course.need(Step.OPEN)
        if fence_ is None and time.monotonic() < self._rested_until:
            raise NotYet(f"{course.id}: copied; the store is not fenced yet")
        with self._destination(course) as to:
            source = open_way(self._mover.session.node.directory, self._plan)
            began = time.monotonic()
            with _told("copying") as meter:
                copied = copy_all(source, to, Copying(meter=meter, bytes_per_second=_pace(self._mover)))
            if fence_ is None:
                self._rested_until = time.monotonic() + _REST * (time.monotonic() - began)
                told = f"{copied.landed:,} versions, {volume(copied.size)}" if copied.landed else "nothing new"
                raise NotYet(f"{course.id}: copied {told}; the store is not fenced yet")
            with _told("reading what arrived") as meter:
                found = list_archive(to, self._mover.place, meter)
            if found.rows.sharded != fence_.predicate.rows:
                raise StoreLied(f"{found.rows.sharded.size:,} versions arrived, which are not those at the fence")
            members: dict[str, Any] = {"rows": found.rows.sharded, "size": found.size, "sealed": found.sealed.sharded}
            at_ms = time.time_ns() // 1_000_000
            said = self._mover.say(course, Step.ARRIVAL, site=self._mover.site, **members, at_ms=at_ms)
            # From here on nobody opens them without the custodian.
            to.landings.forget_transfers()
        return said

    @contextlib.contextmanager
    def _destination(self, course: Course) -> Iterator[Destination]:
        node = self._mover.session.node
        with open_beside(node.directory, "relocation") as site:
            landings = Landings(database=site.place.database, relocation=course.id)
            landings.prepare()
            dual = course.terms.custody.mode == Mode.DUAL
            yield Destination(
                landings=landings,
                archive=self._archive(),
                wrapper=site.place.wrapper(),
                transfer=site.place.transfer_wrapper() if dual else None,
                region=str(course.region),
                secret=read_secret(node.directory, self._plan),
            )

    def _archive(self) -> ArchivePlace:
        """Beside the vault: in its directory, or in the bucket that the plan opens for writing."""
        mover = self._mover
        node, way = (
            mover.session.node,
            (read_plan(mover.session.node.directory, mover.relocation).sites or {}).get(mover.site),
        )
        if node.settings.objects.url is None:
            return ArchiveDirectory(root=node.data / "vault", relocation=mover.relocation)
        if way is None or way.credentials is None:
            fix = f"Write [sites.{mover.site}] with the url of its bucket and credentials that can write to it."
            raise SettingsError("sites", "does not name this site's own bucket", fix)
        return ArchiveBucket(
            bucket=parse_bucket(way.url),
            credentials=read_credentials(node.directory / way.credentials),
            relocation=mover.relocation,
            spool=node.data / "vault" / "archive",
        )


def store_of(mover: Mover) -> OldStore:
    """The store that this node's plan names; raises SettingsError where it names none."""
    plan = read_plan(mover.session.node.directory, mover.relocation).store
    if plan is None:
        raise SettingsError("store", "is not named", "Write a table [store] with url, credentials and secret.")
    return plan


def _pace(mover: Mover) -> float | None:
    copying = read_plan(mover.session.node.directory, mover.relocation).copying
    return None if copying is None or copying.bytes_per_second is None else float(copying.bytes_per_second)


@contextlib.contextmanager
def _told(what: str) -> Iterator[Meter]:
    """A meter that shows how far it is, and how fast, in one line that is written over."""
    with Console(stderr=True).status(what) as shown:

        def watch(progress: Progress) -> None:
            rate = f"{progress.objects_per_second:,.0f}/s, {volume(round(progress.bytes_per_second))}/s"
            left = "" if progress.seconds_left is None else f", {progress.seconds_left:,.0f} s left"
            shown.update(f"{what}: {progress.objects:,} versions, {volume(progress.size)} ({rate}{left})")

        yield Meter(watch)
