"""Pages of an S3 listing, read from their own bytes.

They are asked for with encoding-type=url, since XML cannot carry every character that a key may have.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from glasshouse.relocation.errors import StoreLied

_ENTRIES = {"Contents", "Version", "DeleteMarker", "Upload"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One version, marker or unfinished upload, as listed."""

    key: bytes
    version: str | None
    marker: bool
    size: int
    modified: int
    tag: str
    upload: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """One answer: its entries in their order, and the members that say how it goes on."""

    entries: Sequence[Entry]
    ends: Mapping[str, str]

    @property
    def truncated(self) -> bool:
        """Whether the list goes on."""
        return self.ends.get("IsTruncated", "false").lower() == "true"

    def decoded(self, text: str) -> bytes:
        """A key as this page spells it."""
        return _decoded(text, self.ends.get("EncodingType") == "url")


def parse_page(body: bytes) -> Page:
    """Read one page of a listing. Raises StoreLied where it is none."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  expat refuses entities that grow, and reads no others
    except ElementTree.ParseError as error:
        reason = f"a list that is no XML ({error}): it does not honour encoding-type=url, and has a key that needs it"
        raise StoreLied(reason) from None
    ends = {_tag(child): child.text or "" for child in root if not len(child)}
    encoded = ends.get("EncodingType") == "url"
    entries = []
    for child in root:
        kind = _tag(child)
        if kind in _ENTRIES:
            members = {_tag(member): member.text or "" for member in child}
            entries.append(_entry(kind, members, encoded))
    return Page(entries=entries, ends=ends)


def _entry(kind: str, members: Mapping[str, str], encoded: bool) -> Entry:
    try:
        date = members["Initiated"] if kind == "Upload" else members["LastModified"]
        return Entry(
            key=_decoded(members["Key"], encoded),
            version=members.get("VersionId"),
            marker=kind == "DeleteMarker",
            size=int(members.get("Size", "0")),
            modified=int(datetime.datetime.fromisoformat(date).timestamp() * 1000),
            tag=members.get("ETag", ""),
            upload=members.get("UploadId", ""),
        )
    except (KeyError, ValueError) as error:
        raise StoreLied(f"a list with an entry that lacks or garbles {error}") from None


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _decoded(text: str, encoded: bool) -> bytes:
    return unquote_to_bytes(text.replace("+", " ")) if encoded else text.encode()
