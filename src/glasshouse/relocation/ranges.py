"""Where to cut a range of keys in two, without having listed it.

A key that stands somewhere in the middle is guessed, and the store is asked for the first key after the guess. Where
there is none, the guess was too high: the next lies between the beginning and the last. How much all keys of the range
share is found out before, so that keys with a long common prefix are cut as well as any.
"""

from itertools import islice

from glasshouse.relocation.stores.interface import Source

_GUESSES = 24
_DIGITS = 8
# No byte of UTF-8 is above 0xf4.
_END = b"\xf5"
_LAST_CHARACTER = "\U0010ffff".encode()


def middle_key(source: Source, after: bytes, upto: bytes | None) -> bytes | None:
    """A key of the store with after < key < upto, somewhere in the middle; None where none was found."""
    low, high = after, after[: _shared(source, after, upto)] + _END
    if upto is not None and upto < high:
        high = upto
    for _ in range(_GUESSES):
        guess = between(low, high)
        if guess is None:
            return None
        found = _first(source, guess, upto)
        if found is not None and found != upto:
            return found
        high = guess
    return None


def _first(source: Source, after: bytes, upto: bytes | None) -> bytes | None:
    found = next(islice(source.list(after, upto), 1), None)
    return None if found is None else found.key


def _shared(source: Source, after: bytes, upto: bytes | None) -> int:
    """How many bytes of `after` every key of the range begins with."""
    low, high = 0, len(after)
    while low < high:
        length = (low + high + 1) // 2
        beyond = _text(after[:length]) + _LAST_CHARACTER
        if beyond > after and _first(source, beyond, upto) is None:
            low = length
        else:
            high = length - 1
    return low


def between(low: bytes, high: bytes | None) -> bytes | None:
    """A text with low < text < high, in UTF-8, near the middle; None where there is no room. No `high` is the end."""
    shared = 0
    while high is not None and shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    one = int.from_bytes(low[shared:][:_DIGITS].ljust(_DIGITS, b"\0"), "big")
    other = int.from_bytes((_END if high is None else high[shared:])[:_DIGITS].ljust(_DIGITS, b"\0"), "big")
    raw = low[:shared] + ((one + other) // 2).to_bytes(_DIGITS, "big").rstrip(b"\0")
    text = _text(raw)
    return text if text > low and (high is None or text < high) else None


def _text(raw: bytes) -> bytes:
    """UTF-8 that is close to these bytes: what is no character becomes a plain one."""
    return raw.decode(errors="replace").replace("\ufffd", "~").encode()
