"""An auditor beside a region in memory: it follows when it is told to, and keeps books of its own."""

from pathlib import Path

from glasshouse_verify.dsse import format_envelope
from glasshouse_verify.statement import Use, parse_statement
from onlookers import alarms
from world import World

from glasshouse.ledger.errors import NotThere
from glasshouse.supervision.auditor import Auditor
from glasshouse.supervision.inventories import Books

RULES = ("inventory-sites", "inventory-rows", "inventory-counts", "inventory-dates")


class Overseeing(World):
    """To be mixed into a world. Close `books` in the end."""

    def oversee(self, place: Path) -> None:
        self.books = Books(place / "books.sqlite3")
        self.auditor = self.open_auditor(self.books)

    def open_auditor(self, books: Books, party: str = "lab") -> Auditor:
        return Auditor(
            party,
            self.keys[party],
            self,  # type: ignore[arg-type]
            self.history,
            proposes=False,
            has_blob=self.blobs.__contains__,
            get_blob=self.get,
            books=books,
        )

    def get(self, sha: str) -> bytes:
        if sha not in self.blobs:
            raise NotThere(sha)
        return self.blobs[sha]

    def audit(self) -> list[Use]:
        """Let the auditor log what follows; returns the kinds."""
        postings = self.auditor.step(self.now)
        for posting in postings:
            self.post_entry(format_envelope(posting.envelope))
        return [parse_statement(posting.envelope.payload).use for posting in postings]

    def said(self) -> dict[str, list[str]]:
        """Rule → what it says, of the rules about inventories."""
        return {rule: texts for rule, texts in alarms(self).items() if rule in RULES}
