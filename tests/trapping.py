"""The world with a trap in it: members whose keys may sign traps, one that is committed to, released and opened."""

from typing import Any

from glasshouse_verify.statement import RebuiltFile, ReleasedFile, Use, Verdict, make_statement
from glasshouse_verify.trap import BuiltFile, Trap, TrapOpening, wrong_digests
from world import DAY, FILE, NOW, PLATFORM, SHIPPED, USES, World, digest, seeded

NONCE = digest(b"nonce")
MEMBERS = ("acme", "lab", "ngo")
VERSION = "9.9"


class Trapping(World):
    """The initiative; `lay` makes a trap of its product, `open` opens it."""

    def __init__(self) -> None:
        keys = {name: {seeded(name).keyid: {"uses": [*USES[name], "trap"]}} for name in MEMBERS}
        super().__init__(parties={name: {"keys": keys[name]} for name in MEMBERS})

    def lay(self, *signers: str, late: bool = False, sha256: str | None = None) -> str:
        """Log the commitment of the members named and the release, in this order unless `late`; returns its id."""
        file = ReleasedFile(platform=PLATFORM, name=FILE, sha256=sha256 or wrong_digests(NONCE, PLATFORM, FILE)[0])
        source = self.source(VERSION)
        asked: dict[str, Any] = {
            "files": (file,),
            "source": source,
            "provenance": self.provenance(source, file, "acme"),
        }
        # The same statement in a world of its own: its id is known before it is logged.
        identity = World().release(VERSION, **asked)
        said = Trap(party="acme", commitment=opening(identity).commitment, time=NOW - DAY)
        if late:
            self.release(VERSION, **asked)
        if signers:
            self.post(make_statement(Use.TRAP, said), *signers)
        if not late:
            self.release(VERSION, **asked)
        return identity

    def open(self, release: str, party: str = "ngo", **changes: Any) -> str:
        """Log a member's opening; returns its id."""
        opened = opening(release, **changes)
        said = Trap(party=party, commitment=opened.commitment, time=NOW, opening=opened)
        return self.post(make_statement(Use.TRAP, said), party)

    def differs(self, release: str, party: str, got: bytes = SHIPPED) -> str:
        """Log the verdict of a party that got these bytes; returns its id."""
        file = self.statement(release).files[0]
        rebuilt = RebuiltFile(
            platform=PLATFORM, name=FILE, shipped=file.sha256, verdict=Verdict.DIFFERS, rebuilt=digest(got)
        )
        return self.rebuild(release, party, Verdict.DIFFERS, files=(rebuilt,))


def opening(release: str, nonce: str = NONCE, built: bytes = SHIPPED) -> TrapOpening:
    """What opens the trap."""
    return TrapOpening(
        release=release, nonce=nonce, built=(BuiltFile(platform=PLATFORM, name=FILE, sha256=digest(built)),)
    )
