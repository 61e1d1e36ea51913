"""M9 Data keys re-wrapped instead of renewed.

Cheat: a new site keeps the ciphertexts that came from the old one, and only wraps their data keys anew: so the old
    site, which had these keys, reads whatever it gets hold of later.
Noticed by: whoever compares the ciphertexts of the sites: each arrival commits to its own, the supervisor reads them
    with its own credentials, and lists the old site's before they are erased.
Seen: two sites with one ciphertext, which the old site's key opens.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from glasshouse_verify.codec import Digest, Text
from moves import Move, moving
from sites import CUSTODIAN, REGION, Site

from glasshouse.regions import replica
from glasshouse.regions.errors import SealBroken
from glasshouse.regions.seal import Opener
from glasshouse.regions.vault import digest_of
from glasshouse.regions.wrapping import Wrapping, open_custody
from glasshouse.storage.db import Database

CONTENTS = [b"small", os.urandom((1 << 20) + 200_000), b"another"]


@pytest.fixture
def move(database: Database, other_database: Database, third_database: Database, tmp_path: Path) -> Iterator[Move]:
    with moving(tmp_path, database, other_database, third_database) as found:
        yield found


def moved(move: Move) -> list[str]:
    """The handles of what has come over."""
    handles = [move.old.upload(content).handle for content in CONTENTS]
    move.open()
    move.wait()
    return handles


def ciphertexts(site: Site) -> set[str]:
    """What a supervisor finds who reads a site's whole vault."""
    vault = site.place.vault
    return {digest_of(vault.stream(handle))[0] for handle in vault.handles()}


def data_key(site: Site, handle: str) -> bytes:
    """What the site and the custodian together open."""
    query = "select wrapped_by, encode(custodian, 'hex'), wrapped from regions.object where handle = %s"
    ((key_id, custodian, blob),) = site.rows(query, bytes.fromhex(handle))
    wrapping = Wrapping(key_id=Text(key_id), blob=blob, custodian=Digest(custodian))
    opened = open_custody((CUSTODIAN,), blob, handle=handle, region=REGION)
    return site.place.wrapper().unwrap(wrapping, handle=handle, region=REGION, opened=opened)


def opens(key: bytes, site: Site, handle: str) -> bytes:
    return b"".join(Opener(key, handle=handle, region=REGION).open(site.place.vault.stream(handle)))


def test_attack_new_sites_that_only_wrap_anew(move: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "resealed", lambda _, item: item)
    handles = moved(move)
    old, new = ciphertexts(move.old), [ciphertexts(site) for site in move.new]
    assert [len(old & there) for there in new] == [len(CONTENTS)] * 2
    for handle, content in zip(handles, CONTENTS, strict=True):
        assert opens(data_key(move.old, handle), move.new[0], handle) == content


def test_control_every_site_has_ciphertexts_and_keys_of_its_own(move: Move) -> None:
    handles = moved(move)
    shown = [ciphertexts(site) for site in (move.old, *move.new)]
    assert len(set.union(*shown)) == 3 * len(CONTENTS)
    for handle, content in zip(handles, CONTENTS, strict=True):
        keys = [data_key(site, handle) for site in (move.old, *move.new)]
        assert len(set(keys)) == 3
        for site in move.new:
            assert site.content(handle) == content
            with pytest.raises(SealBroken):
                opens(keys[0], site, handle)
    # Wherever a site keeps something, the old ciphertext is not among it.
    for name in ("zurich-1", "zurich-2"):
        kept = {path.read_bytes() for path in (move.ground.directory / name).rglob("*") if path.is_file()}
        for handle in handles:
            assert b"".join(move.old.place.vault.stream(handle)) not in kept
