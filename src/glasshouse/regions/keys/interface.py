"""The interface of every key service, and the rules that all of them keep about epochs.

A site wraps each object's data key under its wrapping key of the current *key epoch*. Epochs are numbered from 1 and
named for their key: wrap-1, wrap-2, … A number is never used again. Erasure becomes irrecoverable by destroying an
epoch: until then, backups and logs may still hold wrapped keys of objects that were removed.

Epochs are destroyed oldest first, and the current one only where its region has left the site by its members' vote
(closing.py): what is to live on is wrapped anew in a later epoch first. After that there is no next epoch.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from glasshouse.regions.errors import InvalidInput, KeyDestroyed, KeysUnavailable, WrappingBroken
from glasshouse.regions.keys.closing import Closed


@dataclass(frozen=True, kw_only=True)
class Wrapped:
    """A data key, encrypted by the key epoch `key_id`."""

    key_id: str
    blob: bytes


class KeyService(Protocol):
    """Wraps data keys under the keys of one site. Threads may share one.

    A key made or destroyed is so durably when the call returns, for other processes that use the same keys too. What
    `wrap` returns opens as long as its epoch has not been destroyed, with the same `aad` only; nothing that was wrapped
    is kept here. Every method but `describe` raises KeysUnavailable.
    """

    def describe(self) -> str:
        """Where the keys are, for people; the word *enforced* or *not enforced* says whether they can be copied."""

    @property
    def epoch(self) -> str:
        """The current epoch, by which `wrap` wraps. KeysUnavailable where there is none yet."""

    def epochs(self) -> tuple[str, ...]:
        """Every epoch that has not been destroyed, oldest first; the last is the current one."""

    def wrap(self, data_key: bytes, aad: bytes) -> Wrapped:
        """Encrypt a data key under the current epoch, bound to `aad`."""

    def unwrap(self, wrapped: Wrapped, aad: bytes) -> bytes:
        """The data key. Raises KeyDestroyed, or WrappingBroken for what was altered or wrapped with another `aad`."""

    def next_epoch(self) -> str:
        """Make the key of the next epoch, which is the current one from then on; also the first.

        Raises KeyDestroyed where the last one was destroyed, if the service remembers that.
        """

    def destroy(self, key_id: str, *, closed: Closed | None = None) -> None:
        """Destroy the oldest epoch; nothing that it wrapped opens again. Once more is no error.

        Raises InvalidInput while an older one is there, and for the current epoch without the proof that the region
        has left this site.
        """


def destroy_all(keys: KeyService, closed: Closed) -> tuple[str, ...]:
    """Destroy every epoch that is left, the current one last; their ids. Raises KeysUnavailable, and goes on later."""
    gone = keys.epochs()
    for key_id in gone:
        keys.destroy(key_id, closed=closed)
    if left := keys.epochs():
        raise KeysUnavailable(f"{', '.join(left)} are still there after all key epochs were destroyed")
    return gone


def epoch_id(name: str, number: int) -> str:
    """The id of an epoch: wrap-3."""
    return f"{name}-{number}"


def epoch_number(name: str, key_id: str) -> int | None:
    """The number of an epoch of the keys called `name`; None where the id is another's."""
    match = re.fullmatch(rf"{re.escape(name)}-([1-9][0-9]{{0,8}})", key_id)
    return int(match[1]) if match else None


def number_to_unwrap(name: str, wrapped: Wrapped, living: Sequence[int], ended: int = 0) -> int:
    """The number of the epoch that wrapped something. `ended` is that of the last epoch, where it was destroyed.

    Raises WrappingBroken for another service's, KeyDestroyed.
    """
    number = epoch_number(name, wrapped.key_id)
    if number is None or number > max(living, default=ended):
        raise WrappingBroken(f"the key {wrapped.key_id!r} that wrapped this is none of {name}")
    if number not in living:
        raise KeyDestroyed(f"the key epoch {wrapped.key_id} was destroyed; what it wrapped never opens again")
    return number


def number_to_destroy(
    name: str, key_id: str, living: Sequence[int], *, closed: Closed | None, ended: int = 0
) -> int | None:
    """The number of an epoch that may be destroyed; None where that was done before. Raises InvalidInput."""
    number = epoch_number(name, key_id)
    if number is None or number > max(living, default=ended):
        known = ", ".join(epoch_id(name, n) for n in living) or "none"
        raise InvalidInput("key epoch", f"there is no {key_id!r}", f"Name one of: {known}.")
    if number not in living:
        return None
    if number == living[-1] and closed is None:
        raise InvalidInput("key epoch", f"{key_id} is the current one", "Begin the next epoch before.")
    if number != living[0]:
        raise InvalidInput("key epoch", f"{epoch_id(name, living[0])} is older", "Destroy that one before.")
    return number


def refuse_after(name: str, ended: int) -> None:
    """No epoch follows on the last one: raises KeyDestroyed where `ended`, its number, is not 0."""
    if ended:
        raise KeyDestroyed(f"{epoch_id(name, ended)} was the last key epoch here: the region has left this site")
