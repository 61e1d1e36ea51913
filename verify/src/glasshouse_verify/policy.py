"""Witness policies: which logs count, and which sets of witnesses are enough (c2sp.org/tlog-policy).

A log's checkpoint counts if the log signed it and the witnesses that cosigned it satisfy the quorum: one witness, or a
group, which is satisfied by some number of its members, witnesses and earlier groups, each a member once in the whole
policy. Log keys are of type 0x01 and named like the log's origin, witness keys of type 0x04; two keys of one kind never
share a public key. The file that people write policies in is read by `policy_file`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from glasshouse_verify.checkpoint import Checkpoint, parse_checkpoint
from glasshouse_verify.errors import FormatError, QuorumError, SignatureError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, Note, VerifierKey, verify_note

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Group:
    """A name that counts as having witnessed once `threshold` of its members have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A checkpoint counts if one of `logs` signed it and the witnesses that did satisfy `quorum`.

    Constructing one checks the types of its keys and that all differ, and raises `FormatError`. Groups stand after
    their members; what else is asked of them is checked where they are read from a file.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    groups: tuple[Group, ...]
    quorum: str
    urls: Mapping[VerifierKey, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_keys(self.logs, ED25519, "policy log")
        _check_keys(self.witnesses.values(), COSIGNATURE_V1, "policy witness")

    def satisfied_by(self, witnesses: Iterable[str]) -> bool:
        """Return whether cosignatures of the witnesses with these names make up the quorum."""
        holding = {NONE, *witnesses}
        for group in self.groups:
            if sum(member in holding for member in group.members) >= group.threshold:
                holding.add(group.name)
        return self.quorum in holding


@dataclass(frozen=True, kw_only=True)
class Cosigned:
    """A checkpoint that satisfied a policy: by which log, and by which witnesses (name to seconds since 1970)."""

    checkpoint: Checkpoint
    log: VerifierKey
    witnesses: Mapping[str, int]


def check_checkpoint(policy: Policy, note: Note) -> Cosigned:
    """Check a signed checkpoint against a policy.

    Raises `SignatureError` if a known key's signature fails or no log of the policy signed for its own origin,
    `QuorumError` if the witnesses are too few, `FormatError` if the text is no checkpoint.
    """
    signed = dict(verify_note(note, (*policy.logs, *policy.witnesses.values())))
    checkpoint = parse_checkpoint(note.text)
    log = next((key for key in policy.logs if key in signed and key.name == checkpoint.origin), None)
    if log is None:
        raise SignatureError(f"no log of the policy signed a checkpoint for origin {checkpoint.origin!r}")
    witnesses = {name: signed[key] for name, key in policy.witnesses.items() if key in signed}
    if not policy.satisfied_by(witnesses):
        raise QuorumError(f"quorum {policy.quorum!r} is not satisfied by witnesses: {', '.join(witnesses) or 'none'}")
    return Cosigned(checkpoint=checkpoint, log=log, witnesses=witnesses)


def witness_policy(log: VerifierKey, groups: Mapping[str, Sequence[VerifierKey]], faulty: int) -> Policy:
    """Return the policy of a charter: a group of witnesses for each party, so that no party counts twice.

    Of n parties, at least 3 * faulty + 1, a quorum is all if n is 3 or less, else (n + faulty + 1) / 2 rounded up, so
    that any two quorums share an honest party. Raises `FormatError` if there are too few parties or a party has no
    witness.
    """
    count = len(groups)
    if not 0 <= 3 * faulty < count or not all(groups.values()):
        raise FormatError("witnesses", f"{count} parties cannot tolerate {faulty} faulty ones, or one has no witness")
    named = {party: {f"{party}/{n}": key for n, key in enumerate(keys, 1)} for party, keys in groups.items()}
    needed = count if count <= 3 else (count + faulty + 2) // 2
    parties = tuple(Group(name=party, threshold=1, members=tuple(keys)) for party, keys in named.items())
    return Policy(
        logs=(log,),
        witnesses={name: key for keys in named.values() for name, key in keys.items()},
        groups=(*parties, Group(name="parties/quorum", threshold=needed, members=tuple(groups))),
        quorum="parties/quorum",
    )


def _check_keys(keys: Collection[VerifierKey], algorithm: int, kind: str) -> None:
    if len({key.public for key in keys if key.algorithm == algorithm}) != len(keys):
        raise FormatError(kind, f"a key is not of type 0x{algorithm:02x}, or two have one public key")
