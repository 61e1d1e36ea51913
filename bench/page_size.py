"""Bytes of the HTML page of evidence: of a release of four files, three rebuilds, five amendments and 20,000 files.

It holds the evidence that `evidence_size` measures, which is far more than a first release has: the demo's pages are
smaller.
"""

from bench import Figure
from bench.evidence_size import long_evidence, world
from glasshouse.cli.page.writing import script, write_page

LIMIT_BYTES = 150_000


def run() -> Figure:
    """Sizes in bytes."""
    ledger, data, _ = long_evidence()
    page = write_page(data, ledger.pin, world.NOW, "engine-2.0.whl.evidence").html
    return {
        "name": "page_size",
        "ours": len(page),
        "limit": LIMIT_BYTES,
        "ratio": LIMIT_BYTES / len(page),
        "unit": "bytes",
        "target": f"at most {LIMIT_BYTES:,} bytes",
        "notes": f"evidence {len(data):,}, pinned charter {len(ledger.pin):,}, script {len(script().encode()):,}",
    }
