"""Wrapping keys in files: not enforced, since whoever can read the disk can copy them.

    keys/wrap-2.aes          32 random bytes, mode 0600: AES-256-GCM, a random nonce before each ciphertext
    keys/wrap-1.destroyed    the epoch was destroyed, whatever a backup brings back

Destroying writes the mark first, overwrites the key's file, and removes it; each step is flushed to the disk, and what
a crash left undone is done when the keyring is opened next. A key that is put back is never used, and destroyed again.
Where all keys bear a mark the last epoch was destroyed: then none follows.
"""

import os
import re
import secrets
import threading
import time
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.keys import read_private
from glasshouse.regions.errors import KeysUnavailable, WrappingBroken
from glasshouse.regions.keys.closing import Closed
from glasshouse.regions.keys.interface import Wrapped, epoch_id, number_to_destroy, number_to_unwrap, refuse_after
from glasshouse.storage import files
from glasshouse.storage.errors import ObjectConflict

KEY_BYTES = 32
NONCE_BYTES = 12
_KEY_SUFFIX, _MARK_SUFFIX = ".aes", ".destroyed"
_TICK_NANOSECONDS = 2_000_000_000


class FileKeyring:
    """A `KeyService` over the files of one directory; opening it finishes what a crash interrupted.

    Raises KeysUnavailable.
    """

    def __init__(self, directory: Path, *, name: str = "wrap") -> None:
        self._directory, self._name = directory, name
        self._pattern = re.compile(rf"{re.escape(name)}-([1-9][0-9]{{0,8}})({_KEY_SUFFIX}|{_MARK_SUFFIX})")
        self._lock = threading.Lock()
        self._ciphers: dict[int, AESGCM] = {}
        self._seen: tuple[int, int] | None = None
        keys, marks = self._listed()
        for number in keys & marks:
            self._erase(number)

    def describe(self) -> str:
        """Not enforced."""
        return f"file keyring in {self._directory}: not enforced, whoever reads this disk can copy its keys"

    @property
    def epoch(self) -> str:
        """The newest key there is."""
        return epoch_id(self._name, self._current())

    def epochs(self) -> tuple[str, ...]:
        """By their files, without those that bear a mark."""
        return tuple(epoch_id(self._name, number) for number in self._living())

    def wrap(self, data_key: bytes, aad: bytes) -> Wrapped:
        """Under the newest key."""
        number, nonce = self._newest(), secrets.token_bytes(NONCE_BYTES)
        blob = nonce + self._cipher(number).encrypt(nonce, data_key, aad)
        return Wrapped(key_id=epoch_id(self._name, number), blob=blob)

    def unwrap(self, wrapped: Wrapped, aad: bytes) -> bytes:
        """Looks at the files each time, since another process may have destroyed the key meanwhile."""
        cipher = self._cipher(number_to_unwrap(self._name, wrapped, self._living(), self._ended()))
        nonce, ciphertext = wrapped.blob[:NONCE_BYTES], wrapped.blob[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise WrappingBroken(f"what {wrapped.key_id} wrapped was altered, or belongs to another object") from None

    def next_epoch(self) -> str:
        """A new file; the number follows every key and every mark."""
        refuse_after(self._name, self._ended())
        number = max(set[int]().union(*self._listed()), default=0) + 1
        while True:
            try:
                files.create(self._path(number, _KEY_SUFFIX), secrets.token_bytes(KEY_BYTES), mode=0o600)
            except ObjectConflict:
                # Another process was quicker; its epoch stays, and this one follows it.
                number += 1
            else:
                return epoch_id(self._name, number)

    def destroy(self, key_id: str, *, closed: Closed | None = None) -> None:
        """Mark, overwrite, remove."""
        number = number_to_destroy(self._name, key_id, self._living(), closed=closed, ended=self._ended())
        if number is not None:
            files.create(self._path(number, _MARK_SUFFIX), b"destroyed\n", mode=0o600)
            self._erase(number)

    def _erase(self, number: int) -> None:
        path = self._path(number, _KEY_SUFFIX)
        try:
            with path.open("r+b") as file:
                file.write(secrets.token_bytes(max(KEY_BYTES, path.stat().st_size)))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            files.sync_directory(self._directory)
        except FileNotFoundError:
            # Another process erases the same key.
            files.sync_directory(self._directory)
        except OSError as error:
            raise KeysUnavailable(f"{path} could not be destroyed: {error.strerror}") from error

    def _cipher(self, number: int) -> AESGCM:
        with self._lock:
            if number not in self._ciphers:
                path = self._path(number, _KEY_SUFFIX)
                try:
                    self._ciphers[number] = AESGCM(read_private(path))
                except KeyUnavailable as error:
                    raise KeysUnavailable(str(error)) from error
                except ValueError:
                    raise KeysUnavailable(f"{path} holds no AES-256 key: it has not {KEY_BYTES} bytes") from None
            return self._ciphers[number]

    def _newest(self) -> int:
        """As `_current`; the directory is read again only if it has changed."""
        try:
            changed = self._directory.stat().st_mtime_ns
        except OSError as error:
            raise KeysUnavailable(f"{self._directory}: {error.strerror}") from error
        seen = self._seen
        if seen is not None and seen[0] == changed:
            return seen[1]
        number = self._current()
        # What has just changed may change again within the same tick of the file system's clock.
        self._seen = (changed, number) if time.time_ns() - changed > _TICK_NANOSECONDS else None
        return number

    def _current(self) -> int:
        living = self._living()
        if not living:
            refuse_after(self._name, self._ended())
            raise KeysUnavailable(f"{self._directory} holds no wrapping key; begin the first key epoch")
        return living[-1]

    def _living(self) -> list[int]:
        keys, marks = self._listed()
        with self._lock:
            for number in self._ciphers.keys() - (keys - marks):
                del self._ciphers[number]
        return sorted(keys - marks)

    def _ended(self) -> int:
        """The number of the last epoch, where it was destroyed; 0 where it was not."""
        keys, marks = self._listed()
        return 0 if keys - marks else max(marks, default=0)

    def _listed(self) -> tuple[set[int], set[int]]:
        """The numbers of keys and of marks."""
        try:
            with os.scandir(self._directory) as entries:
                names = [entry.name for entry in entries]
        except OSError as error:
            raise KeysUnavailable(f"{self._directory}: {error.strerror}") from error
        found = [match for match in map(self._pattern.fullmatch, names) if match]
        keys, marks = ({int(m[1]) for m in found if m[2] == suffix} for suffix in (_KEY_SUFFIX, _MARK_SUFFIX))
        return keys, marks

    def _path(self, number: int, suffix: str) -> Path:
        return self._directory / f"{epoch_id(self._name, number)}{suffix}"
