"""Blind rebuilds: a rebuilder commits to what it built before anybody can know what the vendor will ship.

    commitment = SHA-256(party ‖ 0x00 ‖ source id ‖ lock root ‖ nonce ‖ root of the outputs)

(ids, roots and nonce as 32 raw bytes). The outputs are a manifest of rows {"key":"<platform>/<file>","sha256":"…"}.
The commitment is logged below every entry that names an output's digest; the rebuild opens it afterwards. A rebuilder
that copies the released digests has nothing to commit to in time. Importing this module makes `parse_statement` know
commits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from glasshouse_verify.codec import Digest, Identifier, Product, Version
from glasshouse_verify.manifest import manifest_root
from glasshouse_verify.statement import Opening, RebuiltFile, Source, Subject, Tree, Use, register


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commitment to the outputs of a rebuild of a source."""

    party: Identifier
    product: Product
    version: Version
    source: Digest
    commitment: Digest
    time: int

    def subjects(self) -> list[Subject]:
        """The statement of the source."""
        return [("source", self.source)]


register(Use.COMMIT, Commit)


def outputs_tree(files: Iterable[tuple[str, str, str]]) -> Tree:
    """The manifest of outputs given as (platform, file name, SHA-256)."""
    rows = sorted(({"key": f"{platform}/{name}", "sha256": digest} for platform, name, digest in files), key=_key)
    root = manifest_root(rows)
    return Tree(root=Digest(root.root.hex()), size=root.size)


def _key(row: dict[str, str]) -> str:
    return row["key"]


def commitment(party: str, source_id: str, source: Source, nonce: str, outputs: Tree) -> Digest:
    """What a rebuilder logs before the release: binds party, source, environment and outputs under a nonce."""
    digests = (source_id, source.lock.root, nonce, outputs.root)
    return Digest(sha256(party.encode() + b"\0" + b"".join(map(bytes.fromhex, digests))).hexdigest())


def opens(commit: Commit, opening: Opening, source_id: str, source: Source, files: Iterable[RebuiltFile]) -> bool:
    """Whether an opening shows that the commitment was to just these rebuilt files of this source."""
    built = [(file.platform, file.name, file.rebuilt) for file in files if file.rebuilt is not None]
    outputs = outputs_tree(built)
    expected = commitment(commit.party, source_id, source, opening.nonce, outputs)
    return (commit.source, commit.commitment, opening.outputs) == (source_id, expected, outputs)
