"""Examples of what a region's sites say: one object of one customer, from its receipt to its tombstone."""

from typing import Any

from glasshouse_verify.access import Access, Step
from glasshouse_verify.codec import encode
from glasshouse_verify.manifest import ManifestTree
from glasshouse_verify.receipt import Counts, Inspection, Inventory, Reason, Receipt, Tombstone
from glasshouse_verify.region import Category, Custody, Kind, Mode, Moving, Origin, Region, RegionSite, Shortage
from glasshouse_verify.relocation import Relocation
from glasshouse_verify.relocation import Step as MoveStep
from glasshouse_verify.row import Row
from glasshouse_verify.shards import Sharded, shard_leaf
from glasshouse_verify.statement import Predicate, Use
from glasshouse_verify.tree import Frontier
from world import NOW, digest

DEPTH = 1


def receipt() -> Receipt:
    return Receipt(
        party="acme",
        region="au",
        site="zurich-1",
        country="AU",
        customer="kookaburra",
        epoch=3,
        number=1042,
        handle=digest(b"handle"),
        salt=digest(b"salt"),
        sha256=digest(b"suspicious file"),
        size=15,
        category="suspicious",
        retention=31_536_000,
        charter=digest(b"charter"),
        time=NOW,
        customer_key=bytes.fromhex(digest(b"a public key")),
    )


def tombstone() -> Tombstone:
    return Tombstone(
        key=digest(b"handle"), reason=Reason.RETENTION, removed=NOW + 31_536_000, residue_until=NOW + 34_128_000
    )


def sharded(rows: list[Row]) -> Sharded:
    above = Frontier()
    for number in range(16**DEPTH):
        tree = ManifestTree([row for row in rows if int(str(row["key"])[:DEPTH], 16) == number])
        above.append(shard_leaf(f"{number:x}", tree.root.hex(), tree.size))
    return Sharded(root=above.root().hex(), size=len(rows), depth=DEPTH)


def inventory() -> Inventory:
    counts = Counts(
        received=2,
        refused=1,
        stored=1,
        pending=1,
        analysed=0,
        dead=0,
        erased_before_analysis=0,
        erased=0,
        held=1,
        on_hold=0,
    )
    return Inventory(
        party="acme",
        region="au",
        site="zurich-1",
        epoch=3,
        held=sharded([receipt().row]),
        erased=sharded([]),
        delta=digest(b"delta"),
        journals={"zurich-1": 1, "zurich-2": 0},
        receipts={"zurich-1": 1042, "zurich-2": 0},
        counts=counts,
        charter=digest(b"charter"),
        time=NOW,
        previous=digest(b"inventory 2"),
    )


def statements() -> dict[Use, Predicate]:
    """A statement of every kind, each with all its optional members."""
    both = tuple(sorted((digest(b"inventory of zurich-1"), digest(b"inventory of zurich-2"))))
    shown = inventory()
    return {
        Use.RECEIPT: receipt(),
        Use.INVENTORY: shown,
        Use.INSPECTION: Inspection(
            party="lab", region="au", epoch=3, inventories=both, held=shown.held, erased=shown.erased, time=NOW
        ),
        Use.ACCESS: Access(
            party="acme",
            region="au",
            step=Step.REQUEST,
            time=NOW,
            site="zurich-1",
            about=digest(b"handle and nonce"),
            purpose="false alarm reported by the customer",
            request=digest(b"an earlier request"),
            uses=1,
            until=NOW + 3_600,
            counts={"analysis": 12},
        ),
        Use.RELOCATION: fence(),
    }


def fence() -> Relocation:
    return Relocation(
        party="acme",
        region="au",
        relocation="au-2026",
        step=MoveStep.FENCE,
        time=NOW,
        previous=(digest(b"listing"),),
        site="moscow",
        epoch=8,
        rows=sharded([receipt().row]),
        size=15,
        refused=41,
        at_ms=NOW * 1_000 + 250,
        inventory=digest(b"inventory of moscow"),
    )


def moving() -> Moving:
    return Moving(
        id="au-2026",
        source=Origin.SITE,
        site="moscow",
        to=region().sites,
        replicas=2,
        due=NOW + 2_592_000,
        quarantine=604_800,
        watch=2_592_000,
        supervisor="lab",
    )


def region() -> Region:
    sites = {
        f"zurich-{n}": RegionSite(
            party="acme",
            url=f"https://zurich-{n}.acme.example",
            peer=f"https://zurich-{n}.acme.example:8444",
            certificate=b"DER of the certificate",
        )
        for n in (1, 2)
    }
    return Region(
        name="Australia",
        countries=("AU",),
        epoch=1,
        sites=sites,
        replicas=2,
        when_short=Shortage.REFUSE,
        custody=Custody(
            mode=Mode.DUAL,
            party="council",
            url="https://custody.council.example",
            key=bytes.fromhex(digest(b"an X25519 key")),
        ),
        categories={
            "suspicious": Category(kind=Kind.FILE, retention=31_536_000),
            "telemetry": Category(kind=Kind.TELEMETRY, retention=7_776_000),
        },
        interval=86_400,
    )


def metadata() -> dict[str, Any]:
    """What is said of a file, with every member."""
    return {
        "category": "suspicious",
        "detection": "HEUR:Trojan.Script.Generic",
        "found": "heuristics",
        "media_type": "text/javascript",
        "name": "invoice.js",
        "platform": "linux-x86_64",
        "product": "acme/engine 4.2",
        "seen": NOW,
    }


def telemetry() -> dict[str, Any]:
    """A batch with a record of every type."""
    product = {"product": "acme/engine", "time": NOW, "version": "4.2"}
    detection = {"count": 2, "outcome": "blocked", "rule": "APT_Dropper", "sha256": digest(b"file"), "time": NOW}
    return {
        "category": "telemetry",
        "records": [
            {**detection, "type": "detection"},
            {"outcome": "installed", **product, "type": "update"},
            {"platform": "linux-x86_64", **product, "type": "heartbeat"},
            {"component": "unpacker", "count": 1, **product, "type": "fault"},
        ],
        "schema": "glasshouse.telemetry/v1",
    }


def records() -> dict[str, Any]:
    """Name → the JSON value that a page shows, of what is no statement."""
    return {
        "region": {"au": encode(region())},
        "moving": {"moving": encode(moving())},
        "tombstone": encode(tombstone()),
        "inventory-row": dict(receipt().row),
        "intake-metadata": metadata(),
        "telemetry": telemetry(),
    }
