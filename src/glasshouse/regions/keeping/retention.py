"""What is due: objects whose time is up, or whose category an amendment of the charter has ended or shortened.

Only the site that took an object says so, for every site: one removal, in one journal; of what a site took that the
region has left, the first site by name. Who does not take yet, or no more, says nothing. What is on legal hold stays.
"""

from collections.abc import Iterator

from glasshouse_verify.codec import Identifier
from glasshouse_verify.receipt import Reason

from glasshouse.regions import journal
from glasshouse.regions.erasing import removal, residue_seconds
from glasshouse.regions.inventory_tables import commitments
from glasshouse.regions.journal import Note
from glasshouse.regions.keeping.wishes import QUERIES
from glasshouse.regions.placing import Place, State

MAX_AT_ONCE = 500


def due(place: Place, now: int) -> list[Note]:
    """The removals that are due at Unix time `now`, the longest overdue of each category first; MAX_AT_ONCE at most."""
    rules = place.rules()
    if rules.state in (State.ARRIVING, State.LEFT):
        return []
    sites = [rules.site]
    if rules.site == min(rules.rules.sites):
        sites += [site for site in journal.heads(place.database) if site not in rules.rules.sites]
    with place.database.transaction() as connection:
        pairs = [(str(row[0]), int(str(row[1]))) for row in connection.execute(QUERIES["kept_pairs"]).fetchall()]
    found: list[Note] = []
    for category, retention in pairs:
        for note in _due_of(place, sites, category, retention, now, MAX_AT_ONCE - len(found)):
            found.append(note)
        if len(found) >= MAX_AT_ONCE:
            break
    return found


def _due_of(place: Place, sites: list[str], category: str, retention: int, now: int, limit: int) -> Iterator[Note]:
    rules = place.rules()
    said = rules.rules.categories.get(Identifier(category))
    kept = 0 if said is None else min(said.retention, retention)
    query = {
        "category": category,
        "retention": retention,
        "until": now - kept,
        "sites": sites,
        "limit": limit,
    }
    with place.database.transaction() as connection:
        rows = connection.execute(QUERIES["due"], query).fetchall()
        shown = commitments(connection, rules.region, [handle.hex() for handle, _ in rows if isinstance(handle, bytes)])
    for handle, taken in rows:
        name = handle.hex() if isinstance(handle, bytes) else ""
        if name in shown and isinstance(taken, int):
            reason = Reason.RETENTION if taken + retention <= now else Reason.CATEGORY
            yield removal(name, reason, commitment=shown[name], now=now, residue=residue_seconds(rules, now))
