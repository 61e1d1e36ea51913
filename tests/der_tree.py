"""DER taken apart into a tree that a test can change, and put together again with the right lengths."""

from dataclasses import dataclass, field
from typing import Self

from glasshouse.supervision.der import Fields


@dataclass
class Node:
    """One value: `children` if it is constructed, else `content`."""

    tag: int
    content: bytes = b""
    children: list["Node"] = field(default_factory=list)

    @classmethod
    def load(cls, data: bytes) -> Self:
        (node,) = cls._load_all(data)
        return node

    @classmethod
    def _load_all(cls, data: bytes) -> list[Self]:
        fields, nodes = Fields(data, "test"), []
        rest = data
        while rest:
            element = fields.take(rest[0])
            rest = rest[len(element.encoded) :]
            if element.tag & 0x20:
                nodes.append(cls(element.tag, children=cls._load_all(element.content)))
            else:
                nodes.append(cls(element.tag, element.content))
        return nodes

    def dump(self) -> bytes:
        content = b"".join(child.dump() for child in self.children) or self.content
        return bytes([self.tag]) + encoded_length(len(content)) + content

    def __getitem__(self, path: int | tuple[int, ...]) -> "Node":
        node: Node = self
        for step in (path,) if isinstance(path, int) else path:
            node = node.children[step]
        return node


def encoded_length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
