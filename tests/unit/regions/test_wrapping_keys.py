"""Every key service keeps the same rules: files, a token (SoftHSM), OpenBao's transit engine (ours; the real one)."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from leaving import closed
from tokens import MODULE, make_token, needs_softhsm, pin_file, token_store
from transit import REAL, TOKEN, TransitEngine, real_server, transit_server

from glasshouse.parties.hardware import TokenKey, open_session
from glasshouse.parties.node import Node, NodeSettings
from glasshouse.regions.errors import InvalidInput, KeyDestroyed, KeysUnavailable, WrappingBroken
from glasshouse.regions.keys.file_keyring import FileKeyring
from glasshouse.regions.keys.interface import KeyService, Wrapped, destroy_all, epoch_number
from glasshouse.regions.keys.opening import open_keys
from glasshouse.regions.keys.pkcs11_keys import Pkcs11Keys
from glasshouse.regions.keys.transit import TransitKeys

DATA_KEY = bytes(range(32))
AAD = b"\x5a" * 32 + b"au"

# Opens the same keys again, as another process would.
Opening = Callable[[], KeyService]


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    directory = tmp_path_factory.mktemp("hsm")
    with token_store(directory):
        make_token("zurich-1")
        pin_file(directory)
        yield directory


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[str, TransitEngine]]:
    with transit_server() as running:
        yield running


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    if REAL is None:
        pytest.skip("neither bao nor vault is on PATH")
    with real_server() as url:
        yield url


@pytest.fixture(params=["files", pytest.param("token", marks=needs_softhsm), "transit", "real transit"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    name = f"k{abs(hash(request.node.name)) % 10**12}"
    with contextlib.ExitStack() as stack:
        match request.param:
            case "files":
                yield lambda: FileKeyring(tmp_path, name=name)
            case "token":
                place = token_place(request.getfixturevalue("hsm"), name)
                yield lambda: Pkcs11Keys(place)
            case "transit":
                url, _ = request.getfixturevalue("engine")
                yield lambda: stack.enter_context(TransitKeys(url, key=name, token=lambda: TOKEN))
            case _:
                url = request.getfixturevalue("real")
                yield lambda: stack.enter_context(TransitKeys(url, key=name, token=lambda: TOKEN))


def token_place(hsm: Path, name: str) -> TokenKey:
    return TokenKey(module=str(MODULE), token="zurich-1", label=name, pin_file=str(hsm / "pin"))


@pytest.fixture
def keys(opening: Opening) -> KeyService:
    service = opening()
    service.next_epoch()
    return service


# --- the contract ---------------------------------------------------------------------------------------------------


def test_there_is_no_epoch_before_the_first(opening: Opening) -> None:
    service = opening()
    assert service.epochs() == ()
    with pytest.raises(KeysUnavailable):
        _ = service.epoch
    with pytest.raises(KeysUnavailable):
        service.wrap(DATA_KEY, AAD)
    first = service.next_epoch()
    assert first.endswith("-1")
    assert (service.epoch, service.epochs(), opening().epochs()) == (first, (first,), (first,))


def test_what_was_wrapped_opens(keys: KeyService, opening: Opening) -> None:
    wrapped = keys.wrap(DATA_KEY, AAD)
    assert wrapped.key_id == keys.epoch
    assert DATA_KEY not in wrapped.blob
    assert keys.unwrap(wrapped, AAD) == DATA_KEY
    assert opening().unwrap(wrapped, AAD) == DATA_KEY
    assert keys.wrap(DATA_KEY, AAD).blob != wrapped.blob


def test_what_was_altered_or_is_anothers_does_not_open(keys: KeyService) -> None:
    wrapped = keys.wrap(DATA_KEY, AAD)
    damaged = wrapped.blob[:-5] + bytes([wrapped.blob[-5] ^ 3]) + wrapped.blob[-4:]
    for blob in (damaged, wrapped.blob[:-8], wrapped.blob + b"AAAA", wrapped.blob[:5], b""):
        with pytest.raises(WrappingBroken):
            keys.unwrap(Wrapped(key_id=wrapped.key_id, blob=blob), AAD)
    for aad in (b"", AAD[:-1], AAD + b"x", b"\x5b" + AAD[1:]):
        with pytest.raises(WrappingBroken):
            keys.unwrap(wrapped, aad)
    for key_id in ("other-1", wrapped.key_id + "0", wrapped.key_id.replace("-1", "-2"), "", wrapped.key_id + "\n"):
        with pytest.raises(WrappingBroken):
            keys.unwrap(Wrapped(key_id=key_id, blob=wrapped.blob), AAD)
    assert keys.unwrap(wrapped, AAD) == DATA_KEY


def test_epochs_follow_each_other(keys: KeyService, opening: Opening) -> None:
    old = keys.wrap(DATA_KEY, AAD)
    second = keys.next_epoch()
    assert keys.epochs() == (old.key_id, second)
    new = keys.wrap(DATA_KEY, AAD)
    assert new.key_id == keys.epoch == second
    for service in (keys, opening()):
        assert service.unwrap(old, AAD) == service.unwrap(new, AAD) == DATA_KEY


def test_a_destroyed_epoch_never_opens_again(keys: KeyService, opening: Opening) -> None:
    other = opening()
    old = keys.wrap(DATA_KEY, AAD)
    assert other.unwrap(old, AAD) == DATA_KEY
    second = keys.next_epoch()
    new = keys.wrap(DATA_KEY, AAD)
    keys.destroy(old.key_id)
    keys.destroy(old.key_id)
    for service in (keys, other, opening()):
        with pytest.raises(KeyDestroyed, match=old.key_id):
            service.unwrap(old, AAD)
        assert service.unwrap(new, AAD) == DATA_KEY
        assert service.epochs() == (second,)
    third = keys.next_epoch()
    assert [epoch_number(key.rpartition("-")[0], key) for key in (old.key_id, second, third)] == [1, 2, 3]


def test_the_current_and_newer_epochs_are_not_destroyed(keys: KeyService) -> None:
    first = keys.epoch
    wrapped = keys.wrap(DATA_KEY, AAD)
    with pytest.raises(InvalidInput, match="is the current one"):
        keys.destroy(first)
    second = keys.next_epoch()
    keys.next_epoch()
    with pytest.raises(InvalidInput, match=f"{first} is older"):
        keys.destroy(second)
    for key_id in ("other-1", "", first + "9"):
        with pytest.raises(InvalidInput, match="there is no"):
            keys.destroy(key_id)
    assert len(keys.epochs()) == 3
    assert keys.unwrap(wrapped, AAD) == DATA_KEY


def test_all_epochs_are_destroyed_for_good_once_the_region_has_left(keys: KeyService, opening: Opening) -> None:
    first = keys.wrap(DATA_KEY, AAD)
    keys.next_epoch()
    last = keys.wrap(DATA_KEY, AAD)
    proof = closed()
    with pytest.raises(InvalidInput, match="is older"):
        keys.destroy(last.key_id, closed=proof)
    assert destroy_all(keys, proof) == (first.key_id, last.key_id)
    assert destroy_all(keys, proof) == ()
    for service in (keys, opening()):
        service.destroy(last.key_id, closed=proof)
        assert service.epochs() == ()
        for wrapped in (first, last):
            # Of a key that was deleted the transit engine remembers nothing.
            with pytest.raises(KeysUnavailable if isinstance(service, TransitKeys) else KeyDestroyed):
                service.unwrap(wrapped, AAD)
        if not isinstance(service, TransitKeys):
            with pytest.raises(KeyDestroyed, match="the region has left this site"):
                service.next_epoch()
            with pytest.raises(KeyDestroyed, match="the region has left this site"):
                service.wrap(DATA_KEY, AAD)


def test_threads_share_a_service(keys: KeyService) -> None:
    secret_keys = [bytes([number]) * 32 for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        wrapped = list(pool.map(lambda key: keys.wrap(key, AAD), secret_keys))
        assert list(pool.map(lambda one: keys.unwrap(one, AAD), wrapped)) == secret_keys


def test_a_description_says_whether_custody_is_enforced(keys: KeyService) -> None:
    told = keys.describe()
    assert ("not enforced" in told) == isinstance(keys, FileKeyring)
    assert "enforced" in told


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_destroyed_key_is_overwritten_and_gone(tmp_path: Path) -> None:
    keys = FileKeyring(tmp_path)
    keys.next_epoch()
    path = tmp_path / "wrap-1.aes"
    secret = path.read_bytes()
    assert (len(secret), path.stat().st_mode & 0o777) == (32, 0o600)
    # A second name of the same file shows what was written to it.
    kept = tmp_path / "second-name"
    kept.hardlink_to(path)
    keys.next_epoch()
    keys.destroy("wrap-1")
    assert not path.exists()
    assert kept.read_bytes() != secret
    assert len(kept.read_bytes()) == 32
    assert sorted(name.name for name in tmp_path.iterdir()) == ["second-name", "wrap-1.destroyed", "wrap-2.aes"]


def test_a_key_that_a_backup_brings_back_is_not_used(tmp_path: Path) -> None:
    keys = FileKeyring(tmp_path)
    keys.next_epoch()
    wrapped = keys.wrap(DATA_KEY, AAD)
    backup = (tmp_path / "wrap-1.aes").read_bytes()
    keys.next_epoch()
    keys.destroy("wrap-1")
    (tmp_path / "wrap-1.aes").touch(mode=0o600)
    (tmp_path / "wrap-1.aes").write_bytes(backup)
    with pytest.raises(KeyDestroyed):
        keys.unwrap(wrapped, AAD)
    reopened = FileKeyring(tmp_path)
    assert not (tmp_path / "wrap-1.aes").exists()
    with pytest.raises(KeyDestroyed):
        reopened.unwrap(wrapped, AAD)


def test_a_crash_in_the_middle_of_destroying_is_made_good(tmp_path: Path) -> None:
    keys = FileKeyring(tmp_path)
    keys.next_epoch()
    wrapped = keys.wrap(DATA_KEY, AAD)
    keys.next_epoch()
    (tmp_path / "wrap-1.destroyed").write_text("destroyed\n")
    with pytest.raises(KeyDestroyed):
        keys.unwrap(wrapped, AAD)
    FileKeyring(tmp_path)
    assert not (tmp_path / "wrap-1.aes").exists()


def test_two_processes_begin_an_epoch_at_once(tmp_path: Path) -> None:
    one, other = FileKeyring(tmp_path), FileKeyring(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda keys: keys.next_epoch(), [one, other] * 10))
    assert sorted(made, key=lambda key: int(key[5:])) == [f"wrap-{number}" for number in range(1, 21)]


@pytest.mark.parametrize(("mode", "size", "reason"), [(0o644, 32, "read by others"), (0o600, 31, "no AES-256 key")])
def test_a_key_file_that_others_read_or_that_is_short_is_not_used(
    tmp_path: Path, mode: int, size: int, reason: str
) -> None:
    path = tmp_path / "wrap-1.aes"
    path.write_bytes(bytes(size))
    path.chmod(mode)
    with pytest.raises(KeysUnavailable, match=reason):
        FileKeyring(tmp_path).wrap(DATA_KEY, AAD)


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeysUnavailable, match="none-such"):
        FileKeyring(tmp_path / "none-such")


# --- a token --------------------------------------------------------------------------------------------------------


@needs_softhsm
def test_the_token_does_not_give_its_key_away(hsm: Path) -> None:
    import pkcs11

    place = token_place(hsm, "kept")
    Pkcs11Keys(place).next_epoch()
    key = open_session(place).get_key(label="kept-1")
    assert key[pkcs11.Attribute.NEVER_EXTRACTABLE]
    with pytest.raises(pkcs11.AttributeSensitive):
        _ = key[pkcs11.Attribute.VALUE]


@needs_softhsm
def test_a_key_that_was_brought_into_the_token_is_not_used(hsm: Path) -> None:
    import pkcs11

    place = token_place(hsm, "brought")
    session = open_session(place, write=True)
    template = {
        pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
        pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
        pkcs11.Attribute.LABEL: "brought-1",
        pkcs11.Attribute.VALUE: bytes(32),
        pkcs11.Attribute.TOKEN: True,
    }
    session.create_object(template)
    with pytest.raises(KeysUnavailable, match="could never be read out"):
        Pkcs11Keys(place).wrap(DATA_KEY, AAD)


@needs_softhsm
def test_a_lost_session_is_opened_again(hsm: Path) -> None:
    keys = Pkcs11Keys(token_place(hsm, "lost"))
    keys.next_epoch()
    wrapped = keys.wrap(DATA_KEY, AAD)
    keys._session.close()
    assert keys.unwrap(wrapped, AAD) == DATA_KEY


@needs_softhsm
def test_a_token_that_is_missing_is_named(hsm: Path) -> None:
    with pytest.raises(KeysUnavailable, match="there is no token 'none-such'"):
        Pkcs11Keys(replace(token_place(hsm, "wrap"), token="none-such"))


# --- transit --------------------------------------------------------------------------------------------------------


@pytest.fixture
def remote(engine: tuple[str, TransitEngine], request: pytest.FixtureRequest) -> Iterator[TransitKeys]:
    url, state = engine
    with TransitKeys(url, key="remote", token=lambda: TOKEN) as keys:
        state.keys.pop("remote", None)
        keys.next_epoch()
        yield keys
        state.failing = None


def test_destroyed_versions_are_trimmed(remote: TransitKeys, engine: tuple[str, TransitEngine]) -> None:
    state = engine[1].keys["remote"]
    remote.next_epoch()
    remote.destroy("remote-1")
    assert (set(state.versions), state.min_available, state.min_decryption, state.min_encryption) == ({2}, 2, 2, 2)


def test_a_version_that_is_only_forbidden_is_not_called_destroyed(
    remote: TransitKeys, engine: tuple[str, TransitEngine]
) -> None:
    wrapped = remote.wrap(DATA_KEY, AAD)
    remote.next_epoch()
    engine[1].keys["remote"].min_decryption = 2
    with pytest.raises(KeysUnavailable, match="too old"):
        remote.unwrap(wrapped, AAD)
    assert remote.epochs() == ("remote-1", "remote-2")
    remote.destroy("remote-1")
    with pytest.raises(KeyDestroyed):
        remote.unwrap(wrapped, AAD)


def test_an_exportable_key_is_called_not_enforced(remote: TransitKeys, engine: tuple[str, TransitEngine]) -> None:
    engine[1].keys["remote"].exportable = True
    assert "not enforced, the server lets it be exported" in remote.describe()


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503])
def test_a_server_that_refuses_or_fails_is_unavailable(
    remote: TransitKeys, engine: tuple[str, TransitEngine], status: int
) -> None:
    wrapped = remote.wrap(DATA_KEY, AAD)
    engine[1].failing = status
    calls = (
        lambda: remote.wrap(DATA_KEY, AAD),
        lambda: remote.unwrap(wrapped, AAD),
        lambda: remote.epochs(),
        lambda: remote.next_epoch(),
        lambda: remote.destroy("remote-1"),
    )
    for call in calls:
        with pytest.raises(KeysUnavailable, match=f"answers {status}: Vault is sealed"):
            call()
    assert "not enforced as far as can be seen" in remote.describe()


def test_a_key_that_is_gone_or_a_wrong_token_is_unavailable(
    remote: TransitKeys, engine: tuple[str, TransitEngine]
) -> None:
    wrapped = remote.wrap(DATA_KEY, AAD)
    with (
        TransitKeys(engine[0], key="remote", token=lambda: "wrong") as stranger,
        pytest.raises(KeysUnavailable, match="403: permission denied"),
    ):
        stranger.wrap(DATA_KEY, AAD)
    del engine[1].keys["remote"]
    with pytest.raises(KeysUnavailable, match="encryption key not found"):
        remote.unwrap(wrapped, AAD)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with (
        TransitKeys("http://127.0.0.1:1", key="wrap", token=lambda: TOKEN) as keys,
        pytest.raises(KeysUnavailable, match="does not answer"),
    ):
        keys.wrap(DATA_KEY, AAD)


@pytest.mark.parametrize(("key", "mount"), [("../sys", "transit"), ("wrap", "a/../b"), ("", "transit"), ("wrap", "")])
def test_names_that_no_path_can_hold_are_refused(key: str, mount: str) -> None:
    with pytest.raises(InvalidInput):
        TransitKeys("http://127.0.0.1:1", key=key, mount=mount, token=lambda: TOKEN)


# --- what node.toml names -------------------------------------------------------------------------------------------


def node_of(directory: Path, **wrapping: object) -> Node:
    (directory / "keys").mkdir(mode=0o700)
    site = {"id": "zurich-1", "name": "Zurich", "jurisdiction": "CH"}
    settings = {"party": "acme", "name": "Acme", "site": site, "wrapping": wrapping}
    return Node(directory, NodeSettings.model_validate(settings))


def test_a_node_wraps_by_files_unless_told_otherwise(tmp_path: Path) -> None:
    node = node_of(tmp_path)
    keys = open_keys(node)
    assert isinstance(keys, FileKeyring)
    assert keys.epochs() == open_keys(node).epochs() == ("wrap-1",)
    assert (tmp_path / "keys" / "wrap-1.aes").exists()


@needs_softhsm
def test_a_node_wraps_by_a_token(hsm: Path, tmp_path: Path) -> None:
    pin_file(tmp_path)
    held = {"module": str(MODULE), "token": "zurich-1", "label": "data", "pin_file": "pin"}
    keys = open_keys(node_of(tmp_path, pkcs11=held))
    assert isinstance(keys, Pkcs11Keys)
    assert keys.epochs() == ("data-1",)


def test_a_node_wraps_by_transit(
    engine: tuple[str, TransitEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN + "\n")
    node = node_of(tmp_path, transit={"url": engine[0], "key": "from-file", "token_file": "token"})
    keys = open_keys(node)
    assert isinstance(keys, TransitKeys)
    with keys:
        assert keys.epochs() == ("from-file-1",)
        token.chmod(0o644)
        with pytest.raises(KeysUnavailable, match="can be read by others"):
            keys.epochs()
    by_variable = tmp_path / "by-variable"
    by_variable.mkdir()
    node = node_of(by_variable, transit={"url": engine[0], "key": "from-file", "token_variable": "GLASSHOUSE_BAO"})
    with pytest.raises(KeysUnavailable, match="GLASSHOUSE_BAO with the token is not set"):
        open_keys(node)
    monkeypatch.setenv("GLASSHOUSE_BAO", TOKEN)
    keys = open_keys(node)
    assert isinstance(keys, TransitKeys)
    with keys:
        assert keys.epochs() == ("from-file-1",)
