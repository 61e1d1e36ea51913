"""Inclusion proofs verified per second, beside the bare hashes that they need.

Proofs of random leaves in a tree of 10^6: `verify_inclusion` on one side; on the other hashlib alone, fed the same
number of ready-made 65-byte nodes, which is the work that no verifier in this language can avoid.
"""

import random
from hashlib import sha256

from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import Frontier, inclusion_proof, tree_root, verify_inclusion

from bench import Figure, median_seconds

SIZE = 1_000_000
PROOFS = 5_000
ROUNDS = 15


def run() -> Figure:
    """Measure on one core; the unit counts whole proofs."""
    levels: list[list[bytes]] = [[] for _ in range(SIZE.bit_length())]
    frontier = Frontier()
    for index in range(SIZE):
        for level, subtree in enumerate(frontier.append(leaf_hash(index.to_bytes(4, "big")))):
            levels[level].append(subtree)

    def read(level: int, index: int) -> bytes:
        return levels[level][index]

    root = tree_root(SIZE, read)
    wanted = random.Random(6962).sample(range(SIZE), PROOFS)
    proofs = [(levels[0][index], index, inclusion_proof(index, SIZE, read)) for index in wanted]
    nodes = [b"\x01" + sibling + leaf for leaf, _, proof in proofs for sibling in proof]

    def ours() -> None:
        for leaf, index, proof in proofs:
            verify_inclusion(leaf, index, SIZE, proof, root)

    def bare() -> None:
        for node in nodes:
            sha256(node).digest()

    ours_seconds, bare_seconds = median_seconds(ours, bare, rounds=ROUNDS)
    return {
        "name": "inclusion",
        "ours": PROOFS / ours_seconds,
        "floor": PROOFS / bare_seconds,
        "ratio": bare_seconds / ours_seconds,
        "unit": "proofs/s",
        "target": "ratio at least 0.5",
        "notes": f"tree of {SIZE:,} leaves, {len(nodes) / PROOFS:.1f} hashes a proof; "
        f"floor: {len(nodes) / bare_seconds:,.0f} bare SHA-256 of 65 bytes per second",
    }
