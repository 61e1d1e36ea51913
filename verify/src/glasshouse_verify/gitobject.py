"""Git's commit and tag objects, as far as a lineage needs them: parents, tree, time, and who signed.

    tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904
    parent 9f2c41d0a1b2c3d4e5f60718293a4b5c6d7e8f90
    author Ann <ann@acme.example> 1700000000 +0100
    committer Ann <ann@acme.example> 1700000000 +0100
    gpgsig -----BEGIN SSH SIGNATURE-----
     …

    Mend the scanner

The id of an object is the SHA-1 of `commit SIZE NUL content`, or its SHA-256 where the repository is of that format: 40
or 64 hex digits. A commit's signature is over the content without the `gpgsig` header, a tag's over all before the
signature that ends it. A signature that does not hold, or is not by an Ed25519 key, counts as none.
"""

import hashlib
import re
from dataclasses import dataclass

from glasshouse_verify.errors import FormatError, VerifyError
from glasshouse_verify.sshsig import GIT_NAMESPACE, verify_sshsig

_ID = rb"(?:[0-9a-f]{40}|[0-9a-f]{64})"
_IDENT = rb"[^\n\0]*"
_COMMIT = re.compile(
    rb"tree ("
    + _ID
    + rb")\n((?:parent "
    + _ID
    + rb"\n)*)author "
    + _IDENT
    + rb"\ncommitter "
    + _IDENT
    # The committer's time, further headers, and the empty line that ends them.
    + rb" ([0-9]{1,15}) [+-][0-9]{4}\n((?:[^\n\0]+\n)*)\n[^\0]*",
    re.DOTALL,
)
_TAG = re.compile(
    rb"object (" + _ID + rb")\ntype commit\ntag ([^\n\0]+)\ntagger " + _IDENT + rb"\n\n([^\0]*)", re.DOTALL
)
_SIGNATURE_HEADER = re.compile(rb"^(gpgsig(?:-sha256)?) ([^\n]*\n(?: [^\n]*\n)*)", re.MULTILINE)
_ARMOUR = b"-----BEGIN SSH SIGNATURE-----\n"
_HEADERS = {40: b"gpgsig", 64: b"gpgsig-sha256"}


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit: `time` is the committer's, in Unix seconds; `signer` the raw Ed25519 key that signed it, if one did."""

    id: str
    tree: str
    parents: tuple[str, ...]
    time: int
    signer: bytes | None


@dataclass(frozen=True, kw_only=True)
class Tag:
    """An annotated tag of a commit: its name, the first line of its message, and the key that signed it, if one did."""

    id: str
    target: str
    name: str
    title: str
    signer: bytes | None


def object_id(kind: str, content: bytes, digits: int) -> str:
    """The id of an object: `digits` is 40 (SHA-1) or 64 (SHA-256)."""
    data = f"{kind} {len(content)}\0".encode() + content
    if digits == 64:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def parse_commit(content: bytes, digits: int) -> Commit:
    """Parse the content of a commit object; raises FormatError."""
    identity = object_id("commit", content, digits)
    found = _COMMIT.fullmatch(content)
    if found is None:
        raise FormatError(f"commit {identity}", "is not a commit that can be read")
    tree, time, headers = found[1].decode(), int(found[3]), found.start(4)
    parents = tuple(line.split(" ")[1] for line in found[2].decode().splitlines())
    if any(len(name) != digits for name in (tree, *parents)):
        raise FormatError(f"commit {identity}", "names objects of another format")
    signed = list(_SIGNATURE_HEADER.finditer(content, headers, found.end(4)))
    signer = None
    if len(signed) == 1 and signed[0][1] == _HEADERS[digits]:
        payload = content[: signed[0].start()] + content[signed[0].end() :]
        signer = _signer(signed[0][2].replace(b"\n ", b"\n"), payload)
    return Commit(id=identity, tree=tree, parents=parents, time=time, signer=signer)


def parse_tag(content: bytes, digits: int) -> Tag:
    """Parse the content of an annotated tag of a commit; raises FormatError."""
    identity = object_id("tag", content, digits)
    found = _TAG.fullmatch(content)
    if found is None or len(found[1]) != digits:
        raise FormatError(f"tag {identity}", "is not a tag of a commit that can be read")
    message, armour, signature = found[3].partition(_ARMOUR)
    signer = None
    if armour and (not message or message.endswith(b"\n")):
        signer = _signer(armour + signature, content[: found.start(3) + len(message)])
    try:
        name, title = found[2].decode(), message.partition(b"\n")[0].decode()
    except UnicodeDecodeError:
        raise FormatError(f"tag {identity}", "is not UTF-8") from None
    return Tag(id=identity, target=found[1].decode(), name=name, title=title, signer=signer)


def _signer(signature: bytes, message: bytes) -> bytes | None:
    try:
        return verify_sshsig(signature, message, GIT_NAMESPACE)
    except VerifyError:
        return None
