"""The custodian: opens what charter and ledger allow, counts before it answers, and records what it refuses."""

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from custodians import (
    CUSTODIAN,
    CUSTODY,
    INTAKE,
    INTAKE_2,
    JOBS,
    REGION,
    SITE,
    Guarded,
    Moment,
    ask,
    grant_access,
    guarded,
    items_counted,
    request_of,
    say,
)
from glasshouse_verify.access import Step
from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.errors import FormatError
from world import NOW, seeded

from glasshouse.ledger.errors import Unavailable
from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.signer import FileSigner
from glasshouse.regions import custody
from glasshouse.regions.custody import Custodian, Grants, Refusal, check_keys_held
from glasshouse.regions.custody_request import (
    SIGNATURE_HEADER,
    Item,
    Reason,
    UnwrapRequest,
    access_commitment,
    format_request,
    parse_request,
    sign_request,
)
from glasshouse.regions.errors import CustodyRefused, CustodyUnavailable
from glasshouse.regions.grants import RETRY_SECONDS, STALE_SECONDS, LedgerGrants
from glasshouse.storage.errors import StorageUnavailable


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def guard(tmp_path: Path, moment: Moment) -> Iterator[Guarded]:
    with guarded(tmp_path, clock=moment) as made:
        yield made


def refused(guard: Guarded, request: UnwrapRequest, signer: FileSigner = INTAKE) -> str:
    before = guard.custodian.counts()
    with pytest.raises(CustodyRefused) as raised:
        ask(guard, request, signer)
    assert guard.custodian.counts() == before
    assert raised.value.field
    assert raised.value.fix
    return raised.value.reason


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_jobs_wrappings_are_opened_and_counted(guard: Guarded) -> None:
    held = [guard.wrapping() for _ in range(3)]
    opened = ask(guard, request_of(*(Item(handle=handle, blob=wrapping.blob) for handle, wrapping in held)))  # type: ignore[arg-type]
    for (handle, wrapping), inner in zip(held, opened, strict=True):
        assert len(guard.wrapper.unwrap(wrapping, handle=handle, region=REGION, opened=inner)) == 32
    ask(guard, request_of(guard.item()))
    ask(guard, request_of(guard.item(), reason=Reason(job="rewrap")))  # type: ignore[arg-type]
    assert guard.custodian.counts() == (
        custody.Count(region=REGION, site=SITE, kind="job", reason="analysis", requests=2, items=4),
        custody.Count(region=REGION, site=SITE, kind="job", reason="rewrap", requests=1, items=1),
    )
    assert guard.custodian.refused() == {}


def test_sites_are_counted_apart(guard: Guarded) -> None:
    ask(guard, request_of(guard.item()))
    ask(guard, request_of(guard.item(), guard.item(), site="zurich-2"), INTAKE_2)
    assert [(count.site, count.items) for count in guard.custodian.counts()] == [("zurich-1", 1), ("zurich-2", 2)]


def test_counts_outlive_the_process(tmp_path: Path, guard: Guarded) -> None:
    ask(guard, request_of(guard.item()))
    refused(guard, request_of(guard.item(), time=NOW - 1_000))
    with guarded(tmp_path, world=guard.world) as again:
        assert again.custodian.counts() == guard.custodian.counts()
        assert again.custodian.refusals() == guard.custodian.refusals()


def test_many_at_once_are_all_counted(guard: Guarded) -> None:
    requests = [request_of(guard.item(), guard.item()) for _ in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert all(len(opened) == 2 for opened in pool.map(lambda request: ask(guard, request), requests))
    assert items_counted(guard.custodian) == {"analysis": 80}


# --- grants ---------------------------------------------------------------------------------------------------------


def test_a_grant_opens_its_object_as_often_as_it_says(guard: Guarded) -> None:
    item = guard.item()
    access = grant_access(guard.world, item.handle, uses=2)
    for _ in range(2):
        ask(guard, request_of(item, reason=access.reason))
    assert refused(guard, request_of(item, reason=access.reason)) == Refusal.USED_UP
    assert items_counted(guard.custodian) == {access.grant: 2}


def test_the_last_use_is_given_once(guard: Guarded) -> None:
    item = guard.item()
    access = grant_access(guard.world, item.handle)

    def attempt(_: int) -> bool:
        with contextlib.suppress(CustodyRefused):
            return bool(ask(guard, request_of(item, reason=access.reason)))
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
    assert items_counted(guard.custodian) == {access.grant: 1}


def test_a_grant_ends(guard: Guarded, moment: Moment) -> None:
    item = guard.item()
    access = grant_access(guard.world, item.handle, until=NOW + 10)
    moment.now = NOW + 9.9
    ask(guard, request_of(item, reason=access.reason))
    moment.now = NOW + 10
    assert refused(guard, request_of(item, reason=access.reason)) == Refusal.EXPIRED


def test_a_grant_is_for_one_object(guard: Guarded) -> None:
    item, other = guard.item(), guard.item()
    access = grant_access(guard.world, item.handle, uses=5)
    wrong_nonce = dataclasses.replace(access.reason, nonce=bytes(32))
    for request in (
        request_of(other, reason=access.reason),
        request_of(item, other, reason=access.reason),
        request_of(item, reason=wrong_nonce),
    ):
        assert refused(guard, request) == Refusal.OBJECT
    assert refused(guard, request_of(item, reason=access.reason, site="zurich-2"), INTAKE_2) == Refusal.OBJECT


def test_what_is_no_grant_of_the_custodian_opens_nothing(guard: Guarded) -> None:
    item, nonce = guard.item(), bytes(32)
    about = access_commitment(item.handle, nonce)
    world = guard.world
    asked = say(world, "intake", Step.REQUEST, about=about, purpose="curiosity", site=SITE)
    terms: dict[str, Any] = {"request": asked, "uses": 9, "until": NOW + 99}
    by_the_site = say(world, "intake", Step.GRANT, **terms)
    # The site signs, and claims to be the custodian.
    forged = say(world, "intake", Step.GRANT, party=CUSTODIAN, **terms)
    of_nothing = say(world, "custody", Step.GRANT, **{**terms, "request": "00" * 32})
    of_a_grant = say(world, "custody", Step.GRANT, **{**terms, "request": by_the_site})
    without_end = say(world, "custody", Step.GRANT, request=asked, uses=9)
    for grant in (asked, by_the_site, forged, of_nothing, of_a_grant, without_end, "11" * 32):
        reason = Reason(grant=grant, nonce=nonce)  # type: ignore[arg-type]
        assert refused(guard, request_of(item, reason=reason)) == Refusal.NO_GRANT
    assert [kept.refusal for kept in guard.custodian.refusals()] == [Refusal.NO_GRANT] * 7


def test_a_closed_access_opens_nothing_more(guard: Guarded) -> None:
    item = guard.item()
    access = grant_access(guard.world, item.handle, uses=9)
    ask(guard, request_of(item, reason=access.reason))
    say(guard.world, "intake", Step.CLOSE, request=access.request)
    assert refused(guard, request_of(item, reason=access.reason)) == Refusal.NO_GRANT


# --- who asks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "signer"),
    [
        ({}, seeded("mallory")),
        ({}, CUSTODY),
        ({}, INTAKE_2),
        ({"site": "zurich-2"}, INTAKE),
        ({"site": "moscow"}, INTAKE),
        ({"region": "eu"}, INTAKE),
        ({"custodian": "council"}, INTAKE),
        ({}, seeded("acme")),
    ],
)
def test_strangers_are_refused_and_counted(guard: Guarded, changes: dict[str, Any], signer: FileSigner) -> None:
    assert refused(guard, request_of(guard.item(), **changes), signer) == Refusal.STRANGER
    assert guard.custodian.refused() == {("", "", Refusal.STRANGER): 1}
    assert guard.custodian.refusals() == ()


def test_a_key_that_was_stopped_opens_nothing(guard: Guarded) -> None:
    ask(guard, request_of(guard.item()))
    stopped = {INTAKE.keyid: {"stops": len(guard.world.entries)}}
    guard.world.amend({"parties": {"acme": {"keys": stopped}}})
    assert refused(guard, request_of(guard.item())) == Refusal.STRANGER


def test_a_region_in_the_sites_own_custody_is_none_of_ours(guard: Guarded) -> None:
    own = {"mode": "site", "party": None, "url": None, "key": None}
    guard.world.amend({"regions": {"au": {"custody": own}}})
    assert refused(guard, request_of(guard.item())) == Refusal.STRANGER


def test_another_signature_is_refused(guard: Guarded) -> None:
    body = format_request(request_of(guard.item()))
    other = sign_request(format_request(request_of(guard.item())), INTAKE)
    with pytest.raises(CustodyRefused) as raised:
        guard.custodian.unwrap(body, INTAKE.keyid, other[SIGNATURE_HEADER])
    assert raised.value.reason == Refusal.SIGNATURE
    for signature in ("", "AAAA", other[SIGNATURE_HEADER][:-4], other[SIGNATURE_HEADER] + "\n"):
        with pytest.raises(FormatError):
            guard.custodian.unwrap(body, INTAKE.keyid, signature)
    # A statement's signature is none of a request's, whatever the bytes.
    with pytest.raises(CustodyRefused):
        guard.custodian.unwrap(body, INTAKE.keyid, sign_request(b"DSSEv1 " + body, INTAKE)[SIGNATURE_HEADER])
    assert guard.custodian.counts() == ()


@pytest.mark.parametrize("offset", [-301, 301, -NOW, 10**9])
def test_a_time_far_from_ours_is_refused(guard: Guarded, offset: int) -> None:
    assert refused(guard, request_of(guard.item(), time=NOW + offset)) == Refusal.TIME


@pytest.mark.parametrize("offset", [-300, 0, 300])
def test_a_time_close_to_ours_is_taken(guard: Guarded, offset: int) -> None:
    assert ask(guard, request_of(guard.item(), time=NOW + offset))


def test_a_request_is_taken_once(guard: Guarded, moment: Moment, tmp_path: Path) -> None:
    request = request_of(guard.item())
    ask(guard, request)
    assert refused(guard, request) == Refusal.REPLAY
    assert refused(guard, dataclasses.replace(request, items=(guard.item(),))) == Refusal.REPLAY
    with guarded(tmp_path, clock=moment, world=guard.world) as again:
        assert refused(again, request) == Refusal.REPLAY
    for later, refusal in ((300, Refusal.REPLAY), (301, Refusal.TIME), (5_000, Refusal.TIME)):
        moment.now = NOW + later
        assert refused(guard, request) == refusal


def test_ids_are_forgotten_once_their_time_is_refused_anyway(guard: Guarded, moment: Moment) -> None:
    for step in range(20):
        moment.now = NOW + 100 * step
        ask(guard, request_of(guard.item(), time=int(moment.now)))
    (kept,) = guard.custodian._database.execute("select count(*) from taken").fetchone()
    assert kept <= 7


def test_two_at_once_with_one_id_are_answered_once(guard: Guarded) -> None:
    request = request_of(guard.item())

    def attempt(_: int) -> bool:
        with contextlib.suppress(CustodyRefused):
            return bool(ask(guard, request))
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 1
    assert items_counted(guard.custodian) == {"analysis": 1}


def test_a_custodian_holds_the_key_that_the_charter_names(guard: Guarded) -> None:
    charter, own = guard.world.history.chain.newest.charter, guard.custodian._keys
    check_keys_held(charter, CUSTODIAN, own)
    check_keys_held(charter, "council", ())
    for keys in ((), (X25519PrivateKey.generate(),)):
        with pytest.raises(KeyUnavailable, match="sites of the region au seal to a custody key that is not in keys/"):
            check_keys_held(charter, CUSTODIAN, keys)


# --- what is asked --------------------------------------------------------------------------------------------------


def test_a_job_nobody_agreed_on_opens_nothing(guard: Guarded) -> None:
    assert refused(guard, request_of(guard.item(), reason=Reason(job="research"))) == Refusal.JOB  # type: ignore[arg-type]
    (kept,) = guard.custodian.refusals()
    assert (kept.site, kept.kind, kept.reason, kept.items) == (SITE, "job", "research", 1)
    assert guard.custodian.refused() == {(REGION, SITE, Refusal.JOB): 1}


def test_one_blob_that_does_not_open_refuses_them_all(guard: Guarded) -> None:
    good, other = guard.item(), guard.item()
    for bad in (
        dataclasses.replace(good, handle=other.handle),
        Item(handle=other.handle, blob=b""),
        Item(handle=other.handle, blob=bytes(108)),
    ):
        assert refused(guard, request_of(guard.item(), bad)) == Refusal.WRAPPING


def test_the_details_of_refusals_are_bounded(guard: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custody, "MAX_KEPT_REFUSALS", 3)
    for _ in range(5):
        refused(guard, request_of(guard.item(), time=0))
    assert len(guard.custodian.refusals()) == 3
    assert [kept.number for kept in guard.custodian.refusals(after=1)] == [2, 3]
    assert guard.custodian.refused() == {(REGION, SITE, Refusal.TIME): 5}


def test_old_keys_of_the_custodian_still_open(tmp_path: Path, guard: Guarded) -> None:
    item = guard.item()
    grants = LedgerGrants(lambda: guard.world.history, custodian=CUSTODIAN)
    keys = (X25519PrivateKey.generate(), *guard.custodian._keys)
    path = tmp_path / "other.sqlite3"
    with contextlib.closing(
        Custodian(path, party=CUSTODIAN, keys=keys, grants=grants, jobs=JOBS, clock=lambda: NOW)
    ) as renewed:
        other = dataclasses.replace(guard, custodian=renewed)
        assert ask(other, request_of(item)) == ask(guard, request_of(item))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"items": ()}, "request.items"),
        ({"reason": {}}, "request.reason"),
        ({"reason": {"job": "analysis", "grant": "00" * 32}}, "request.reason"),
        ({"reason": {"grant": "00" * 32}}, "request.reason.nonce"),
        ({"reason": {"job": "analysis", "nonce": "AAAA"}}, "request.reason.nonce"),
        ({"reason": {"job": "Not A Name"}}, "request.reason.job"),
        ({"id": "short"}, "request.id"),
        ({"time": "now"}, "request.time"),
        ({"extra": 1}, "request.extra"),
        ({"items": [{"handle": "00" * 32, "blob": ""}] * 2}, "request.items"),
        ({"items": [{"handle": "00" * 32, "blob": "A" * 2_000}]}, "request.items"),
    ],
)
def test_a_malformed_request_is_named(changes: dict[str, Any], field: str) -> None:
    value = encode(request_of(Item(handle="00" * 32, blob=b""))) | changes  # type: ignore[arg-type]
    with pytest.raises(FormatError) as raised:
        parse_request(format_json(value))
    assert raised.value.field == field


# --- what fails -----------------------------------------------------------------------------------------------------


def test_nothing_is_answered_that_could_not_be_counted(guard: Guarded) -> None:
    with guard.custodian._lock:
        guard.custodian._database.execute("pragma query_only = 1")
    with pytest.raises(StorageUnavailable):
        ask(guard, request_of(guard.item()))
    with guard.custodian._lock:
        guard.custodian._database.execute("pragma query_only = 0")
    assert guard.custodian.counts() == ()
    ask(guard, request_of(guard.item()))


def test_a_full_disk_answers_nothing(guard: Guarded) -> None:
    with guard.custodian._lock:
        (pages,) = guard.custodian._database.execute("pragma page_count").fetchone()
        guard.custodian._database.execute(f"pragma max_page_count = {pages}")
    answered = []
    with pytest.raises(StorageUnavailable):
        answered.extend(ask(guard, request_of(guard.item())) for _ in range(10_000))
    assert items_counted(guard.custodian).get("analysis", 0) == len(answered)


def test_another_process_that_holds_the_database_delays_and_loses_nothing(guard: Guarded, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "custody.sqlite3", isolation_level=None)
    with contextlib.closing(other), ThreadPoolExecutor(1) as pool:
        other.execute("begin immediate")
        waiting = pool.submit(ask, guard, request_of(guard.item()))
        other.execute("insert into refused values ('', '', 'time', 1)")
        other.execute("commit")
        assert waiting.result(60)
    assert items_counted(guard.custodian) == {"analysis": 1}


class Unreachable:
    """A ledger that can be followed until `fails` is set."""

    def __init__(self, guard: Guarded) -> None:
        self.guard, self.fails = guard, False

    def __call__(self) -> Any:
        if self.fails:
            raise Unavailable("the ledger does not answer")
        return self.guard.world.history


def test_a_ledger_that_cannot_be_followed_ends_custody(guard: Guarded) -> None:
    moment, ledger = Moment(), Unreachable(guard)
    grants: Grants = LedgerGrants(ledger, custodian=CUSTODIAN, clock=moment)
    assert grants.site_key(REGION, SITE, INTAKE.keyid) == INTAKE.public
    ledger.fails = True
    moment.now += STALE_SECONDS
    assert grants.site_key(REGION, SITE, INTAKE.keyid) == INTAKE.public
    moment.now += 1
    with pytest.raises(CustodyUnavailable, match="cannot be followed"):
        grants.site_key(REGION, SITE, INTAKE.keyid)
    with pytest.raises(CustodyUnavailable):
        grants.grant("00" * 32)
    ledger.fails = False
    with pytest.raises(CustodyUnavailable):
        grants.grant("00" * 32)
    moment.now += RETRY_SECONDS
    assert grants.grant("00" * 32) is None


def test_regions_that_break_a_rule_open_nothing(guard: Guarded) -> None:
    guard.world.amend({"regions": {"au": {"replicas": 9}}})
    with pytest.raises(CustodyUnavailable, match="break a rule"):
        ask(guard, request_of(guard.item()))
