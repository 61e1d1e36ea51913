"""What every offline answer stands on: the charter chain from the pin, and one cosigned checkpoint over all statements.

A check adds its own claims to the two below; where one of these fails, nothing after it may be said.

    charter     the amendments follow from the pin, each with the votes of the version before
    ledger      one checkpoint, signed by the charter's log and cosigned under its witness quorum, holds every statement
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from glasshouse_verify.charter import Chain, Charter, apply_patch, vouchers
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import Envelope, format_envelope, statement_id
from glasshouse_verify.errors import CharterError, FormatError, ProofError, VerifyError
from glasshouse_verify.evidence import Basis, Logged
from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import Cosigned, check_checkpoint
from glasshouse_verify.report import Claim, Outcome, Refused
from glasshouse_verify.statement import Use, make_statement
from glasshouse_verify.tlog import leaf_hash, verify_multiproof

P = TypeVar("P")


class Entry(Generic[P]):
    """A statement as the evidence shows it: who signed it, and whether it stands in the ledger, comes later."""

    def __init__(self, use: Use, kind: type[P], logged: Logged) -> None:
        self.use, self.index = use, logged.index
        self.says: P = decode(kind, logged.predicate, f"evidence.{use}")
        self.envelope = Envelope(payload=make_statement(use, self.says), signatures=logged.signatures)
        self.id = statement_id(self.envelope.payload)


class Ground:
    """The claims so far. Whoever extends it fills `entries` with its statements and `cuts` with earlier tree sizes.

    `cut_roots` then holds the root of the ledger at each cut.
    """

    limits: Mapping[str, str]

    def __init__(self, pin: bytes, basis: Basis) -> None:
        self.basis, self.chain, self.claims = basis, Chain(pin), list[Claim]()
        self.entries: list[Entry[Any]] = []
        self.cuts: set[int] = set()
        self.cut_roots: dict[int, bytes] = {}

    def recheck(self, name: str) -> str:
        """The command that checks a claim again."""
        raise NotImplementedError(name)

    def holds(self, step: Callable[[], Claim]) -> bool:
        """Add the claim that a method of this name makes, or why it does not hold."""
        name = step.__name__
        try:
            claim = replace(step(), claim=name, limit=self.limits[name], recheck=self.recheck(name))
        except FormatError:
            raise
        except VerifyError as error:
            outcome = error.outcome if isinstance(error, Refused) else Outcome.NOT_AUTHORISED
            claim = Claim(claim=name, outcome=outcome, text=str(error))
        self.claims.append(claim)
        return claim.outcome == Outcome.VERIFIED

    def charter(self) -> Claim:
        """The chain of charters."""
        if self.basis.pin != self.chain.newest.id:
            raise CharterError("the evidence starts from another first charter than the one pinned")
        for amendment in self.basis.amendments:
            document = apply_patch(encode(self.chain.newest.charter), amendment.delta)
            logged = Logged(predicate=document, signatures=amendment.signatures, index=amendment.index)
            entry = Entry(Use.CHARTER, Charter, logged)
            self.chain.extend(entry.envelope, entry.index)
            self.entries.append(entry)
        newest, by = self.chain.newest.charter, self.chain.newest.by
        text = f"version {newest.version} of the charter of {newest.initiative} follows from the version you pinned"
        return Claim(text=text, by=by or ("you",), when=newest.time)

    def ledger(self) -> Claim:
        """The checkpoint and what stands below it."""
        cosigned = self._checkpoint(self.chain.newest.charter, self.basis.checkpoint)
        head, handovers = cosigned.checkpoint, self._handovers()
        leaves = {entry.index: leaf_hash(format_envelope(entry.envelope)) for entry in self.entries}
        if len(leaves) != len(self.entries):
            raise FormatError("evidence", "names one ledger index for two statements")
        cuts = {size for size, _ in handovers} | self.cuts
        self.cut_roots = verify_multiproof(leaves, cuts, head.size, head.root, self.basis.nodes)
        if any(self.cut_roots[size] != root for size, root in handovers):
            raise ProofError("a handover checkpoint is of another history of the ledger")
        text = f"{len(leaves)} statements stand in {head.origin}, whose {head.size} entries the witnesses cosigned"
        by = tuple(name.rpartition("/")[0] for name in cosigned.witnesses)
        return Claim(text=text, by=by, when=max(cosigned.witnesses.values()))

    def _checkpoint(self, charter: Charter, text: str) -> Cosigned:
        note = parse_note(text.encode())
        cosigned = check_checkpoint(charter.policy, note)
        # What nothing checks could be changed unnoticed.
        if len(note.signatures) != 1 + len(cosigned.witnesses):
            raise FormatError("evidence.checkpoint", "bears a signature of nobody whom the charter names")
        return cosigned

    def _handovers(self) -> set[tuple[int, bytes]]:
        """Size and root by a checkpoint under the older policy for each change of those who vouch for the ledger."""
        notes, roots = list(self.basis.handovers), set[tuple[int, bytes]]()
        for old, new in zip(self.chain.links, self.chain.links[1:], strict=False):
            if vouchers(old.charter) == vouchers(new.charter):
                continue
            if not notes:
                change = f"charter {new.charter.version} changes the log key or the witnesses"
                under = f"no checkpoint under version {old.charter.version} shows that it stands in the ledger"
                raise CharterError(f"{change}, but {under}")
            checkpoint = self._checkpoint(old.charter, notes.pop(0)).checkpoint
            if checkpoint.size <= new.index:
                raise ProofError("a handover checkpoint is older than its amendment")
            roots.add((checkpoint.size, checkpoint.root))
        if notes:
            raise FormatError("evidence.handovers", "has a checkpoint that no amendment asks for")
        return roots
