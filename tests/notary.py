"""Keys that sign notes in tests: deterministic, so that a failing example stays the same example."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from glasshouse_verify.checkpoint import Checkpoint, format_checkpoint
from glasshouse_verify.note import (
    COSIGNATURE_V1,
    ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    signature_value,
    signed_bytes,
)
from glasshouse_verify.tlog import leaf_hash, node_hash
from glasshouse_verify.tree import EMPTY_ROOT, Frontier, HashReader


class Notary:
    """A log (algorithm 0x01) or a witness (0x04); `name` and `salt` determine its key."""

    def __init__(self, name: str, algorithm: int = ED25519, salt: str = "") -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(sha256(f"{name}/{salt}".encode()).digest())
        self.key = VerifierKey(name=name, algorithm=algorithm, public=self.private.public_key().public_bytes_raw())

    def sign(self, text: str, timestamp: int = 0) -> NoteSignature:
        signature = self.private.sign(signed_bytes(self.key.algorithm, text, timestamp))
        value = signature_value(self.key.algorithm, signature, timestamp)
        return NoteSignature(name=self.key.name, key_id=self.key.key_id, value=value)

    def sign_raw(self, text: bytes) -> bytes:
        """The 64 bytes over any text at all, for notes that no honest program would write."""
        return self.private.sign(text)


def witness(name: str, salt: str = "") -> Notary:
    return Notary(name, COSIGNATURE_V1, salt)


def signed(text: str, *notaries: Notary, timestamp: int = 1_700_000_000) -> Note:
    return Note(text=text, signatures=tuple(notary.sign(text, timestamp) for notary in notaries))


class Tree:
    """A small Merkle tree in memory: the leaves are hashes of their own decimal index."""

    def __init__(self, size: int) -> None:
        self.leaves: list[bytes] = []
        self.roots = [EMPTY_ROOT]
        self.levels: list[list[bytes]] = [[] for _ in range(size.bit_length())]
        frontier = Frontier()
        for index in range(size):
            self.leaves.append(leaf_hash(b"%d" % index))
            for level, node in enumerate(frontier.append(self.leaves[-1])):
                self.levels[level].append(node)
            self.roots.append(frontier.root())

    def read(self, level: int, index: int) -> bytes:
        return self.levels[level][index]

    def checkpoint(self, size: int, origin: str = "example.com/log") -> str:
        return format_checkpoint(Checkpoint(origin=origin, size=size, root=self.roots[size]))


def uniform_reader(leaf: bytes) -> HashReader:
    """A tree of any size whose leaves are all equal: a node depends on its level alone."""
    levels = [leaf]
    while len(levels) < 64:
        levels.append(node_hash(levels[-1], levels[-1]))
    return lambda level, _index: levels[level]


def corrupted(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
