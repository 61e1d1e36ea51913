"""A demo's stage as a run leaves it, without a run: the world's honest file, a record, and the ground below them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from evidence_cases import honest
from glasshouse_verify.charter import Chain
from glasshouse_verify.evidence import format_evidence
from glasshouse_verify.note import parse_note
from glasshouse_verify.policy import check_checkpoint
from world import FILE, NOW, SHIPPED

from glasshouse.cli.demo.record import Placed, Played, Proof, Record, Seen, Told
from glasshouse.cli.demo.report import Ground
from glasshouse.cli.page.writing import write_page

LONG = "a-very-long-name-of-a-file-that-has-to-break-somewhere_" * 3 + ".whl"


def proof(topic: str = "", about: str = FILE, claim: str = "so it is", by: str = "lab, second") -> Proof:
    return Proof(
        about=about, claim=claim, by=by, how="glasshouse ledger entry 1 --ledger http://127.0.0.1:1", topic=topic
    )


def played(name: str = "backdoor", **changes: Any) -> Played:
    seen = {"caught": True, "by": "lab, customer", "seen": "the file in hand is 5bb1d8d33d823a05…", "exit": 3} | changes
    return Played(name=name, row="R1", title="a cheat of some sort", **asdict(Seen(**seen)))


def record(*cheats: Played) -> Record:
    """Chapters about files, one with cheats and something else proven, one about data and where it lies."""
    chapters = (
        Told(name="charter", title="the charter is signed", began=NOW, seconds=3.0),
        Told(name="rebuild", title="it is rebuilt", began=NOW + 3, seconds=60.5, proven=(proof("rebuild"),)),
        Told(
            name="check",
            title="it is checked",
            began=NOW + 64,
            seconds=2.5,
            proven=(
                proof("charter", by="acme"),
                proof("file", by="you"),
                proof(about="the conveyor", claim="it moved"),
            ),
        ),
        Told(name="cheats", title="cheats are played", began=NOW + 67, seconds=4.0, played=cheats),
        Told(
            name="data",
            title="data stays where it may live",
            began=NOW + 71,
            seconds=30.0,
            proven=(proof(about="a file", claim="it was erased"),),
            placed=tuple(
                Placed(country=country, site=site, jurisdiction=place)
                for country, site, place in (("AU", "zurich-1", "CH"), ("AU", "zurich-2", "CH"), ("JP", "moscow", "RU"))
            ),
        ),
    )
    return Record(told={told.name: told for told in chapters})


def lay_out(root: Path) -> Ground:
    """Put file, evidence, evidence page and a download that nobody has checked into a stage; returns its ground."""
    world = honest()
    evidence = world.evidence()
    for name in ("downloads", "evidence"):
        (root / name).mkdir()
    (root / "downloads" / FILE).write_bytes(SHIPPED)
    (root / "downloads" / f"{FILE}.sig").write_bytes(b"{}")
    (root / "downloads" / LONG).write_bytes(b"")
    data = format_evidence(evidence)
    (root / "evidence" / f"{FILE}.evidence").write_bytes(data)
    (root / "evidence" / f"{FILE}.html").write_bytes(write_page(data, world.pin, NOW, f"{FILE}.evidence").html)
    charter = Chain(world.pin).newest.charter
    cosigned = check_checkpoint(charter.policy, parse_note(evidence.checkpoint.encode()))
    return Ground(pin=world.pin, charter=charter, cosigned=cosigned, note=evidence.checkpoint)
