"""Opening the key service that a node's settings name."""

import contextlib
import os
from pathlib import Path

from glasshouse.parties.errors import KeyUnavailable
from glasshouse.parties.keys import read_private
from glasshouse.parties.node import Node, TransitSettings
from glasshouse.regions.errors import KeyDestroyed, KeysUnavailable
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.keys.interface import KeyService
from glasshouse.regions.keys.pkcs11_keys import Pkcs11Keys
from glasshouse.regions.keys.transit import TransitKeys


def open_keys(node: Node, *, begin: bool = True) -> KeyService:
    """What wraps the data keys of this node's site, with a first key epoch made where there is none if it may `begin`.

    Where the last epoch was destroyed none is made. Raises KeysUnavailable.
    """
    settings = node.settings.wrapping
    if settings.pkcs11 is not None:
        service: KeyService = Pkcs11Keys(node.token_place(settings.pkcs11))
    elif settings.transit is not None:
        service = _transit(node.directory, settings.transit)
    else:
        service = FileKeyring(node.keys)
    if begin and not service.epochs():
        with contextlib.suppress(KeyDestroyed):
            service.next_epoch()
    return service


def _transit(directory: Path, settings: TransitSettings) -> TransitKeys:
    return TransitKeys(
        settings.url, key=settings.key, mount=settings.mount, token=lambda: _read_token(directory, settings)
    )


def _read_token(directory: Path, settings: TransitSettings) -> str:
    """Read for each request: such tokens are short-lived and renewed by others."""
    if settings.token_file is not None:
        try:
            return read_private(directory / settings.token_file).decode("ascii").strip()
        except (KeyUnavailable, UnicodeDecodeError) as error:
            raise KeysUnavailable(f"the token for {settings.url} cannot be read: {error}") from error
    token = os.environ.get(settings.token_variable or "")
    if token is None:
        raise KeysUnavailable(f"the environment variable {settings.token_variable} with the token is not set")
    return token
