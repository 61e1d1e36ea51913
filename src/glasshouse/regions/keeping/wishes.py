"""Wishes: events that a command asks for, beside the process that alone writes its site's journal.

A wish is durable when `wish` returns, and becomes an event when the site serves. After a crash between the two it may
become two events; every kind that is wished for says the same thing twice without harm.
"""

import psycopg
from glasshouse_verify.encoding import format_json

from glasshouse.regions.errors import JournalConflict
from glasshouse.regions.journal import Kind, Note, parse_body
from glasshouse.storage.db import Database, Row, load_queries

QUERIES = load_queries(__package__)
MAX_AT_ONCE = 256


def wish(connection: "psycopg.Connection[Row]", note: Note) -> int:
    """Ask for an event, in the caller's transaction; the wish's number."""
    handle = None if note.handle is None else bytes.fromhex(note.handle)
    body = {"kind": note.kind.value, "handle": handle, "body": format_json(dict(note.body))}
    row = connection.execute(QUERIES["wish"], body).fetchone()
    if row is None or not isinstance(row[0], int):
        raise JournalConflict("the database did not number a wish")
    return row[0]


def open_wishes(database: Database) -> list[tuple[int, Note]]:
    """The oldest wishes that are no events yet, with their numbers."""
    with database.transaction() as connection:
        rows = connection.execute(QUERIES["open_wishes"], {"limit": MAX_AT_ONCE}).fetchall()
    found = []
    for number, kind, handle, body in rows:
        if not isinstance(number, int) or not isinstance(body, bytes):
            raise JournalConflict("the database holds something else than a wish")
        name = handle.hex() if isinstance(handle, bytes) else None
        found.append((number, Note(kind=Kind(str(kind)), handle=name, body=parse_body(body))))
    return found


def fulfil(database: Database, number: int, position: int) -> None:
    """A wish has become the event at a position."""
    with database.transaction() as connection:
        connection.execute(QUERIES["fulfil"], {"id": number, "position": position})


def position_of(database: Database, number: int) -> int | None:
    """Which event a wish has become; None while it has not."""
    with database.transaction() as connection:
        row = connection.execute(QUERIES["wish_position"], {"id": number}).fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else None
