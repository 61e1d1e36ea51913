"""Where to cut a range of keys in two, without having listed it.

A key that stands somewhere in the middle is guessed, and the store is asked for the first key after the guess. Where
there is none, the guess was too high: the next lies between the beginning and the last. Guesses are made on the bytes
that follow what both ends share, so that keys with a long common prefix are cut as well as any.
"""

from itertools import islice

from glasshouse.relocation.stores.interface import Source

_GUESSES = 24
_DIGITS = 8


def middle_key(source: Source, after: bytes, upto: bytes | None) -> bytes | None:
    """A key of the store with after < key < upto, somewhere in the middle; None where none was found."""
    low, high = after, upto
    for _ in range(_GUESSES):
        guess = between(low, high)
        if guess is None:
            return None
        found = next(islice(source.list(guess, upto), 1), None)
        if found is not None and found.key != upto:
            return found.key
        high = guess
    return None


def between(low: bytes, high: bytes | None) -> bytes | None:
    """A text with low < text < high, in UTF-8, near the middle; None where there is no room. No `high` is the end."""
    shared = 0
    while high is not None and shared < min(len(low), len(high)) and low[shared] == high[shared]:
        shared += 1
    one = int.from_bytes(low[shared:][:_DIGITS].ljust(_DIGITS, b"\0"), "big")
    # No byte of UTF-8 is above 0xf4.
    other = int.from_bytes((b"\xf5" if high is None else high[shared:])[:_DIGITS].ljust(_DIGITS, b"\0"), "big")
    raw = low[:shared] + ((one + other) // 2).to_bytes(_DIGITS, "big").rstrip(b"\0")
    # What is no whole character at the end is cut; one in the middle of the bytes is taken for a plain letter.
    text = raw.decode(errors="replace").replace("\ufffd", "~").encode()
    return text if text > low and (high is None or text < high) else None
