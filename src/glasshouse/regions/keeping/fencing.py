"""The fence of a move: from its event on, the site that is left takes nothing more, and its successors take.

Beside the process that serves the site, as every wish: `fence` asks for the event, `fence_of` tells what has come of
it, at either end of the move. Fence once the successors have caught up (`lag`): what they lack then, they get during
the refusals.
"""

from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.fences import Fence, read_fences
from glasshouse.regions.journal import FENCES, Kind, Note
from glasshouse.regions.keeping.wishes import wish
from glasshouse.regions.placing import Place, State


def fence(place: Place, relocation: str) -> int:
    """Ask that this site take nothing more, for a move that the charter has open; the number of the wish.

    Asking again does no harm: the first event counts. Raises InvalidInput where this site is not left by that move.
    """
    rules = place.rules()
    moving = rules.moving
    if moving is None or moving.id != relocation or rules.state not in (State.LEAVING, State.LEFT):
        there = "no move" if moving is None else f"the move {moving.id} away from {moving.site}"
        reason = f"the charter has {there} open for the region {rules.region}, not {relocation} away from {rules.site}"
        raise InvalidInput("relocation", reason, "Fence the site that is left, by the id that the charter has.")
    with place.database.transaction() as connection:
        return wish(connection, Note(kind=Kind.FENCED, body={"relocation": relocation}))


def fence_of(place: Place, relocation: str) -> Fence | None:
    """The fence of a move as this site knows it, the one it takes over from or its own; None before it.

    Raises InvalidInput for a move that the charter does not have open here.
    """
    moving = place.rules().moving
    if moving is None or moving.id != relocation:
        raise InvalidInput("relocation", f"{relocation} is no open move of this region", "Take the charter's id.")
    return read_fences(place.database).get((relocation, str(moving.site)))


def lag(place: Place) -> dict[str, int]:
    """How many events of this site's journal each of its peers lacks, as far as it has acknowledged them."""
    rules = place.rules()
    with place.database.transaction() as connection:
        query = {"site": rules.site, "peers": list(rules.peers)}
        rows = connection.execute(FENCES["lag"], query).fetchall()
    known = {str(site): int(str(behind)) for site, behind in rows}
    return {peer: known[peer] for peer in rules.peers if peer in known}
