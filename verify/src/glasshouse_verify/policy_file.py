"""The file in which people write a witness policy (c2sp.org/tlog-policy); what it means is in `policy`.

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

from glasshouse_verify.encoding import parse_decimal
from glasshouse_verify.errors import FormatError
from glasshouse_verify.note import VerifierKey, format_vkey, parse_vkey
from glasshouse_verify.policy import NONE, Group, Policy

MAX_POLICY = 1_000_000

_ALLOWED = bytes(byte for byte in range(256) if byte in b"\t\n" or (byte >= 0x20 and byte != 0x7F))


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
    # `free` are the names that are no member yet.
    defined, free, quorum = {NONE}, set[str](), ""
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
                free.add(name)
            case ["group", name, threshold, *members] if name not in defined and free.issuperset(members):
                count = {"any": 1, "all": len(members)}.get(threshold) or parse_decimal(threshold, where)
                if len(set(members)) < len(members) or not 1 <= count <= len(members):
                    raise FormatError(where, f"names a member twice, or {count} of {len(members)} members")
                groups.append(Group(name=name, threshold=count, members=tuple(members)))
                defined.add(name)
                free = (free - set(members)) | {name}
            case ["quorum", name] if not quorum and name in defined:
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
