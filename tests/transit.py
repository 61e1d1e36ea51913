"""The transit engine of OpenBao, for tests: the part of its HTTP API that wrapping keys need, with its own rules.

Follows OpenBao's API documentation of the transit secrets engine and, for what it answers when it refuses, its source
(builtin/logical/transit, sdk/helper/keysutil). `real_server` runs the real program in its developer's mode, where there
is one on PATH, so that the same tests tell whether this one is faithful.
"""

import base64
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from ledgers import served, until
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "s.glasshouse-tests"
REAL = next((path for name in ("bao", "vault") if (path := shutil.which(name))), None)


class Refusal(Exception):
    """Status 400 with one error."""


@dataclass(kw_only=True)
class Key:
    """A key of type aes256-gcm96; trimmed versions are gone from `versions`."""

    name: str
    exportable: bool = False
    allow_plaintext_backup: bool = False
    latest: int = 0
    min_available: int = 0
    min_decryption: int = 1
    min_encryption: int = 0
    deletion_allowed: bool = False
    versions: dict[int, tuple[bytes, int]] = field(default_factory=dict)

    def rotate(self) -> None:
        self.latest += 1
        self.versions[self.latest] = (secrets.token_bytes(32), int(time.time()))

    def shown(self) -> dict[str, Any]:
        kept = {str(n): made for n, (_, made) in self.versions.items() if n >= self.min_decryption}
        return {
            "name": self.name,
            "type": "aes256-gcm96",
            "derived": False,
            "deletion_allowed": self.deletion_allowed,
            "min_available_version": self.min_available,
            "min_decryption_version": self.min_decryption,
            "min_encryption_version": self.min_encryption,
            "latest_version": self.latest,
            "exportable": self.exportable,
            "allow_plaintext_backup": self.allow_plaintext_backup,
            "supports_encryption": True,
            "supports_decryption": True,
            "supports_signing": False,
            "supports_derivation": True,
            "auto_rotate_period": 0,
            "imported_key": False,
            "keys": kept,
        }

    def encrypt(self, item: dict[str, Any]) -> dict[str, Any]:
        version = int(item.get("key_version", 0)) or self.latest
        if version > self.latest:
            raise Refusal("requested version for encryption is higher than the latest key version")
        if version < max(1, self.min_encryption):
            raise Refusal("requested version for encryption is less than the minimum encryption key version")
        nonce = secrets.token_bytes(12)
        plaintext, extra = decoded(item.get("plaintext", "")), decoded(item.get("associated_data", ""))
        sealed = nonce + AESGCM(self.versions[version][0]).encrypt(nonce, plaintext, extra)
        return {"ciphertext": f"vault:v{version}:{base64.b64encode(sealed).decode()}", "key_version": version}

    def decrypt(self, item: dict[str, Any]) -> dict[str, Any]:
        text = item.get("ciphertext", "")
        if not text:
            raise Refusal("missing ciphertext to decrypt")
        if not text.startswith("vault:v"):
            raise Refusal("invalid ciphertext: no prefix")
        number, _, body = text.removeprefix("vault:v").partition(":")
        if not re.fullmatch("[0-9]+", number):
            raise Refusal("invalid ciphertext: version number could not be decoded")
        version = int(number) or 1
        if version > self.latest:
            raise Refusal("invalid ciphertext: version is too new")
        if version < self.min_decryption:
            raise Refusal("ciphertext or signature version is disallowed by policy (too old)")
        try:
            sealed = base64.b64decode(body, validate=True)
        except ValueError:
            raise Refusal("invalid ciphertext: could not decode base64") from None
        if len(sealed) < 12:
            raise Refusal("invalid ciphertext length")
        try:
            opened = AESGCM(self.versions[version][0]).decrypt(
                sealed[:12], sealed[12:], decoded(item.get("associated_data", ""))
            )
        except InvalidTag:
            raise Refusal("cipher: message authentication failed") from None
        return {"plaintext": base64.b64encode(opened).decode()}

    def configure(self, asked: dict[str, Any]) -> None:
        decryption = int(asked.get("min_decryption_version", self.min_decryption)) or 1
        encryption = int(asked.get("min_encryption_version", self.min_encryption))
        if decryption > self.latest:
            raise Refusal(f"cannot set min decryption version of {decryption}, latest key version is {self.latest}")
        if encryption > self.latest:
            raise Refusal(f"cannot set min encryption version of {encryption}, latest key version is {self.latest}")
        if 0 < encryption < decryption:
            raise Refusal(
                f"cannot set min encryption/decryption values; min encryption version of {encryption} "
                f"must be greater than or equal to min decryption version of {decryption}"
            )
        if decryption < self.min_available:
            raise Refusal("min decryption version should not be less than min available version")
        self.min_decryption, self.min_encryption = decryption, encryption
        self.exportable = self.exportable or bool(asked.get("exportable", False))
        self.deletion_allowed = bool(asked.get("deletion_allowed", self.deletion_allowed))

    def trim(self, asked: dict[str, Any]) -> None:
        if "min_available_version" not in asked:
            raise Refusal("missing min_available_version")
        least = int(asked["min_available_version"])
        if least < self.min_available:
            raise Refusal("minimum available version cannot be decremented")
        if self.min_encryption == 0:
            raise Refusal("minimum available version cannot be set when minimum encryption version is not set")
        if least > self.min_encryption:
            raise Refusal("minimum available version cannot be greater than minmum encryption version")
        if least > self.min_decryption:
            raise Refusal("minimum available version cannot be greater than minimum decryption version")
        if least <= 0:
            raise Refusal("minimum available version should be positive")
        self.min_available = least
        for number in [number for number in self.versions if number < least]:
            del self.versions[number]


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise Refusal(str(error)) from None


class TransitEngine:
    """The server's state; `failing` makes it answer every request with that status."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.failing: int | None = None
        self.requests: list[str] = []

    def answer(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, Any]:
        verb, _, rest = path.partition("/")
        if verb in ("encrypt", "decrypt"):
            return self._crypt(verb, rest, asked)
        name, _, action = rest.partition("/")
        key = self.keys.get(name)
        if verb != "keys" or action not in ("", "rotate", "config", "trim"):
            return 404, {"errors": ["no handler for route"]}
        if method == "GET":
            return (404, {"errors": []}) if key is None else (200, {"data": key.shown()})
        if action == "" and method == "POST":
            if key is None:
                flags = {flag: bool(asked.get(flag, False)) for flag in ("exportable", "allow_plaintext_backup")}
                key = self.keys[name] = Key(name=name, **flags)
                key.rotate()
            return 200, {"data": key.shown()}
        if method == "DELETE" and action == "":
            if key is None:
                raise Refusal("could not delete key; not found")
            if not key.deletion_allowed:
                raise Refusal("deletion is not allowed for this key")
            del self.keys[name]
            return 204, {}
        if key is None:
            raise Refusal(f"no existing key named {name} could be found" if action == "config" else "key not found")
        if action == "rotate":
            key.rotate()
        elif action == "config":
            key.configure(asked)
        else:
            key.trim(asked)
        return 200, {"data": key.shown()}

    def _crypt(self, verb: str, name: str, asked: dict[str, Any]) -> tuple[int, Any]:
        key = self.keys.get(name)
        if key is None:
            raise Refusal("encryption key not found")
        work = key.encrypt if verb == "encrypt" else key.decrypt
        if "batch_input" not in asked:
            return 200, {"data": work(asked)}
        results = []
        for item in asked["batch_input"]:
            try:
                results.append(work(item))
            except Refusal as error:
                results.append({"error": str(error)})
        failed = any("error" in result for result in results)
        return 400 if failed else 200, {"data": {"batch_results": results}}


@contextlib.contextmanager
def transit_server() -> Iterator[tuple[str, TransitEngine]]:
    """Ours, with the transit engine at /v1/transit."""
    engine = TransitEngine()

    async def answer(request: Request) -> Response:
        engine.requests.append(f"{request.method} {request.path_params['path']}")
        if engine.failing is not None:
            return JSONResponse({"errors": ["Vault is sealed"]}, engine.failing)
        if request.headers.get("x-vault-token") != TOKEN:
            return JSONResponse({"errors": ["permission denied"]}, 403)
        body = await request.body()
        try:
            status, value = engine.answer(request.method, request.path_params["path"], json.loads(body or b"{}"))
        except Refusal as error:
            return JSONResponse({"errors": [str(error)]}, 400)
        return Response(status_code=204) if status == 204 else JSONResponse(value, status)

    app = Starlette(routes=[Route("/v1/transit/{path:path}", answer, methods=["GET", "POST", "DELETE"])])
    with served(app) as url:
        yield url, engine


@contextlib.contextmanager
def real_server() -> Iterator[str]:
    """The real program, in memory, with a transit engine mounted. Only where REAL is not None."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(REAL), "server", "-dev", f"-dev-root-token-id={TOKEN}", f"-dev-listen-address=127.0.0.1:{port}"]
    home = {**os.environ, "VAULT_DEV_ROOT_TOKEN_ID": TOKEN, "BAO_DEV_ROOT_TOKEN_ID": TOKEN}
    process = subprocess.Popen(
        [*command, "-dev-no-store-token"], env=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with httpx.Client(base_url=url, headers={"x-vault-token": TOKEN}) as http:

            def mounted() -> bool:
                with contextlib.suppress(httpx.HTTPError):
                    answer = http.post("/v1/sys/mounts/transit", json={"type": "transit"})
                    return answer.is_success or "already in use" in answer.text
                return False

            until(mounted, timeout_seconds=60)
        yield url
    finally:
        process.terminate()
        process.wait(60)
