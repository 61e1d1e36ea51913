"""Telemetry: batches of small typed events, one object each. No text of a user's has a place in them.

    {"category":"telemetry","records":[{"count":2,"outcome":"blocked","rule":"APT_Dropper","sha256":"9f2c…",
     "time":1800000000,"type":"detection"}],"schema":"glasshouse.telemetry/v1"}

A batch is canonical JSON: the members of every record are declared here in the order in which they are written, and
what is parsed and written again has to be what was sent. So nothing can ride along, neither in an unknown member nor
in a repeated one.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from glasshouse_verify.encoding import JSON
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from glasshouse.regions.errors import InvalidInput
from glasshouse.regions.metadata import MAX_SECONDS, refusal

SCHEMA = "glasshouse.telemetry/v1"
MAX_BATCH_BYTES = 8 << 20
MAX_RECORDS = 20_000

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Term = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._:/+~-]{0,95}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}$")]
Count = Annotated[int, Field(ge=1, le=2**31)]
Seconds = Annotated[int, Field(ge=0, le=MAX_SECONDS)]


class Strict(BaseModel):
    """A JSON object with the members listed and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Detection(Strict):
    """A rule matched a file, so many times, and what became of it."""

    count: Count
    outcome: Literal["blocked", "reported", "allowed"]
    rule: Term
    sha256: Digest
    time: Seconds
    type: Literal["detection"]


class Update(Strict):
    """A product or rule update was installed, or was not."""

    outcome: Literal["installed", "refused", "failed"]
    product: Term
    time: Seconds
    type: Literal["update"]
    version: Version


class Heartbeat(Strict):
    """A product runs."""

    platform: Term
    product: Term
    time: Seconds
    type: Literal["heartbeat"]
    version: Version


class Fault(Strict):
    """A component of a product failed."""

    component: Term
    count: Count
    product: Term
    time: Seconds
    type: Literal["fault"]
    version: Version


Record = Annotated[Detection | Update | Heartbeat | Fault, Field(discriminator="type")]


class Batch(Strict):
    """What one request carries."""

    category: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    records: Annotated[list[Record], Field(min_length=1, max_length=MAX_RECORDS)]
    format: Literal["glasshouse.telemetry/v1"] = Field(alias="schema")


def parse_batch(data: bytes) -> Batch:
    """Parse a batch; raises InvalidInput naming the member, for example `batch.records.17.detection.path`."""
    if len(data) > MAX_BATCH_BYTES:
        raise InvalidInput("batch", f"{len(data)} bytes", f"Send at most {MAX_BATCH_BYTES} at once.")
    try:
        batch = Batch.model_validate_json(data)
    except ValidationError as error:
        raise refusal(error, "batch") from error
    if _written(batch) != data:
        reason = "is not canonical JSON: space, another order, a repeated member, or another spelling"
        raise InvalidInput("batch", reason, "Write it as RFC 8785 says.")
    return batch


def format_batch(category: str, records: Sequence[Mapping[str, JSON]]) -> bytes:
    """A batch of records as JSON objects; raises InvalidInput for what `parse_batch` would not take."""
    try:
        batch = Batch.model_validate({"category": category, "records": records, "schema": SCHEMA})
    except ValidationError as error:
        raise refusal(error, "batch") from error
    return _written(batch)


def _written(batch: Batch) -> bytes:
    return batch.__pydantic_serializer__.to_json(batch, by_alias=True)
