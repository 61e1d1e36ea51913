"""DER (X.690, clause 10), read strictly: every value has one spelling, and nothing is left over.

    fields = Fields(parse(data, SEQUENCE, "token").content, "token")
    version = fields.take(INTEGER)
    extra = fields.take_optional(context(1))
    fields.finish()

Lengths are definite and minimal, tags have one octet, integers are minimal. What no caller takes is refused, so bytes
cannot ride along unread.
"""

from dataclasses import dataclass

from glasshouse.supervision.errors import SignatureRefused

BOOLEAN, INTEGER, OCTET_STRING, OBJECT_IDENTIFIER = 0x01, 0x02, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME = 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31
_MULTIPLE_OCTETS = 0x1F


def context(number: int) -> int:
    """The identifier octet of a constructed context-specific tag."""
    return 0xA0 | number


@dataclass(frozen=True, kw_only=True)
class Element:
    """One value: its identifier octet, its content octets, and the whole of it as it was read."""

    tag: int
    content: bytes
    encoded: bytes


class Fields:
    """The values that follow each other in some content octets; `where` names them in errors."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._at, self._where = data, 0, where

    def take(self, *tags: int) -> Element:
        """The next value, which must have one of `tags`; raises SignatureRefused."""
        found = self._next()
        if found is None or found.tag not in tags:
            raise SignatureRefused(f"the {self._where} lacks a field, or has another one in its place")
        self._at += len(found.encoded)
        return found

    def take_optional(self, tag: int) -> Element | None:
        """The next value if it has this tag."""
        return self.take(tag) if self._at < len(self._data) and self._data[self._at] == tag else None

    def take_all(self, tag: int) -> tuple[Element, ...]:
        """All values that are left, which must have this tag."""
        found = []
        while self._at < len(self._data):
            found.append(self.take(tag))
        return tuple(found)

    def finish(self) -> None:
        """Raise SignatureRefused where something is left."""
        if self._at != len(self._data):
            raise SignatureRefused(f"the {self._where} holds more than its fields")

    def _next(self) -> Element | None:
        rest = memoryview(self._data)[self._at :]
        if not rest:
            return None
        length, start = self._length(rest)
        if rest[0] & _MULTIPLE_OCTETS == _MULTIPLE_OCTETS or start + length > len(rest):
            raise SignatureRefused(f"the {self._where} is not DER")
        encoded = bytes(rest[: start + length])
        return Element(tag=encoded[0], content=encoded[start:], encoded=encoded)

    def _length(self, rest: memoryview) -> tuple[int, int]:
        """The length of the content octets, and where they start."""
        if len(rest) >= 2 and rest[1] < 0x80:
            return rest[1], 2
        octets = rest[1] & 0x7F if len(rest) >= 2 else 0
        if 1 <= octets <= 4 and len(rest) >= 2 + octets:
            length = int.from_bytes(rest[2 : 2 + octets], "big")
            if length >= max(0x80, 1 << 8 * (octets - 1)):
                return length, 2 + octets
        raise SignatureRefused(f"the {self._where} is not DER: a length is indefinite, too long or not minimal")


def parse(data: bytes, tag: int, where: str) -> Element:
    """The one value that `data` is; raises SignatureRefused for another tag or for bytes after it."""
    fields = Fields(data, where)
    found = fields.take(tag)
    fields.finish()
    return found


def integer(element: Element, where: str) -> int:
    """The number of an INTEGER; raises SignatureRefused where it is negative or not minimal."""
    value = int.from_bytes(element.content, "big", signed=True)
    if value < 0 or len(element.content) != value.bit_length() // 8 + 1:
        raise SignatureRefused(f"the {where} is not a number in DER")
    return value
