"""The order of Debian versions (deb-version(7)), such as 1:2.3~rc1-4+deb12u1.

Epoch, upstream version and revision are compared in turn. Within the latter two, runs of non-digits and runs of digits
alternate: non-digits compare letter by letter, where `~` sorts before the end and letters before everything else;
digits compare as numbers.
"""

from __future__ import annotations

import re
from typing import TypeAlias

# A run of non-digits as ranks of its characters, then the number after it.
_Part: TypeAlias = tuple[tuple[int, ...], int]
_MAX_PARTS = 64
VersionKey: TypeAlias = tuple[int, tuple[_Part, ...], tuple[_Part, ...]]


def version_key(version: str) -> VersionKey:
    """A key that sorts versions as dpkg does, for versions that dpkg accepts."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return (int(epoch) if epoch.isascii() and epoch.isdigit() else 0, _parts(upstream), _parts(revision))


def _parts(text: str) -> tuple[_Part, ...]:
    """The parts, filled up with empty ones: "1" and "1~" differ where one has ended and the other goes on."""
    found = re.findall(r"([^0-9]*)([0-9]*)", text)[:_MAX_PARTS]
    found += [("", "")] * (_MAX_PARTS - len(found))
    return tuple((_ranks(words), int(digits or 0)) for words, digits in found)


def _ranks(words: str) -> tuple[int, ...]:
    return (*(-1 if char == "~" else ord(char) if char.isalpha() else ord(char) + 256 for char in words), 0)
