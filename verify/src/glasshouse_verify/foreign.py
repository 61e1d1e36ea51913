"""Rows of a store that was never a site: what a relocation counts where nobody gave receipts.

A row is as in an inventory, {"commitment":…,"key":handle}. Handle and commitment are made of the raw key and the
version's ordinal (0 is the oldest), under a secret of the move: who has it and the store can make them again.
"""

import hmac
from hashlib import sha256

from glasshouse_verify.codec import Digest
from glasshouse_verify.encoding import encode_base64, format_json
from glasshouse_verify.row import Row


def store_handle(secret: bytes, key: bytes, ordinal: int) -> Digest:
    """The handle of one version of a store's object: HMAC-SHA256(secret, ordinal in 8 bytes ‖ raw key)."""
    return Digest(hmac.digest(secret, ordinal.to_bytes(8, "big") + key, "sha256").hex())


def store_row(secret: bytes, key: bytes, ordinal: int, content: str | None, size: int) -> Row:
    """The row of one version. `content` is its SHA-256, None for a delete marker; `size` its bytes.

    commitment = SHA-256(salt ‖ {"content":…,"key":"<base64>","ordinal":0,"size":…}), salt = HMAC-SHA256(secret, "salt"
    ‖ handle); `content` is left out of a delete marker.
    """
    handle = store_handle(secret, key, ordinal)
    salt = hmac.digest(secret, b"salt" + bytes.fromhex(handle), "sha256")
    says = {"key": encode_base64(key), "ordinal": ordinal, "size": size}
    opened = format_json(says if content is None else {**says, "content": content})
    return {"commitment": sha256(salt + opened).hexdigest(), "key": handle}
