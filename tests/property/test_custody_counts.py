"""The custodian against a model of it: what is answered, refused and counted, over restarts. The request's format."""

import dataclasses
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from custodians import INTAKE, INTAKE_2, JOBS, Moment, Opened, ask, grant_access, guarded, guarded_world, request_of
from glasshouse_verify.errors import FormatError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from world import NOW

from glasshouse.regions.custody import WINDOW_SECONDS, Refusal
from glasshouse.regions.custody_request import Item, Reason, UnwrapRequest, format_request, parse_request
from glasshouse.regions.errors import CustodyRefused

SITES = {"zurich-1": INTAKE, "zurich-2": INTAKE_2}


class Custody(RuleBasedStateMachine):
    """Sites ask, grants come and end, the clock goes on, the process ends now and then."""

    granted: Bundle[tuple[Item, Opened, int, int]] = Bundle("granted")
    sent: Bundle[tuple[UnwrapRequest, str]] = Bundle("sent")

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.world, self.moment, self.stack = guarded_world(), Moment(), ExitStack()
        self.counted: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[Refusal] = Counter()
        self.open()

    def open(self) -> None:
        self.guard = self.stack.enter_context(guarded(self.directory, clock=self.moment, world=self.world))

    def attempt(self, request: UnwrapRequest, expected: Refusal | None) -> None:
        signer = SITES[request.site]
        if expected is not None:
            with pytest.raises(CustodyRefused) as raised:
                ask(self.guard, request, signer)
            assert raised.value.reason == expected
            self.refused[expected] += 1
            return
        opened = ask(self.guard, request, signer)
        assert len(opened) == len(request.items)
        self.counted[request.site, request.reason.job or request.reason.grant or ""] += len(opened)

    @rule(
        target=sent,
        site=st.sampled_from(sorted(SITES)),
        job=st.sampled_from([*JOBS, "research"]),
        size=st.integers(1, 3),
    )
    def for_a_job(self, site: str, job: str, size: int) -> tuple[UnwrapRequest, str]:
        items = [self.guard.item() for _ in range(size)]
        reason = Reason(job=job)  # type: ignore[arg-type]
        request = request_of(*items, site=site, reason=reason, time=int(self.moment.now))
        self.attempt(request, None if job in JOBS else Refusal.JOB)
        return request, job

    @rule(target=granted, uses=st.integers(1, 3), seconds=st.integers(1, 500))
    def grant(self, uses: int, seconds: int) -> tuple[Item, Opened, int, int]:
        item, until = self.guard.item(), int(self.moment.now) + seconds
        return item, grant_access(self.world, item.handle, uses=uses, until=until), uses, until

    @rule(use=granted, site=st.sampled_from(sorted(SITES)))
    def use_a_grant(self, use: tuple[Item, Opened, int, int], site: str) -> None:
        item, access, uses, until = use
        expected = None
        if until <= int(self.moment.now):
            expected = Refusal.EXPIRED
        elif site != "zurich-1":
            expected = Refusal.OBJECT
        elif self.counted["zurich-1", access.grant] >= uses:
            expected = Refusal.USED_UP
        self.attempt(request_of(item, site=site, reason=access.reason, time=int(self.moment.now)), expected)

    @rule(use=granted)
    def use_a_grant_for_another_object(self, use: tuple[Item, Opened, int, int]) -> None:
        _, access, _, until = use
        expected = Refusal.EXPIRED if until <= int(self.moment.now) else Refusal.OBJECT
        self.attempt(request_of(self.guard.item(), reason=access.reason, time=int(self.moment.now)), expected)

    @rule(again=consumes(sent))
    def replay(self, again: tuple[UnwrapRequest, str]) -> None:
        request, job = again
        if abs(int(self.moment.now) - request.time) > WINDOW_SECONDS:
            self.attempt(request, Refusal.TIME)
        else:
            self.attempt(request, Refusal.REPLAY if job in JOBS else Refusal.JOB)

    @rule()
    def send_what_was_sealed_for_another_object(self) -> None:
        one, other = self.guard.item(), self.guard.item()
        mixed = dataclasses.replace(one, handle=other.handle)
        self.attempt(request_of(self.guard.item(), mixed, time=int(self.moment.now)), Refusal.WRAPPING)

    @rule(seconds=st.integers(1, 400))
    def wait(self, seconds: int) -> None:
        self.moment.now += seconds

    @rule()
    def restart(self) -> None:
        self.stack.close()
        self.open()

    @invariant()
    def what_is_counted_is_what_was_answered(self) -> None:
        counts = self.guard.custodian.counts()
        assert {(count.site, count.reason): count.items for count in counts} == +self.counted
        refused: Counter[Refusal] = Counter()
        for (_, _, refusal), requests in self.guard.custodian.refused().items():
            refused[refusal] += requests
        assert refused == self.refused

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()
            shutil.rmtree(self.directory)


Custody.TestCase.settings = settings(max_examples=15, stateful_step_count=20)
TestCustody = Custody.TestCase

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
REASONS = st.one_of(
    st.builds(Reason, job=NAMES), st.builds(Reason, grant=DIGESTS, nonce=st.binary(min_size=32, max_size=32))
)
ITEMS = st.lists(st.builds(Item, handle=DIGESTS, blob=st.binary(max_size=200)), min_size=1, max_size=4, unique_by=str)
REQUESTS = st.builds(
    UnwrapRequest,
    custodian=NAMES,
    region=NAMES,
    site=NAMES,
    reason=REASONS,
    items=ITEMS.map(lambda items: tuple({item.handle: item for item in items}.values())),
    time=st.integers(0, NOW),
    id=DIGESTS,
)


@given(REQUESTS)
def test_requests_are_written_and_read(request: UnwrapRequest) -> None:
    assert parse_request(format_request(request)) == request


@given(REQUESTS, st.data())
def test_other_bytes_are_another_request_or_none(request: UnwrapRequest, data: Any) -> None:
    body = format_request(request)
    at = data.draw(st.integers(0, len(body) - 1))
    other = body[:at] + data.draw(st.binary(max_size=3)) + body[at + 1 :]
    try:
        assert format_request(parse_request(other)) == other
    except FormatError:
        return


def test_what_is_no_json_is_refused() -> None:
    for body in (b"", b"[]", b"null", b'{"items":[]}', b"\xff"):
        with pytest.raises(FormatError):
            parse_request(body)
