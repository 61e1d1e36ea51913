"""Wrapping keys in the transit engine of OpenBao or HashiCorp Vault: enforced by that server, as its policies have it.

One named key of type aes256-gcm96, not exportable; each of its versions is a key epoch. Of the transit engine's HTTP
API, where NAME is the key's name:

    GET  /v1/transit/keys/NAME            POST /v1/transit/keys/NAME             the first epoch
    POST /v1/transit/encrypt/NAME         POST /v1/transit/keys/NAME/rotate      the next one
    POST /v1/transit/decrypt/NAME         POST /v1/transit/keys/NAME/config      then …/trim: destroys versions
    DELETE /v1/transit/keys/NAME          after config allows it: destroys the last one

Only `trim` destroys: a raised min_decryption_version alone can be lowered again. The token needs the capabilities
update on encrypt, decrypt, rotate, config and trim, create, update and read on the key; without create on encrypt the
server never makes a key by itself. To leave a site it also needs delete on the key. The server keeps no memory of a key
that was deleted: that nothing it wrapped is taken again is for the site's database to remember.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from glasshouse_verify.codec import Identifier, decode
from glasshouse_verify.encoding import decode_base64, encode_base64
from glasshouse_verify.errors import FormatError

from glasshouse.ledger.errors import Unavailable as SlowAnswer
from glasshouse.ledger.outgoing import open_http, read_bounded
from glasshouse.regions.errors import InvalidInput, KeyDestroyed, KeysUnavailable, WrappingBroken
from glasshouse.regions.keys.closing import Closed
from glasshouse.regions.keys.interface import Wrapped, epoch_id, epoch_number, number_to_destroy

KEY_TYPE = "aes256-gcm96"
MAX_ANSWER_BYTES = 1 << 20
TIMEOUT_SECONDS = 10.0
_CIPHERTEXT = re.compile(rb"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}")
_ALTERED = ("cipher: message authentication failed", "invalid ciphertext")
_TOO_OLD = "disallowed by policy (too old)"


@dataclass(frozen=True, kw_only=True)
class _Versions:
    """What the server says about the key; versions from `oldest` to `newest` have not been destroyed."""

    oldest: int
    newest: int
    copyable: bool


class _Refused(Exception):
    """The server answers 400 with these words."""


class TransitKeys:
    """A `KeyService` over one transit key; `token` gives the token for each request. Close it."""

    def __init__(
        self,
        url: str,
        *,
        key: str,
        token: Callable[[], str],
        mount: str = "transit",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """Raises InvalidInput for a name or mount that no URL can hold."""
        try:
            self._name, self._mount = str(decode(Identifier, key, "key")), str(decode(Identifier, mount, "mount"))
        except FormatError as error:
            raise InvalidInput(error.field, error.reason, "Name the transit key and its mount point.") from error
        self._url, self._token = url.rstrip("/"), token
        self._http = open_http(timeout_seconds)

    def describe(self) -> str:
        """Enforced by the server, unless the key is exportable there or may be backed up in plain."""
        place = f"transit key {self._name!r} at {self._url}"
        try:
            versions = self._read()
        except KeysUnavailable as error:
            return f"{place}: not enforced as far as can be seen, {error}"
        if versions is not None and versions.copyable:
            return f"{place}: not enforced, the server lets it be exported"
        return f"{place}: enforced by that server, which does not give it out"

    @property
    def epoch(self) -> str:
        """The key's newest version."""
        versions = self._read()
        if versions is None:
            raise KeysUnavailable(f"{self._url} has no transit key {self._name!r}; begin the first key epoch")
        return epoch_id(self._name, versions.newest)

    def epochs(self) -> tuple[str, ...]:
        """The versions that have not been trimmed."""
        return tuple(epoch_id(self._name, number) for number in _living(self._read()))

    def wrap(self, data_key: bytes, aad: bytes) -> Wrapped:
        """Under the newest version."""
        asked = {"plaintext": encode_base64(data_key), "associated_data": encode_base64(aad)}
        try:
            text = self._post(f"encrypt/{self._name}", asked).get("ciphertext")
        except _Refused as error:
            raise KeysUnavailable(f"{self._url} does not encrypt: {error}") from error
        blob = text.encode("ascii", "replace") if isinstance(text, str) else b""
        match = _CIPHERTEXT.fullmatch(blob)
        if match is None:
            raise KeysUnavailable(f"{self._url} answers no ciphertext of the form vault:v1:…")
        return Wrapped(key_id=epoch_id(self._name, int(match[1])), blob=blob)

    def unwrap(self, wrapped: Wrapped, aad: bytes) -> bytes:
        """By the server."""
        match, number = _CIPHERTEXT.fullmatch(wrapped.blob), epoch_number(self._name, wrapped.key_id)
        if match is None or number != int(match[1]):
            raise WrappingBroken(f"this was not wrapped by the key epoch {wrapped.key_id} of {self._name}")
        asked = {"ciphertext": wrapped.blob.decode("ascii"), "associated_data": encode_base64(aad)}
        try:
            text = self._post(f"decrypt/{self._name}", asked).get("plaintext")
        except _Refused as error:
            if any(words in str(error) for words in _ALTERED):
                reason = f"what {wrapped.key_id} wrapped was altered, or belongs to another object"
                raise WrappingBroken(reason) from error
            if _TOO_OLD in str(error) and number not in _living(self._read()):
                raise KeyDestroyed(f"the key epoch {wrapped.key_id} was destroyed; it never opens again") from error
            raise KeysUnavailable(f"{self._url} does not decrypt: {error}") from error
        try:
            return decode_base64(text if isinstance(text, str) else "", "plaintext")
        except FormatError as error:
            raise KeysUnavailable(f"{self._url} answers no plaintext: {error}") from error

    def next_epoch(self) -> str:
        """Rotates the key, or creates it."""
        if self._read() is None:
            self._change(f"keys/{self._name}", {"type": KEY_TYPE, "exportable": False, "allow_plaintext_backup": False})
        else:
            self._change(f"keys/{self._name}/rotate", {})
        return self.epoch

    def destroy(self, key_id: str, *, closed: Closed | None = None) -> None:
        """Raises both minimal versions above it, then trims; the key with its last version is deleted."""
        versions = self._read()
        if versions is None and closed is not None:
            return
        number = number_to_destroy(self._name, key_id, _living(versions), closed=closed)
        if number is None:
            return
        if versions is not None and number == versions.newest:
            self._delete()
            return
        least = number + 1
        path = f"keys/{self._name}"
        self._change(f"{path}/config", {"min_decryption_version": least, "min_encryption_version": least})
        self._change(f"{path}/trim", {"min_available_version": least})
        if number in _living(self._read()):
            raise KeysUnavailable(f"{self._url} still has {key_id} after it was trimmed")

    def _delete(self) -> None:
        path = f"keys/{self._name}"
        self._change(f"{path}/config", {"deletion_allowed": True})
        try:
            self._call("DELETE", path, None)
        except _Refused as error:
            raise KeysUnavailable(f"{self._url} refuses to delete {path}: {error}") from error
        if self._read() is not None:
            raise KeysUnavailable(f"{self._url} still has {path} after it was deleted")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _read(self) -> _Versions | None:
        """The key's versions; None where there is no such key."""
        status, answer = self._call("GET", f"keys/{self._name}", None)
        if status == 404:
            return None
        data = answer.get("data")
        try:
            if not isinstance(data, dict) or data["type"] != KEY_TYPE:
                raise KeysUnavailable(f"the transit key {self._name!r} at {self._url} is not of type {KEY_TYPE}")
            copyable = data["exportable"] is not False or data["allow_plaintext_backup"] is not False
            oldest = max(1, int(data.get("min_available_version", 0)))
            return _Versions(oldest=oldest, newest=int(data["latest_version"]), copyable=copyable)
        except (KeyError, TypeError, ValueError) as error:
            raise KeysUnavailable(f"{self._url} answers what is no transit key: {error!r}") from error

    def _change(self, path: str, asked: dict[str, Any]) -> None:
        try:
            self._post(path, asked)
        except _Refused as error:
            raise KeysUnavailable(f"{self._url} refuses {path}: {error}") from error

    def _post(self, path: str, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer's data. Raises _Refused for status 400."""
        status, answer = self._call("POST", path, asked)
        if status == 404:
            raise KeysUnavailable(
                f"{self._url} has nothing at {self._mount}/{path}; is the transit engine mounted there?"
            )
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _call(self, method: str, path: str, asked: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        headers = {"x-vault-token": self._token(), "x-vault-request": "true"}
        try:
            with self._http.stream(
                method, f"{self._url}/v1/{self._mount}/{path}", json=asked, headers=headers
            ) as response:
                body, status = read_bounded(response, MAX_ANSWER_BYTES), response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, SlowAnswer) as error:
            raise KeysUnavailable(f"{self._url} does not answer: {str(error) or type(error).__name__}") from error
        try:
            answer = json.loads(body or b"{}")
        except ValueError:
            answer = {}
        if not isinstance(answer, dict):
            answer = {}
        if status < 300 or status == 404:
            return status, answer
        errors = answer.get("errors")
        words = "; ".join(map(str, errors)) if isinstance(errors, list) and errors else f"status {status}"
        if status == 400:
            raise _Refused(words)
        raise KeysUnavailable(f"{self._url} answers {status}: {words}")


def _living(versions: _Versions | None) -> range:
    return range(versions.oldest, versions.newest + 1) if versions else range(0)
