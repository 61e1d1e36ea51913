"""Commands beside a site that serves: its database, vault and keys, opened a second time, and whom it talks to."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glasshouse_verify.access import Access
from glasshouse_verify.dsse import statement_id
from glasshouse_verify.statement import Use, make_statement

from glasshouse.cli.serving import open_state
from glasshouse.cli.siting import CERTIFICATE, KEY, PURPOSE, RegionCustodian, configured, known_fences, vault_of
from glasshouse.cli.wiring import Session, open_session
from glasshouse.parties.errors import SettingsError
from glasshouse.parties.signer import Signer, sign_statement
from glasshouse.regions import journal
from glasshouse.regions.custody_client import CustodyClient
from glasshouse.regions.keeping.wishes import position_of
from glasshouse.regions.keys.opening import open_keys
from glasshouse.regions.peers import Credentials, PeerClient
from glasshouse.regions.placing import Place
from glasshouse.regions.site import check_site
from glasshouse.storage.db import Database
from glasshouse.storage.postgres import running_dsn

PATIENCE_SECONDS = 30.0
_VIEW = "beside"


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A site's means for one command. `custodian` is None where the custody is the site's own."""

    session: Session
    place: Place
    custodian: CustodyClient | None
    peers: tuple[PeerClient, ...]


@contextlib.contextmanager
def open_beside(directory: Path, name: str, *, started: bool = False) -> Iterator[Beside]:
    """Open a site's node for the command called `name`, which has a spool of its own.

    With `started` its PostgreSQL must be running: a worker that started it would stop it under the server one day.

    Raises SettingsError, SiteRefused, LedgerError, KeyUnavailable, StorageError.
    """
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(open_session(directory, _VIEW))
        node, settings = session.node, session.node.settings.intake
        if settings is None:
            raise SettingsError(
                "node.toml", "is not of a site of a region", "Run this in a node with a table [intake]."
            )
        signer = session.signer(PURPOSE)
        newest = session.history.chain.newest
        if started:
            dsn = node.settings.database.dsn or running_dsn(node.data / "postgres")
            database = stack.enter_context(Database(dsn))
        else:
            database = stack.enter_context(open_state(node, join=True))
        fences = known_fences(node, database)
        rules = check_site(newest, configured(node, settings), fences.known)
        journal.prepare(database, region=rules.region, site=rules.site, peers=())
        journal.open_journals(database, rules.senders, rules.peers)
        custodian = RegionCustodian(lambda: rules, signer)
        stack.callback(custodian.close)
        place = Place(
            database=database,
            vault=vault_of(node, f"{_VIEW}-{name}"),
            keys=open_keys(node),
            signer=signer,
            rules=lambda: rules,
            fences=fences,
            custodian=custodian.client,
        )
        own = Credentials(certificate=node.keys / CERTIFICATE, key=node.keys / KEY)
        peers = tuple(
            stack.enter_context(contextlib.closing(PeerClient(peer, rules.region_rules, own))) for peer in rules.peers
        )
        yield Beside(session=session, place=place, custodian=custodian.client(), peers=peers)


def say(session: Session, signer: Signer, access: Access) -> tuple[str, int]:
    """Log one step of an access; its statement id and entry."""
    payload = make_statement(Use.ACCESS, access)
    return statement_id(payload), session.post(sign_statement(payload, signer))


def say_and_see(session: Session, signer: Signer, access: Access) -> tuple[str, int]:
    """The same, for what others go by: returns once the witnesses have seen it too, or after a while."""
    identity, entry = say(session, signer, access)
    wait_for(lambda: session.follow().size > entry)
    return identity, entry


def wait_for(done: Callable[[], object], seconds: float = PATIENCE_SECONDS, pause_seconds: float = 0.2) -> bool:
    """Wait until something has come about; whether it has in that time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(pause_seconds)
    return True


def event_of(place: Place, wish: int) -> int | None:
    """The event that a wish becomes, if the site serves; None where it does so later."""
    wait_for(lambda: position_of(place.database, wish) is not None, PATIENCE_SECONDS)
    return position_of(place.database, wish)
