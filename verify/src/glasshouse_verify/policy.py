"""Witness policies: which logs count, and which sets of witnesses are enough (c2sp.org/tlog-policy).

    log example.com/log+fa7d0f47+ASaL…
    witness acme/1 w1.example+ab0d…+BK1i…
    witness bdo/1 w2.example+7c11…+BPX9…
    witness bdo/2 w3.example+02be…+BIf0…
    group acme any acme/1
    group bdo any bdo/1 bdo/2
    group parties/quorum all acme bdo
    quorum parties/quorum

Lines end in a newline; words are divided by spaces and tabs; empty lines and lines that start with "#" are ignored.
`log` and `witness` lines may end in a URL. Log keys are of type 0x01 and named like the log's origin, witness keys of
type 0x04; two keys of one kind never share a public key. A group is satisfied by `all`, `any` or a decimal number of
its members: witnesses and groups of earlier lines, each a member once in the whole file. There is one `quorum` line:
an earlier name, or `none`. Names and URLs are opaque octets, here carried as text by "surrogateescape".

People write policies and nobody signs them, so this is the one format with several spellings of one value:
`parse(format(parse(b))) == parse(b)`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from glasshouse_verify.checkpoint import Checkpoint, parse_checkpoint
from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError, QuorumError, SignatureError
from glasshouse_verify.note import COSIGNATURE_V1, ED25519, Note, VerifierKey, format_vkey, parse_vkey, verify_note

MAX_POLICY = 1_000_000
NONE = "none"

_ALLOWED = bytes(byte for byte in range(256) if byte in b"\t\n" or (byte >= 0x20 and byte != 0x7F))


@dataclass(frozen=True, kw_only=True)
class Group:
    """A name that counts as having witnessed once `threshold` of its members have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A checkpoint counts if one of `logs` signed it and the witnesses that did satisfy `quorum`.

    Constructing one checks all rules of the format and raises `FormatError`. Groups stand in the order of their lines.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: Mapping[str, VerifierKey]
    groups: tuple[Group, ...]
    quorum: str
    urls: Mapping[VerifierKey, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_keys(self.logs, ED25519, "policy log")
        _check_keys(self.witnesses.values(), COSIGNATURE_V1, "policy witness")
        free = set(self.witnesses)
        for group in self.groups:
            if len(set(group.members)) != len(group.members) or not free.issuperset(group.members):
                raise FormatError(f"policy group {group.name}", "a member is undefined or a member already")
            if not 1 <= group.threshold <= len(group.members):
                raise FormatError(f"policy group {group.name}", f"{group.threshold} of {len(group.members)} members")
            free.difference_update(group.members)
            free.add(group.name)
        names = (NONE, *self.witnesses, *(group.name for group in self.groups))
        if len(set(names)) != len(names) or self.quorum not in names:
            raise FormatError("policy", f"a name is defined twice, or the quorum {self.quorum!r} is undefined")

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
    if not 0 <= 3 * faulty < count:
        raise FormatError("witnesses", f"{count} parties cannot tolerate {faulty} faulty ones")
    named = {party: {f"{party}/{n}": key for n, key in enumerate(keys, 1)} for party, keys in groups.items()}
    needed = count if count <= 3 else (count + faulty + 2) // 2
    parties = tuple(Group(name=party, threshold=1, members=tuple(keys)) for party, keys in named.items())
    return Policy(
        logs=(log,),
        witnesses={name: key for keys in named.values() for name, key in keys.items()},
        groups=(*parties, Group(name="parties/quorum", threshold=needed, members=tuple(groups))),
        quorum="parties/quorum",
    )


def parse_policy(data: bytes) -> Policy:
    """Read a policy file of at most `MAX_POLICY` bytes; `FormatError` naming the line otherwise."""
    if len(data) > MAX_POLICY:
        raise FormatError("policy", f"{len(data)} bytes, more than {MAX_POLICY}")
    if data.translate(None, delete=_ALLOWED):
        raise FormatError("policy", "control character other than tab and newline")
    if data and not data.endswith(b"\n"):
        raise FormatError("policy", "last line does not end in a newline")
    logs: list[VerifierKey] = []
    witnesses: dict[str, VerifierKey] = {}
    groups: list[Group] = []
    urls: dict[VerifierKey, str] = {}
    defined, quorum = set[str](), ""
    for number, line in enumerate(data.split(b"\n"), 1):
        where, words = f"policy line {number}", [word.decode(errors="surrogateescape") for word in line.split()]
        if not words or words[0].startswith("#"):
            continue
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                logs.append(key := _parse_key(vkey, where))
                urls.update((key, text) for text in url)
            case ["witness", name, vkey, *url] if len(url) <= 1 and name not in defined:
                witnesses[name] = key = _parse_key(vkey, where)
                urls.update((key, text) for text in url)
                defined.add(name)
            case ["group", name, threshold, *members] if name not in defined and defined.issuperset(members):
                count = {"any": 1, "all": len(members)}.get(threshold) or parse_decimal(threshold, where)
                groups.append(Group(name=name, threshold=count, members=tuple(members)))
                defined.add(name)
            case ["quorum", name] if not quorum and (name == NONE or name in defined):
                quorum = name
            case _:
                raise FormatError(
                    where, "not a log, witness, group or quorum line that keeps to the names defined above"
                )
    if not quorum:
        raise FormatError("policy quorum", "missing")
    return Policy(logs=tuple(logs), witnesses=witnesses, groups=tuple(groups), quorum=quorum, urls=urls)


def _parse_key(text: str, where: str) -> VerifierKey:
    try:
        return parse_vkey(text)
    except FormatError as error:
        raise FormatError(where, str(error)) from None


def format_policy(policy: Policy) -> bytes:
    """Write a policy file; `FormatError` if a name or URL in it could not be read back."""
    lines = [f"log {format_vkey(key)} {policy.urls.get(key, '')}".rstrip(" ") for key in policy.logs]
    for name, key in policy.witnesses.items():
        lines.append(f"witness {name} {format_vkey(key)} {policy.urls.get(key, '')}".rstrip(" "))
    for group in policy.groups:
        threshold = {len(group.members): "all", 1: "any"}.get(group.threshold, str(group.threshold))
        lines.append(f"group {group.name} {threshold} {' '.join(group.members)}")
    data = "".join(f"{line}\n" for line in (*lines, f"quorum {policy.quorum}")).encode(errors="surrogateescape")
    if parse_policy(data) != policy:
        raise FormatError("policy", "a name or URL cannot be read back")
    return data


def _check_keys(keys: Collection[VerifierKey], algorithm: int, kind: str) -> None:
    if len({key.public for key in keys if key.algorithm == algorithm}) != len(keys):
        raise FormatError(kind, f"a key is not of type 0x{algorithm:02x}, or two have one public key")
