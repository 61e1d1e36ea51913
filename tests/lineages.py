"""Histories of git objects made by hand: commits and review tags, signed as git signs them, without git.

`seeded("ann")` is Ann's key. What git itself makes is tested in unit/conveyor/test_ancestry.py and in e2e.
"""

from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from glasshouse_verify.gitobject import object_id
from glasshouse_verify.lineage import format_lineage, review_title
from glasshouse_verify.sshsig import GIT_NAMESPACE, SshSignature, format_sshsig
from world import NOW, PRODUCT, seeded

BRANCH = "main"
TREE = object_id("tree", b"", 40)


class Story:
    """A growing history. `objects` are its commits and reviews in order, by kind and content."""

    def __init__(self, digits: int = 40) -> None:
        self.digits = digits
        self.objects: list[tuple[str, bytes]] = []

    def commit(self, title: str, *parents: str, by: str | None = "ann", tree: str = "", time: int = NOW) -> str:
        """Add a commit signed by `by`; returns its id."""
        lines = [f"tree {tree or object_id('tree', b'', self.digits)}", *(f"parent {parent}" for parent in parents)]
        lines += [f"{role} X <x@example.org> {time} +0100" for role in ("author", "committer")]
        head, body = "\n".join(lines) + "\n", f"\n{title}\n"
        if by is not None:
            header = "gpgsig" if self.digits == 40 else "gpgsig-sha256"
            armour = signature(by, (head + body).encode()).decode().removesuffix("\n").replace("\n", "\n ")
            head += f"{header} {armour}\n"
        return self._add("commit", (head + body).encode())

    def review(
        self,
        commit: str,
        since: str | None = None,
        *,
        by: str | None = "bob",
        product: str = PRODUCT,
        branch: str = BRANCH,
        name: str = "review/",
    ) -> str:
        """Add a review of `commit`, signed by `by`; returns the tag's id."""
        text = f"object {commit}\ntype commit\ntag {name}{by}/{commit[:12]}\ntagger X <x@example.org> {NOW} +0000\n\n"
        text += review_title(product, branch, since) + "\n"
        content = text.encode()
        return self._add("tag", content + (b"" if by is None else signature(by, content)))

    def lineage(self, *without: str) -> bytes:
        """The lineage of it all, but for the objects named."""
        kept = [item for item in self.objects if object_id(*item, self.digits) not in without]
        return format_lineage(kept, self.digits)

    def _add(self, kind: str, content: bytes) -> str:
        self.objects.append((kind, content))
        return object_id(kind, content, self.digits)


def example() -> tuple[Story, str, str]:
    """The history that docs/spec/lineage.md shows: the story, the commit before, and the newest."""
    story = Story()
    before = story.commit("Read the rules", by=None)
    tip = story.commit("Mend the scanner", before)
    story.review(tip, before)
    return story, before, tip


def private_key(name: str) -> Ed25519PrivateKey:
    """The key that `seeded` signs with."""
    return Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())


def write_ssh_key(directory: Path, name: str) -> Path:
    """The same key as OpenSSH keeps it: NAME and NAME.pub in a directory."""
    place = directory / name
    place.touch(mode=0o600)
    place.write_bytes(private_key(name).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    line = private_key(name).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (directory / f"{name}.pub").write_bytes(line + b" " + name.encode() + b"@example.org\n")
    return place


def signature(by: str, message: bytes, namespace: str = GIT_NAMESPACE, hash: str = "sha512") -> bytes:
    """An armoured SSH signature of `message` by a seeded key."""
    key = seeded(by)
    unsigned = SshSignature(public=key.public, namespace=namespace, hash=hash, signature=b"")
    value = key.sign(unsigned.signed_bytes(message))
    return format_sshsig(SshSignature(public=key.public, namespace=namespace, hash=hash, signature=value))
