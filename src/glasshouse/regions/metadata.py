"""What a product may say of a file that it sends: these members, all optional but the category, and nothing else.

    {"category":"suspicious","detection":"HEUR:Trojan.Script","name":"invoice.js","product":"engine 4.2"}

They travel in the header Glasshouse-Metadata (base64url of canonical JSON) and are sealed with the content. A member
that is not listed is refused by name. No path, user, host or address has a place here.
"""

import base64
import binascii
from typing import Annotated, Any, Literal

from glasshouse_verify.encoding import JSON, format_json, parse_json
from glasshouse_verify.errors import FormatError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from glasshouse.regions.errors import InvalidInput

MAX_METADATA_BYTES = 4_096
MAX_SECONDS = 2**40
_PLAIN = r"^[ -~]{1,128}$"

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Plain = Annotated[str, StringConstraints(pattern=_PLAIN)]
Category = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class FileMetadata(BaseModel):
    """The members. `seen` is Unix seconds; `found` says what brought the file up."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    category: Category
    name: Name | None = None
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}$")] | None = None
    detection: Plain | None = None
    product: Plain | None = None
    platform: Plain | None = None
    found: Literal["heuristics", "rule", "reputation", "sandbox", "person"] | None = None
    seen: Annotated[int, Field(ge=0, le=MAX_SECONDS)] | None = None


MEMBERS = tuple(FileMetadata.model_fields)


def parse_metadata(header: str | None) -> FileMetadata:
    """The metadata of an upload; raises InvalidInput naming the member."""
    if header is None:
        fix = "Send base64url of canonical JSON, at least its member category."
        raise InvalidInput("Glasshouse-Metadata", "is missing", fix)
    try:
        padded = header + "=" * (-len(header) % 4)
        value = parse_json(base64.b64decode(padded, altchars=b"-_", validate=True), "metadata", MAX_METADATA_BYTES)
    except (ValueError, binascii.Error):
        raise InvalidInput("Glasshouse-Metadata", "is no base64url", "Encode the canonical JSON so.") from None
    except FormatError as error:
        raise InvalidInput("metadata", error.reason, "Send canonical JSON (RFC 8785).") from error
    return check_metadata(value)


def check_metadata(value: JSON) -> FileMetadata:
    """Metadata as a JSON value; raises InvalidInput naming the member."""
    try:
        metadata = FileMetadata.model_validate(value)
    except ValidationError as error:
        raise refusal(error, "metadata") from error
    if metadata.name is not None and not is_plain_name(metadata.name):
        fix = "Send the last part of the path alone."
        raise InvalidInput("metadata.name", "is not the name of a file without any directory", fix)
    return metadata


def is_plain_name(name: str) -> bool:
    """Whether a name is one file's, without separators, control characters or surrogates."""
    if name in (".", "..") or any(char in "/\\" or char < " " or char == "\x7f" for char in name):
        return False
    return not any("\ud800" <= char <= "\udfff" for char in name)


def format_metadata(metadata: dict[str, JSON]) -> str:
    """The header's value for a JSON object that `check_metadata` accepts."""
    return base64.urlsafe_b64encode(format_json(metadata)).decode().rstrip("=")


def as_json(metadata: FileMetadata) -> dict[str, JSON]:
    """What is sealed with the content: the members that were sent."""
    said: dict[str, Any] = metadata.model_dump(exclude_none=True)
    return said


def refusal(error: ValidationError, where: str) -> InvalidInput:
    """What pydantic found, as an error that names the member and the fix."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join((where, *(str(part) for part in first["loc"])))
    if first["type"] == "extra_forbidden":
        fix = f"Remove it; nothing else than what the specification lists is taken ({where})."
        return InvalidInput(field, "is not a known field", fix)
    if first["type"] == "missing":
        return InvalidInput(field, "is missing", "Add it.")
    return InvalidInput(field, first["msg"], "See the page intake-http of the documentation.")
