"""What a node that is a site of a region serves: its customers' side, and its peers' side on an address of its own.

A site serves under the charter in force: it follows the ledger, and refuses from the amendment on that contradicts its
configuration. While the ledger does not answer, what it has verified itself counts. An amendment by which its region
moves, and the fence of the move, take effect while it runs.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding
from glasshouse_verify.charter import Link
from glasshouse_verify.codec import decode
from glasshouse_verify.errors import VerifyError
from glasshouse_verify.evidence import parse_evidence
from glasshouse_verify.gate import check_file
from glasshouse_verify.region import Custody
from glasshouse_verify.relocation import Step
from glasshouse_verify.report import Outcome
from glasshouse_verify.statement import Release
from starlette.routing import BaseRoute, Mount

from glasshouse.cli.relocating.serving import fence_rows, supervisor_routes
from glasshouse.cli.wiring import Session, open_session
from glasshouse.ledger.errors import LedgerError
from glasshouse.ledger.history import History
from glasshouse.parties.certificates import load_certificates
from glasshouse.parties.errors import KeyUnavailable, SettingsError
from glasshouse.parties.node import KEY_USES, IntakeSettings, Node, is_entitled
from glasshouse.parties.signer import Signer
from glasshouse.regions import journal
from glasshouse.regions.client import digest_of
from glasshouse.regions.custody_client import CustodyClient
from glasshouse.regions.customers.accounts import Accounts
from glasshouse.regions.customers.holdings import Holdings
from glasshouse.regions.customers.moving import Follower
from glasshouse.regions.customers.pace import Pace
from glasshouse.regions.errors import InvalidInput, RegionError, SiteRefused
from glasshouse.regions.fences import Fences
from glasshouse.regions.intake import Intake
from glasshouse.regions.keeping.ending import note_end
from glasshouse.regions.keeping.keeper import Keeper
from glasshouse.regions.keys.opening import open_keys
from glasshouse.regions.peer_server import peer_config
from glasshouse.regions.peers import Credentials, PeerClient
from glasshouse.regions.placing import Place, SiteRules, State
from glasshouse.regions.reception import Site
from glasshouse.regions.reputation import Indicators, load_list
from glasshouse.regions.server import create_site_app
from glasshouse.regions.site import Configured, SiteStanding
from glasshouse.regions.surveying import Surveyor
from glasshouse.regions.vault import INCOMING, BucketVault, DirectoryVault, Vault
from glasshouse.relocation.course import Course
from glasshouse.relocation.errors import RelocationError
from glasshouse.storage.db import Database
from glasshouse.storage.errors import StorageError

_LOG = logging.getLogger("glasshouse")
FOLLOW_SECONDS = 2.0
PURPOSE = "intake"
CERTIFICATE, KEY = "peer.pem", "peer.key"
STOP_SECONDS = 30.0


def configured(node: Node, settings: IntakeSettings) -> Configured:
    """The site as its node.toml and keys/ have it; raises KeyUnavailable."""
    certificates = load_certificates(node.keys / CERTIFICATE)
    return Configured(
        party=node.settings.party,
        site=node.settings.site.id,
        jurisdiction=node.settings.site.jurisdiction,
        region=settings.region,
        url=node.url,
        peer=node.peer_url,
        certificate=certificates[0].public_bytes(Encoding.DER),
        custody=settings.custody,
        keyids=tuple(node.signer(name).keyid for name in node.key_names(PURPOSE)),
    )


@contextlib.contextmanager
def standing_of(
    node: Node, settings: IntakeSettings, fences: Fences, notices: Sequence[Callable[[History], object]] = ()
) -> Iterator[tuple[Session, SiteStanding]]:
    """What the site goes by, kept up to date while the block runs; `fences` are those that its database knows of.

    `notices` are given the history whenever the ledger was followed. Raises SiteRefused, LedgerError, KeyUnavailable.
    """
    mine = configured(node, settings)
    with open_session(node.directory, PURPOSE) as session:
        _catch_up(node, session)
        standing, stop = SiteStanding(mine, session.history.chain.newest, fences), threading.Event()
        watch = threading.Thread(target=_watch, args=(session, standing, stop, notices), name="charter")
        watch.start()
        try:
            yield session, standing
        finally:
            stop.set()
            watch.join()


def _catch_up(node: Node, session: Session) -> None:
    """Follow the ledger before anything is served. A ledger of the node itself is served only after this."""
    if node.settings.ledger is not None:
        return
    try:
        session.follow()
    except LedgerError as error:
        if not session.view.size:
            raise
        _LOG.warning("the site goes by what it knows of the ledger: %s", error)


def _watch(
    session: Session, standing: SiteStanding, stop: threading.Event, notices: Sequence[Callable[[History], object]]
) -> None:
    known = session.history.chain.newest.id
    while not stop.wait(FOLLOW_SECONDS):
        try:
            history = session.follow()
        except (LedgerError, StorageError) as error:
            _LOG.warning("charter: %s", error)
            continue
        newest = history.chain.newest
        if newest.id != known:
            known = newest.id
            _renew(standing, newest)
        for notice in notices:
            try:
                notice(history)
            except (StorageError, RegionError, RelocationError) as error:
                _LOG.warning("%s", error)


def _renew(standing: SiteStanding, newest: Link) -> None:
    standing.renew(newest)
    try:
        standing.rules()
        _LOG.info("the site goes by charter %d", newest.charter.version)
    except SiteRefused as error:
        _LOG.critical("%s", error)


def site_routes(node: Node, database: Database, stack: contextlib.ExitStack) -> list[BaseRoute]:
    """Open the site and serve its peers until the stack is closed; the routes for its customers."""
    settings = node.settings.intake
    if settings is None:
        raise SettingsError("intake", "is not switched on", "Add a table [intake].")
    fences = known_fences(node, database)
    notices: list[Callable[[History], object]] = []
    session, standing = stack.enter_context(standing_of(node, settings, fences, notices))
    signer = _signer(session)
    custodian = RegionCustodian(standing.rules, signer)
    stack.callback(custodian.close)
    own = Credentials(certificate=node.keys / CERTIFICATE, key=node.keys / KEY)
    place = Place(
        database=database,
        vault=vault_of(node),
        keys=open_keys(node, begin=standing.rules().state != State.LEFT),
        signer=signer,
        rules=standing.rules,
        fences=fences,
        custodian=custodian.client,
    )
    intake = stack.enter_context(Intake(place, own))
    stack.enter_context(_peers(place, intake, own, settings))
    stack.enter_context(Keeper(place, intake.committer.append, able=lambda: intake.replication.able))
    kept = fence_rows(node, place)
    stack.enter_context(
        Surveyor(
            place,
            intake.committer.append,
            ledger=lambda: standing.charter.ledger.url,
            ended=kept.keep,
            whole=intake.replication.whole,
        )
    )
    accounts = Accounts(database)
    follower = stack.enter_context(_accounts(place, own))
    notices.append(lambda history: _note_ends(place, history))
    site = Site(
        rules=standing.rules,
        charter=lambda: standing.charter,
        intake=intake,
        accounts=accounts,
        holdings=Holdings(database, settings.region),
        pace=Pace(settings.requests_per_second),
        indicators=_indicators(node, settings),
        max_file_bytes=settings.max_file_bytes,
        settled=lambda: follower.done or place.rules().left is None,
    )
    return [*supervisor_routes(node, place, stack), Mount("/", create_site_app(site))]


def known_fences(node: Node, database: Database) -> Fences:
    """The fences that a node's database knows of, if it has been a site's."""
    fences = Fences()
    journal.update_schema(database)
    fences.refresh(database, node.settings.site.id)
    return fences


class RegionCustodian:
    """The custodian of a site's region, by the rules of the moment. Threads may share it; close it."""

    def __init__(self, rules: Callable[[], SiteRules], signer: Signer) -> None:
        self._rules, self._signer, self._lock = rules, signer, threading.Lock()
        self._known: tuple[Custody, CustodyClient] | None = None

    def client(self) -> CustodyClient | None:
        """Asks it; None where the custody is the site's own. Raises SiteRefused."""
        rules = self._rules()
        custody = rules.rules.custody
        if custody.party is None or custody.url is None:
            return None
        with self._lock:
            if self._known is None or self._known[0] != custody:
                self._forget()
                made = CustodyClient(
                    custody.url, custodian=custody.party, region=rules.region, site=rules.site, signer=self._signer
                )
                self._known = custody, made
            return self._known[1]

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._known is not None:
            self._known[1].close()
            self._known = None


def _accounts(place: Place, own: Credentials) -> Follower:
    """Takes over the accounts of the site that is left, where this one takes over from one."""

    def connect() -> PeerClient | None:
        rules = place.rules()
        return None if rules.left is None else PeerClient(rules.left, rules.region_rules, own)

    return Follower(place.database, connect, lambda: place.rules().state == State.TAKING)


def _note_ends(place: Place, history: History) -> None:
    """Say in the journal that a site which was left has erased everything, once its statement is in the ledger."""
    for relocation, site in place.fences.known:
        for record in Course(history, relocation).records(Step.ERASURE)[:1]:
            note_end(place, site, record.id, now=int(time.time()))


def _signer(session: Session) -> Signer:
    """The newest intake key that the charter in force counts."""
    node, charter = session.node, session.history.chain.newest.charter
    for name in reversed(node.key_names(PURPOSE)):
        signer = node.signer(name)
        if is_entitled(charter, signer.keyid, KEY_USES[PURPOSE], session.history.size):
            return signer
    raise KeyUnavailable(f"{node.directory}: none of its intake keys counts by charter {charter.version}")


def vault_of(node: Node, spool: str = INCOMING) -> Vault:
    """Where the site keeps sealed objects: its own directory, or the bucket that node.toml names.

    A process beside the one that takes objects has a `spool` of its own.
    """
    url = node.settings.objects.url
    if url is None:
        return DirectoryVault(node.data / "vault", spool=spool)
    from glasshouse.storage.remote import open_remote

    return BucketVault(open_remote(url), spool=node.data / "vault" / spool)


@contextlib.contextmanager
def _peers(place: Place, intake: Intake, own: Credentials, settings: IntakeSettings) -> Iterator[None]:
    host, _, port = settings.peer_listen.rpartition(":")
    server = uvicorn.Server(peer_config(place, intake.replicas, own, host=host, port=int(port)))
    # Signals are the main thread's: there the other server takes them.
    thread = threading.Thread(target=server.run, name="peers", daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
        if not thread.is_alive():
            raise SettingsError("intake.peer_listen", f"{settings.peer_listen} cannot be served", "Is it in use?")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_SECONDS)


def _indicators(node: Node, settings: IntakeSettings) -> Indicators | None:
    """What look-ups are answered from. A list that does not stand any more stops look-ups, and nothing else."""
    if settings.indicators is None:
        return None
    try:
        return released_list(node.directory / settings.indicators, node.pin, int(time.time()))
    except (SettingsError, InvalidInput, VerifyError) as error:
        _LOG.critical("look-ups are not answered: %s", error)
        return None


def released_list(path: Path, pin: bytes, now: int) -> Indicators:
    """A released hash list, with its evidence beside it. Raises SettingsError for one that the gate holds back.

    `pin` is the payload of the first charter, `now` Unix seconds.
    """
    proof = path.with_name(f"{path.name}.evidence")
    try:
        sha256, evidence = digest_of(path)[0], parse_evidence(proof.read_bytes())
    except OSError as error:
        fix = f"Put the released list there, and its evidence beside it as {proof.name}: glasshouse evidence get."
        raise SettingsError("intake.indicators", f"{error.filename}: {error.strerror}", fix) from error
    report = check_file(pin, evidence, sha256, now)
    if report.outcome != Outcome.VERIFIED:
        said = next((claim.text for claim in report.claims if claim.outcome), "")
        fix = "Take a list of a release that stands, with new evidence."
        raise SettingsError("intake.indicators", f"{path}: {report.outcome.name.lower()}: {said}", fix)
    release: Release = decode(Release, evidence.release.predicate, "evidence.release")
    return load_list(path, release.product, release.version)
