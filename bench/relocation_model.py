"""What 10^9 objects would take: time, requests, cost and proof sizes, by a model that is held against measured points.

Seconds of a move = objects × a + bytes × b, of one worker process; a and b come from two measured sizes, and predict a
third that is measured too. The figure is how far the prediction is off there: the larger of the two over the smaller.
"""

import secrets

from glasshouse_verify.codec import encode
from glasshouse_verify.encoding import format_json
from glasshouse_verify.foreign import store_row
from glasshouse_verify.row import Row, format_row
from glasshouse_verify.tlog import leaf_hash

from bench import Figure
from bench.relocation_memory import alone
from glasshouse.regions.shards import DEPTH, ShardTree, shard_root

OBJECTS = 10**9
OBJECT_BYTES = 256 << 10
PROCESSES = 64
SMALL, LARGE, MIDDLE = (2_000, 4 << 10), (120, 1 << 20), (800, 64 << 10)
# Per version: the old site reads it once; each of two destinations reads it, writes, reads back, reads once more.
READS, WRITES = 1 + 2 * 3, 2
# Dollars for 1,000 requests, as large providers list them; set your own.
READ_PRICE, WRITE_PRICE = 0.0004, 0.005
LIMIT = 1.5
ROW_BYTES = 152
SEALED_ROW_BYTES = 170
DATABASE_ROW_BYTES = 900


def run() -> Figure:
    """Measure three points, and say what the model makes of the first two."""
    points = {shape: sum(seconds for seconds, _ in alone(*shape).values()) for shape in (SMALL, LARGE, MIDDLE)}
    each, byte = fitted(points)
    predicted, measured = MIDDLE[0] * (each + MIDDLE[1] * byte), points[MIDDLE]
    off = max(predicted / measured, measured / predicted)
    hours = OBJECTS * (each + OBJECT_BYTES * byte) / PROCESSES / 3_600
    cost = OBJECTS / 1_000 * (READS * READ_PRICE + WRITES * WRITE_PRICE)
    proof = proof_bytes()
    return {
        "name": "relocation_model",
        "ours": off,
        "limit": LIMIT,
        "ratio": LIMIT / off,
        "unit": "times",
        "target": f"<= {LIMIT}",
        "notes": f"{each * 1e6:.0f} µs an object and {byte * 1e9:.2f} ns a byte for inventory, copy and arrival; "
        f"{MIDDLE[0]} × {MIDDLE[1] >> 10} KiB predicted {predicted:.1f} s, measured {measured:.1f} s. "
        f"10^9 objects of {OBJECT_BYTES >> 10} KiB with {PROCESSES} processes: {hours:,.0f} hours, "
        f"{OBJECTS * (READS + WRITES) / 1e9:.0f} × 10^9 requests ({cost:,.0f} dollars at {READ_PRICE} and "
        f"{WRITE_PRICE} for 1,000), lists of {OBJECTS * (ROW_BYTES + SEALED_ROW_BYTES) / 1e9:.0f} GB and a database of "
        f"{OBJECTS * DATABASE_ROW_BYTES / 1e12:.1f} TB at each destination; proof of one row {proof:,} bytes",
    }


def fitted(points: dict[tuple[int, int], float]) -> tuple[float, float]:
    """Seconds for an object, and for a byte, from two points."""
    (few, small), (many, large) = LARGE, SMALL
    a1, b1, c1 = few, few * small, points[LARGE]
    a2, b2, c2 = many, many * large, points[SMALL]
    det = a1 * b2 - a2 * b1
    return (c1 * b2 - c2 * b1) / det, (a1 * c2 - a2 * c1) / det


def proof_bytes() -> int:
    """Of one row of a shard as long as a shard of 10^9 rows is, in a tree of the real depth."""
    secret = secrets.token_bytes(32)
    rows: list[Row] = []
    number = 0
    while len(rows) < OBJECTS // 16**DEPTH:
        row = dict(store_row(secret, b"%d" % number, 0, "00" * 32, 0))
        row["key"] = "0" * DEPTH + str(row["key"])[DEPTH:]
        rows.append(row)
        number += 1
    rows.sort(key=lambda row: str(row["key"]))
    tree = ShardTree(DEPTH)
    tree.put("0" * DEPTH, *shard_root([leaf_hash(format_row(row)) for row in rows]))
    return len(format_json(encode(tree.prove(rows, str(rows[len(rows) // 2]["key"])))))
