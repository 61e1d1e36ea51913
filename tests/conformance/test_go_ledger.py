"""The ledger against the Go programs of the transparency ecosystem, both ways round.

Programs come from the Go module proxy into Go's own caches; where there is no Go, or a module cannot be had, the test
says so and is skipped.
"""

import base64
import contextlib
import functools
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from glasshouse_verify.checkpoint import parse_checkpoint
from glasshouse_verify.note import ED25519, format_note, format_vkey, parse_note, parse_vkey, verify_note
from glasshouse_verify.policy import check_checkpoint, witness_policy
from glasshouse_verify.tlog import leaf_hash
from glasshouse_verify.tree import HashReader, consistency_proof, verify_consistency, verify_inclusion
from gotools import Go, free_port, running
from ledgers import LedgerNode, ledger_node, no_quorum, until, witness_node
from notary import Notary
from notary import witness as witness_notary

from glasshouse.ledger.client import LedgerClient
from glasshouse.ledger.cosign import Cosigner, WitnessEndpoint, Witnessing
from glasshouse.ledger.fsck import check_log
from glasshouse.ledger.view import View
from glasshouse.storage.db import Database

TESSERA = "github.com/transparency-dev/tessera@v1.0.4"
TORCHWOOD = "filippo.io/torchwood@v0.5.0"
ENTRIES = [b"entry %d" % n for n in range(700)]


@pytest.fixture(scope="module")
def node(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerNode]:
    with ledger_node(database, tmp_path_factory.mktemp("log"), "go.example/log") as running:
        with LedgerClient(running.url) as client:
            client.add_batch(ENTRIES)
        running.published(len(ENTRIES))
        yield running


@pytest.fixture
def vkey_file(node: LedgerNode, tmp_path: Path) -> Path:
    path = tmp_path / "vkey"
    path.write_text(format_vkey(node.notary.key))
    return path


def run(program: Path, *arguments: str, timeout_seconds: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=timeout_seconds, check=False)


# --- our log, read by Go ---------------------------------------------------------------------------------------------


def test_tesseras_fsck_accepts_our_log(go: Go, node: LedgerNode, vkey_file: Path) -> None:
    fsck = go.build(f"{TESSERA}/cmd/fsck")
    arguments = (f"--storage_url={node.url}/", f"--public_key={vkey_file}", "--ui=false")
    checked = run(fsck, *arguments)
    assert checked.returncode == 0, checked.stderr
    tile = node.directory / "objects" / "tile" / "0" / "001"
    good = tile.read_bytes()
    tile.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        # It keeps retrying what does not add up, and never says that the log is sound.
        with contextlib.suppress(subprocess.TimeoutExpired):
            assert run(fsck, *arguments, timeout_seconds=5).returncode != 0
    finally:
        tile.write_bytes(good)


def test_the_go_projects_packages_accept_our_log(go: Go, node: LedgerNode) -> None:
    checked = run(go.build("sumdbcheck"), "log", node.url, format_vkey(node.notary.key))
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout == f"{len(ENTRIES)}\n"
    other = format_vkey(Notary("go.example/log", salt="other").key)
    assert run(go.build("sumdbcheck"), "log", node.url, other).returncode != 0


def test_tesseras_hammer_writes_to_our_log_and_reads_it(go: Go, database: Database, tmp_path: Path) -> None:
    hammer = go.build(f"{TESSERA}/internal/hammer")
    with ledger_node(database, tmp_path, "go.example/hammered") as hammered:
        hammered.published(0)
        worked = run(
            hammer,
            f"--log_url={hammered.url}/",
            f"--log_public_key={format_vkey(hammered.notary.key)}",
            "--show_ui=false",
            "--num_writers=16",
            "--max_write_ops=400",
            "--leaf_write_goal=500",
            "--num_readers_full=1",
            "--num_readers_random=2",
            "--max_read_ops=50",
            "--max_runtime=60s",
        )
        assert worked.returncode == 0, worked.stderr[-2000:]
        with LedgerClient(hammered.url) as client:
            report = check_log(client.get, no_quorum(hammered.notary.key))
        assert report.sound
        assert report.checkpoint is not None
        assert report.checkpoint.size >= 400


# --- what Go made, read by us ----------------------------------------------------------------------------------------


def test_we_accept_what_the_go_projects_packages_make(go: Go) -> None:
    sizes = [0, 1, 2, 3, 7, 8, 64, 100]
    made = json.loads(run(go.build("sumdbcheck"), "make", "made.example/log", ",".join(map(str, sizes))).stdout)
    key = parse_vkey(made["vkey"])
    before = None
    for size, text, records, tree in zip(sizes, made["checkpoints"], made["records"], made["trees"], strict=True):
        note = parse_note(text.encode())
        assert format_note(note) == text.encode()
        assert [signer for signer, _ in verify_note(note, [key])] == [key]
        checkpoint = parse_checkpoint(note.text)
        assert checkpoint.size == size
        for index, proof in enumerate(records):
            hashes = [base64.b64decode(line) for line in proof]
            verify_inclusion(leaf_hash(b"%d" % index), index, size, hashes, checkpoint.root)
        if before is not None and before.size:
            hashes = [base64.b64decode(line) for line in tree]
            verify_consistency(before.size, size, before.root, checkpoint.root, hashes)
        before = checkpoint


@pytest.fixture
def tessera(go: Go, tmp_path: Path) -> Iterator[tuple[str, Notary]]:
    """A log served by Tessera's POSIX driver: its URL, and a notary with its key."""
    program = go.build(f"{TESSERA}/cmd/conformance/posix")
    notary = Notary("tessera.example/log")
    seed = notary.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    key_id = notary.key.key_id.hex()
    secret = tmp_path / "tessera.key"
    encoded = base64.b64encode(bytes([ED25519]) + seed).decode()
    secret.write_text(f"PRIVATE+KEY+{notary.key.name}+{key_id}+{encoded}")
    port = free_port()
    command = [
        program,
        f"--storage_dir={tmp_path / 'tessera'}",
        f"--private_key={secret}",
        f"--listen=127.0.0.1:{port}",
    ]
    with running(command, f"http://127.0.0.1:{port}/checkpoint"):
        yield f"http://127.0.0.1:{port}", notary


def grow(url: str, entries: Sequence[bytes], total: int) -> None:
    # Each request waits until its entry is integrated, so many are sent at once.
    with httpx.Client(timeout=60) as http, ThreadPoolExecutor(64) as pool:
        for answer in pool.map(lambda entry: http.post(f"{url}/add", content=entry), entries):
            answer.raise_for_status()
    until(lambda: int(httpx.get(f"{url}/checkpoint").text.split("\n")[1]) >= total, timeout_seconds=30)


def prove(old: int, *, size: int, read: HashReader) -> list[bytes]:
    return consistency_proof(old, size, read)


def test_our_client_view_fsck_and_witness_work_with_a_tessera_log(tessera: tuple[str, Notary], tmp_path: Path) -> None:
    url, notary = tessera
    policy = no_quorum(notary.key)
    with (
        witness_node(tmp_path / "witness", "w1.example", [notary.key]) as witness,
        LedgerClient(url) as client,
        View(tmp_path / "view", policy) as view,
        contextlib.closing(Cosigner(notary.key)) as cosigner,
    ):
        rule = witness_policy(notary.key, {"one": [witness.notary.key]}, 0)
        for count in (5, 300):
            grow(url, ENTRIES[view.size : count], count)
            note = parse_note(client.checkpoint())
            size = parse_checkpoint(note.text).size
            read = client.reader(size)
            cosigned = cosigner.collect(
                note,
                Witnessing(policies=(rule,), endpoints=(witness.endpoint,)),
                functools.partial(prove, size=size, read=read),
            )
            assert check_checkpoint(rule, cosigned).checkpoint.size == size
            assert view.update(client).new_size == size
            assert check_log(client.get, policy).sound
        assert sorted(data for _, data in view.entries(0)) == sorted(ENTRIES[:300])


# --- a Go witness ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ssh_agent(directory: Path, notary: Notary) -> Iterator[dict[str, str]]:
    """The agent that holds the witness's key, as litewitness wants it."""
    if not all(map(shutil.which, ("ssh-agent", "ssh-add"))):
        pytest.skip("ssh-agent is not installed")
    # The path of a Unix socket is short.
    place = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    key = directory / "witness.pem"
    key.write_bytes(notary.private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key.chmod(0o600)
    environment = {**os.environ, "SSH_AUTH_SOCK": str(place / "agent")}
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", place / "agent"], stdout=subprocess.DEVNULL)
    try:
        until((place / "agent").exists)
        subprocess.run(["ssh-add", key], env=environment, capture_output=True, check=True)
        yield environment
    finally:
        agent.terminate()
        agent.wait()
        shutil.rmtree(place)


def fingerprint(notary: Notary) -> str:
    line = notary.private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    digest = sha256(base64.b64decode(line.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def test_litewitness_cosigns_our_log(go: Go, database: Database, tmp_path: Path) -> None:
    found = shutil.which("litewitness")
    program = Path(found) if found else go.build(f"{TORCHWOOD}/cmd/litewitness")
    log, notary = Notary("go.example/witnessed"), witness_notary("litewitness.example/w")
    port, state = free_port(), tmp_path / "litewitness.db"
    with ssh_agent(tmp_path, notary) as environment:
        command = [
            str(program),
            f"-name={notary.key.name}",
            f"-db={state}",
            f"-ssh-agent={environment['SSH_AUTH_SOCK']}",
            f"-listen=127.0.0.1:{port}",
            f"-key={fingerprint(notary)}",
        ]
        with running(command, f"http://127.0.0.1:{port}/", environment):
            # What its own tool, witnessctl add-log and add-key, would write.
            with contextlib.closing(sqlite3.connect(state, timeout=10)) as database_file, database_file:
                empty = base64.b64encode(sha256(b"").digest()).decode()
                database_file.execute("insert into log values (?, 0, ?)", (log.key.name, empty))
                database_file.execute("insert into key values (?, ?)", (log.key.name, format_vkey(log.key)))
            endpoint = WitnessEndpoint(key=notary.key, url=f"http://127.0.0.1:{port}")
            policy = witness_policy(log.key, {"one": [notary.key]}, 0)
            with (
                ledger_node(
                    database,
                    tmp_path,
                    log.key.name,
                    witnessing=Witnessing(policies=(policy,), endpoints=(endpoint,)),
                    refresh_seconds=1.0,
                ) as node,
                LedgerClient(node.url) as client,
                View(tmp_path / "view", policy) as view,
            ):
                for size in (1, 2, 300, 301):
                    client.add_batch([b"%d" % n for n in range(size)])
                    node.published(size)
                    assert view.update(client).new_size == size
                before = client.checkpoint()
                # Cosigning the same tree anew keeps an idle log fresh.
                time.sleep(1.1)
                until(lambda: client.checkpoint() != before)
                assert view.update(client).new_size == 301
