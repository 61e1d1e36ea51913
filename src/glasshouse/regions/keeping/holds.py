"""Legal holds: an object survives its retention, its customer's request and its category as long as one stands.

A hold is said in public first, with its purpose and a commitment to the object, then enters the site's journal; the
release names the same commitment.
"""

from dataclasses import dataclass

from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import Digest, Identifier, Text

from glasshouse.regions.access import MAX_PURPOSE, new_nonce
from glasshouse.regions.custody_request import access_commitment
from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.journal import Kind, Note, parse_body
from glasshouse.regions.keeping.wishes import QUERIES
from glasshouse.regions.placing import Place


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Whether an object is on hold, and the commitment under which the newest hold was said."""

    on_hold: bool
    about: str | None


def standing(place: Place, handle: str) -> Standing:
    """What holds an object that this site holds; raises InvalidInput for any other handle."""
    try:
        raw = bytes.fromhex(handle)
    except ValueError:
        raise InvalidInput("handle", f"{handle[:80]} is none", "Give the 64 hex digits of its receipt.") from None
    with place.database.transaction() as connection:
        row = connection.execute(QUERIES["held"], {"handle": raw}).fetchone()
        last = connection.execute(QUERIES["last_of"], {"handle": raw, "kinds": [Kind.HELD.value]}).fetchone()
    if row is None:
        raise InvalidInput("handle", f"no object {handle[:16]}… is held here", "Take it from the receipt.")
    body = parse_body(last[1]) if last is not None and isinstance(last[1], bytes) else {}
    about = body.get("about")
    return Standing(on_hold=bool(row[1]), about=about if isinstance(about, str) else None)


def hold(place: Place, handle: str, purpose: str, now: int) -> Access:
    """What is said of a new hold. Raises InvalidInput; Moved, Arriving at a site that has no say in it."""
    if standing(place, handle).on_hold:
        raise InvalidInput("handle", f"{handle[:16]}… is on hold already", "Release that one first.")
    return _said(place, Step.HOLD, access_commitment(handle, new_nonce()), purpose, now)


def release(place: Place, handle: str, purpose: str, now: int) -> Access:
    """What is said of the end of a hold. Raises as `hold`."""
    found = standing(place, handle)
    if not found.on_hold or found.about is None:
        raise InvalidInput("handle", f"{handle[:16]}… is not on hold", "Nothing has to be released.")
    return _said(place, Step.RELEASE, Digest(found.about), purpose, now)


def noted(access: Access, handle: str, statement: str) -> Note:
    """The event that follows once it was said, by a statement of this id."""
    kind = Kind.HELD if access.step == Step.HOLD else Kind.RELEASED
    return Note(kind=kind, handle=handle, body={"about": access.about, "statement": statement, "time": access.time})


def _said(place: Place, step: Step, about: Digest, purpose: str, now: int) -> Access:
    rules = place.rules()
    rules.check_open()
    return Access(
        party=Identifier(rules.party),
        region=Identifier(rules.region),
        site=Identifier(rules.site),
        step=step,
        about=about,
        purpose=Text(purpose[:MAX_PURPOSE]),
        time=now,
    )
