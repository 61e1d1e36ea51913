"""Following a ledger: from what it shows into a verified view, then into a history, under changing charters."""

from glasshouse_verify.errors import QuorumError, SignatureError
from glasshouse_verify.note import parse_note

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.history import History
from glasshouse.ledger.view import LedgerSource, View

# The log has its checkpoint cosigned anew every ten minutes, also when nothing was added.
MAX_CHECKPOINT_AGE_SECONDS = 3_600


def follow(client: LedgerClient, view: View, history: History, now: int | None = None) -> None:
    """Take what the ledger shows into a view and feed it to a history.

    With `now` (Unix seconds) the witnesses must have looked at the ledger within the last hour.

    The witness policy follows the charter: where amendments have changed it since the view was last brought up to
    date, the handover checkpoint under each older policy leads to the next amendment first.
    """
    feed(view, history)
    while True:
        version = history.chain.newest.charter.version
        try:
            _update(client, view, now)
        except (QuorumError, SignatureError):
            if _is_handed_over(client, view, history, now):
                return
            view.update(_Shown(client, client.handover(version + 1)))
            feed(view, history)
            if history.chain.newest.charter.version == version:
                raise
        else:
            feed(view, history)
            return


def _update(source: LedgerSource, view: View, now: int | None) -> None:
    view.update(source, now=now, max_age_seconds=None if now is None else MAX_CHECKPOINT_AGE_SECONDS)


def _is_handed_over(client: LedgerClient, view: View, history: History, now: int | None) -> bool:
    """Whether the ledger still shows the handover checkpoint that the view has taken under an older policy.

    Then there is nothing to take until the ledger has the signatures that the amendment asks for; for how long that may
    go on is judged under the older policy. Raises Stale.
    """
    shown, newest = client.checkpoint(), view.policy
    if not view.size or parse_note(shown).text != parse_note(view.checkpoint()).text:
        return False
    for link in reversed(history.chain.links[:-1]):
        view.policy = link.charter.policy
        try:
            _update(_Shown(client, shown), view, now)
        except (QuorumError, SignatureError):
            continue
        finally:
            view.policy = newest
        return True
    return False


def feed(view: View, history: History) -> None:
    """Feed a history what a view has verified since, and go by the charter that it then shows."""
    for _, entry in view.entries(history.size):
        history.feed(entry)
    view.policy = history.chain.newest.charter.policy


class _Shown:
    """A ledger as it stands at one published checkpoint."""

    def __init__(self, client: LedgerClient, note: bytes) -> None:
        self._note = note
        self.entries, self.reader = client.entries, client.reader

    def checkpoint(self) -> bytes:
        return self._note
