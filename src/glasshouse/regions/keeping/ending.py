"""The end of a site that was left, as those that took over from it say it in their own journal (erasing.py).

Until then what was removed anywhere is not irrecoverable: that site had its key, and heard of no removal any more.
"""

from glasshouse.regions import journal
from glasshouse.regions.erasing import ending
from glasshouse.regions.keeping.wishes import QUERIES, wish
from glasshouse.regions.placing import Place, State


def note_end(place: Place, site: str, statement: str, *, now: int) -> bool:
    """Say at Unix time `now` that a site has erased everything, by a statement of its; whether that was news.

    Only the first site by name says it, once, of a site that the charter does not have any more.
    """
    rules = place.rules()
    gone = site not in rules.region_rules.places and site in journal.heads(place.database)
    if rules.state != State.TAKING or rules.site != min(rules.rules.sites) or not gone:
        return False
    with place.database.transaction() as connection:
        if connection.execute(QUERIES["is_ended"], {"site": rules.site, "ended": site}).fetchone() is not None:
            return False
        wish(connection, ending(site, statement, now=now))
    return True
