"""What a site's server does for a move: keeps the rows that a fence left, and answers the supervisor."""

import contextlib
import threading

from glasshouse_verify.region import Origin
from glasshouse_verify.relocation_check import SAMPLE
from starlette.routing import BaseRoute

from glasshouse.cli.wiring import open_session
from glasshouse.ledger.history import History
from glasshouse.parties.node import Node
from glasshouse.regions.placing import Place
from glasshouse.relocation.course import Course
from glasshouse.relocation.giving import Giver, Holdings
from glasshouse.relocation.holding import FenceRows, SiteHoldings
from glasshouse.relocation.holding_archive import ArchiveHoldings
from glasshouse.relocation.landing import Landings
from glasshouse.relocation.opening_server import opening_routes
from glasshouse.relocation.plan import read_plan

MOVES = "moves"
_BOOK = "given.sqlite3"


def fence_rows(node: Node, place: Place) -> FenceRows:
    """Keeps what a fence left, below the node's data."""
    return FenceRows(place, node.data / MOVES)


def supervisor_routes(node: Node, place: Place, stack: contextlib.ExitStack) -> list[BaseRoute]:
    """The routes for the supervisor of a move, who asks what the ledger lets it ask."""
    session, lock = stack.enter_context(open_session(node.directory, "giving")), threading.Lock()

    def follow() -> History:
        with lock:
            return session.follow()

    def holdings(course: Course) -> Holdings:
        directory = node.data / MOVES / course.id
        if course.moving.source == Origin.SITE:
            return SiteHoldings(place=place, course=course, directory=directory)
        landings = Landings(database=place.database, relocation=course.id)
        return ArchiveHoldings(place=place, landings=landings, course=course, directory=directory)

    def draws(relocation: str) -> int | None:
        giving = read_plan(node.directory, relocation).giving
        return None if giving is not None and giving.full else SAMPLE

    giver = Giver(
        node.data / _BOOK,
        site=node.settings.site.id,
        signer=place.signer,
        follow=follow,
        holdings=holdings,
        draws=draws,
    )
    stack.callback(giver.close)
    return [*opening_routes(giver)]
