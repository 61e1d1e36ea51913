"""Asking witnesses for cosignatures (c2sp.org/tlog-witness, the log's side).

    old 20852014
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
    jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=

    example.com/behind-the-sofa
    20852163
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.com/behind-the-sofa
    Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=

The old size, a consistency proof from it, an empty line, the checkpoint. The answer is the witness's signature line,
or 409 with the size it has seen. Witnesses are asked at once, each by at most one request at a time; a slow one
delays nobody once the policy is satisfied.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

import httpx
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.encoding import encode_base64, parse_decimal
from glasshouse_verify.errors import QuorumError, SignatureError, VerifyError
from glasshouse_verify.note import Note, NoteSignature, VerifierKey, format_note, parse_note, verify_note
from glasshouse_verify.policy import Policy, check_checkpoint

from glasshouse.ledger.errors import LogAlarm, Unavailable, WitnessFailed
from glasshouse.ledger.outgoing import open_http, read_bounded

_LOG = logging.getLogger(__name__)
_MAX_ANSWER_BYTES = 64 << 10
_ATTEMPTS = 3
_GRACE_SECONDS = 0.2

Prover = Callable[[int], Sequence[bytes]]


@dataclass(frozen=True, kw_only=True)
class WitnessEndpoint:
    """A witness's key and the URL prefix it takes checkpoints at."""

    key: VerifierKey
    url: str


@dataclass(frozen=True, kw_only=True)
class Witnessing:
    """Whom to ask, and when it is enough: once every policy is satisfied. With none the log's own signature is."""

    policies: tuple[Policy, ...] = ()
    endpoints: tuple[WitnessEndpoint, ...] = ()

    def signing_keys(self, log_key: VerifierKey) -> tuple[VerifierKey, ...]:
        """The log's keys that have to sign, one for each policy; `log_key` where a policy leaves the choice."""
        named = ([key for key in policy.logs if key.name == log_key.name] for policy in self.policies)
        return tuple(dict.fromkeys(log_key if log_key in keys else keys[0] for keys in named if keys)) or (log_key,)


class WitnessingRule(Protocol):
    """Who vouches for the checkpoints of one log, with which keys; it may change with every entry."""

    def __call__(self, published_size: int, size: int, /) -> Witnessing:
        """For a checkpoint of `size` entries that follows a published one of `published_size`, 0 if there is none."""

    def log_keys(self) -> Collection[VerifierKey]:
        """Every key that the log signs with, or has signed with before its charter was amended."""


class Cosigner:
    """Collects cosignatures for the checkpoints of one log. Close it."""

    def __init__(
        self,
        log_key: VerifierKey,
        *,
        other_keys: Callable[[], Collection[VerifierKey]] = tuple,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._log_key = log_key
        self._other_keys = other_keys
        self._timeout_seconds = timeout_seconds
        self._http = open_http(timeout_seconds)
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="witness")
        self._under_way: dict[VerifierKey, Future[NoteSignature]] = {}
        self._old_size: dict[VerifierKey, int] = {}

    def collect(self, note: Note, witnessing: Witnessing, prove: Prover) -> Note:
        """The note with cosignatures that satisfy the policies, those already on it included.

        ``prove(old)`` gives the consistency proof from an old size to the note's. Raises QuorumError if too few
        witnesses sign in time, LogAlarm if one of them shows a larger tree that this log's key has signed.
        """
        asked = {self._ask(endpoint, note, prove) for endpoint in witnessing.endpoints if self._is_free(endpoint)}
        signatures: dict[tuple[str, bytes], NoteSignature] = {(s.name, s.key_id): s for s in note.signatures}
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            merged = replace(note, signatures=_in_order(signatures.values(), witnessing))
            enough = satisfies(witnessing.policies, merged)
            patience = _GRACE_SECONDS if enough else deadline - time.monotonic()
            done, asked = wait(asked, timeout=max(patience, 0), return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    signature = future.result()
                except WitnessFailed as error:
                    _LOG.warning("%s", error)
                else:
                    signatures[signature.name, signature.key_id] = signature
            if not done:
                break
        for policy in witnessing.policies:
            check_checkpoint(policy, merged)
        return merged

    def close(self) -> None:
        """Wait for the requests under way, at most their time limit, and close the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._http.close()

    def _is_free(self, endpoint: WitnessEndpoint) -> bool:
        before = self._under_way.get(endpoint.key)
        return before is None or before.done()

    def _ask(self, endpoint: WitnessEndpoint, note: Note, prove: Prover) -> "Future[NoteSignature]":
        future = self._pool.submit(self._cosign, endpoint, note, prove)
        self._under_way[endpoint.key] = future
        return future

    def _cosign(self, endpoint: WitnessEndpoint, note: Note, prove: Prover) -> NoteSignature:
        size = parse_checkpoint(note.text).size
        for _ in range(_ATTEMPTS):
            old = min(self._old_size.get(endpoint.key, 0), size)
            request = format_request(old, prove(old) if old else (), note)
            status, answer = self._call(endpoint, "POST", "add-checkpoint", request)
            if status == httpx.codes.OK:
                self._old_size[endpoint.key] = size
                return _own_signature(endpoint, note, answer)
            if status != httpx.codes.CONFLICT:
                reason = answer[:200].decode(errors="replace").strip()
                raise WitnessFailed(f"witness {endpoint.key.name} answers {status}: {reason}")
            known = _known_size(endpoint, answer)
            if known > size:
                self._look_ahead(endpoint, size)
                raise WitnessFailed(f"witness {endpoint.key.name} claims, without proof, a tree of {known} entries")
            self._old_size[endpoint.key] = known
        raise WitnessFailed(f"witness {endpoint.key.name} changes its mind about the size it has seen")

    def _look_ahead(self, endpoint: WitnessEndpoint, size: int) -> None:
        """A witness that saw a larger tree can show it: then this log was rolled back, and must not go on."""
        origin = hashlib.sha256(self._log_key.name.encode()).hexdigest()
        try:
            _, answer = self._call(endpoint, "GET", f"{origin}/checkpoint")
            shown = parse_note(answer)
            verify_note(shown, dict.fromkeys((self._log_key, *self._other_keys())))
            checkpoint = parse_checkpoint(shown.text)
        except (WitnessFailed, VerifyError):
            return
        if checkpoint.origin == self._log_key.name and checkpoint.size > size:
            raise LogAlarm(
                f"witness {endpoint.key.name} shows a tree of {checkpoint.size} entries signed by this log's key, "
                f"but its own records end at {size}: they were rolled back"
            )

    def _call(self, endpoint: WitnessEndpoint, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            with self._http.stream(method, f"{endpoint.url.rstrip('/')}/{path}", content=body) as response:
                return response.status_code, read_bounded(response, _MAX_ANSWER_BYTES)
        except (httpx.HTTPError, Unavailable) as error:
            reason = str(error) or type(error).__name__
            raise WitnessFailed(f"witness {endpoint.key.name} at {endpoint.url}: {reason}") from error


def format_request(old: int, proof: Iterable[bytes], note: Note) -> bytes:
    """The body of an add-checkpoint request."""
    lines = (f"old {old}", *map(encode_base64, proof), "", "")
    return "\n".join(lines).encode() + format_note(note)


def _in_order(signatures: Iterable[NoteSignature], witnessing: Witnessing) -> tuple[NoteSignature, ...]:
    """The log's own first, then the witnesses' as they are listed, however fast they were."""
    places = {(asked.key.name, asked.key.key_id): place for place, asked in enumerate(witnessing.endpoints)}
    return tuple(sorted(signatures, key=lambda signature: places.get((signature.name, signature.key_id), -1)))


def _own_signature(endpoint: WitnessEndpoint, note: Note, answer: bytes) -> NoteSignature:
    key = endpoint.key
    try:
        signed = parse_note(note.text.encode() + b"\n" + answer)
        verify_note(signed, (key,))
    except VerifyError as error:
        raise WitnessFailed(f"witness {key.name} answers what is not its signature: {error}") from error
    return next(s for s in signed.signatures if (s.name, s.key_id) == (key.name, key.key_id))


def _known_size(endpoint: WitnessEndpoint, answer: bytes) -> int:
    try:
        return parse_decimal(answer.decode(errors="replace").removesuffix("\n"), "witness size")
    except VerifyError as error:
        raise WitnessFailed(f"witness {endpoint.key.name} answers 409 without a size: {error}") from error


def satisfies(policies: Sequence[Policy], note: Note) -> bool:
    """Whether a checkpoint has the signatures that every one of the policies asks for."""
    try:
        for policy in policies:
            check_checkpoint(policy, note)
    except (QuorumError, SignatureError):
        return False
    return True
