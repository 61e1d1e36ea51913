"""A move of Australia's data as a report tells it: statements as the parties sign them, without a ledger around."""

from dataclasses import replace
from typing import Any

from glasshouse_verify.charter import Charter
from glasshouse_verify.codec import decode, encode
from glasshouse_verify.dsse import Envelope, statement_id
from glasshouse_verify.region import Origin
from glasshouse_verify.relocation import Fault, Relocation, Remaining, Step, commitment_of
from glasshouse_verify.shards import Sharded
from glasshouse_verify.statement import Use, make_statement, parse_statement
from world import DAY, NOW, World, digest

from glasshouse.cli.relocating.tale import Tale, tell
from glasshouse.ledger.history import Record

OBJECTS, SIZE = 20_500, 600 << 20
PROMISED = NOW + 5 * DAY


def charter() -> Charter:
    """The test world's charter, with a second site in Zurich."""
    document = encode(World().history.chain.newest.charter)
    document["sites"]["zurich-2"] = {"name": "Zurich, data centre 2", "jurisdiction": "CH"}
    made: Charter = decode(Charter, document, "charter")
    return made


def rows(size: int = OBJECTS) -> Sharded:
    return Sharded(root=digest(b"rows" + bytes([size % 251])), size=size, depth=4)


def steps(*, refused: bool = False, alarmed: bool = False, until: Step = Step.WATCH) -> list[Record]:
    """The move up to a step; with a refusal before the countersignature, or an alarm at the end, where asked for."""
    here = {"site": "moscow"}
    secret = b"s" * 32
    said: list[tuple[str, Step, dict[str, Any]]] = [
        ("acme", Step.SCOPE, {**here, "to": ("zurich-1", "zurich-2"), "source": Origin.SITE, "document": digest(b"s")}),
        ("lab", Step.COMMITMENT, {"commitment": commitment_of("au-2026", "lab", secret)}),
        ("ngo", Step.COMMITMENT, {"commitment": commitment_of("au-2026", "ngo", secret)}),
        ("acme", Step.OPEN, {**here, "epoch": 7, "charter": digest(b"charter")}),
        ("acme", Step.SOURCE, {**here, "epoch": 7, "rows": rows(), "size": SIZE}),
        ("lab", Step.LISTING, {**here, "rows": rows()}),
        ("acme", Step.FENCE, {**here, "epoch": 9, "rows": rows(), "size": SIZE, "refused": 41, "at_ms": NOW * 1000}),
    ]
    for site in ("zurich-1", "zurich-2"):
        arrived = {"site": site, "rows": rows(), "size": SIZE, "sealed": rows(), "at_ms": NOW * 1000 + 800}
        said.append(("acme", Step.ARRIVAL, arrived))
    said += [("lab", Step.REVEAL, {"secret": secret}), ("ngo", Step.REVEAL, {"secret": secret})]
    if refused:
        fault = Fault(site="zurich-2", text="the ciphertext has another digest", handle=digest(b"handle"))
        said.append(("lab", Step.REFUSAL, {"faults": (fault,)}))
    read = {"seed": digest(b"seed"), "read": {"zurich-1": 4_603, "zurich-2": 4_603}, "full": False}
    erased = {"objects": OBJECTS, "versions": 0, "markers": 0, "uploads": 3, "keys": 2}
    kept = (Remaining(name="contracts/2024.pdf", until=NOW + 90 * DAY),)
    said += [
        ("lab", Step.COUNTERSIGN, read),
        ("acme", Step.QUARANTINE, {**here, "until": NOW + DAY}),
        (
            "acme",
            Step.ERASURE,
            {**here, "charter": digest(b"closed"), "erased": erased, "remains": kept, "rows": rows(0)},
        ),
        ("lab", Step.RESAMPLE, read),
        ("lab", Step.WATCH, {**here, "tried": {"reads": 96, "writes": 96}, "until": NOW + 30 * DAY}),
    ]
    if alarmed:
        said.append(("lab", Step.ALARM, {"faults": (Fault(site="moscow", text="a read was answered"),)}))
    last = max(number for number, (_, step, _) in enumerate(said) if step in (until, Step.ALARM if alarmed else until))
    return _records(said[: last + 1])


def tale(**asked: Any) -> Tale:
    return tell(steps(**asked), charter(), "Australia", NOW + 2 * DAY, promised=PROMISED)


def late(told: Tale) -> Tale:
    return replace(told, promised=NOW - DAY)


def _records(said: list[tuple[str, Step, dict[str, Any]]]) -> list[Record]:
    records: list[Record] = []
    for number, (party, step, members) in enumerate(said):
        says = Relocation(
            party=party,
            region="au",
            relocation="au-2026",
            step=step,
            time=NOW + number * 3_600,
            previous=() if step == Step.SCOPE else (records[-1].id,),
            **members,
        )
        payload = make_statement(Use.RELOCATION, says)
        envelope = Envelope(payload=payload, signatures=())
        made = parse_statement(payload)
        records.append(
            Record(index=100 + number, id=statement_id(payload), envelope=envelope, statement=made, keyids=())
        )
    return records
