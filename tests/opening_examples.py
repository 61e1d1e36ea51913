"""What docs/spec/relocation-http.md shows: a supervisor's request, what a site answers, and the lists and documents."""

from typing import Any

from glasshouse_verify.codec import encode
from glasshouse_verify.foreign import store_row
from leaving import SECRET
from world import NOW, digest

from glasshouse.relocation.descriptions import Described
from glasshouse.relocation.lists import ciphertext_row
from glasshouse.relocation.openings import ObjectFacts, Opening, Openings, OpeningsRequest, VersionFacts

KEY, CONTENT = b"contracts//2019/../a+b.pdf", b"a contract"


def openings_pages() -> dict[str, Any]:
    """Name → the example."""
    row = store_row(SECRET, KEY, 0, digest(CONTENT), len(CONTENT))
    request = OpeningsRequest(
        region="au",  # type: ignore[arg-type]
        relocation="au-2026",  # type: ignore[arg-type]
        site="zurich-1",  # type: ignore[arg-type]
        handles=(digest(b"handle"),),
        answer_key=bytes(range(32)),  # type: ignore[arg-type]
        time=NOW,
        id=digest(b"request"),
    )
    facts = ObjectFacts(
        category="suspicious",  # type: ignore[arg-type]
        customer="kookaburra",  # type: ignore[arg-type]
        retention=31_536_000,
        salt=digest(b"salt"),
    )
    sealed, key = digest(b"ciphertext"), bytes(range(32, 64))
    version = VersionFacts(key=KEY, ordinal=0, marker=False)
    marker = VersionFacts(key=KEY, ordinal=1, marker=True)
    answer = Openings(
        openings=(
            Opening(handle=digest(b"handle"), data_key=key, sealed=sealed, object=facts),
            Opening(handle=row["key"], data_key=key, sealed=sealed, version=version),
            Opening(handle=digest(b"marker"), version=marker),
            Opening(handle=digest(b"erased since")),
        )
    )
    described = Described(key=KEY, ordinal=0, size=len(CONTENT), content=digest(CONTENT))
    return {
        "openings-request": encode(request),
        "openings-answer": encode(answer),
        "ciphertext-row": dict(ciphertext_row(digest(b"handle"), sealed, 65_552)),
        "store-row": dict(row),
        "description": encode(described),
    }
