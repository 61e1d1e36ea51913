"""The launcher of the embedded PostgreSQL, with the real server."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from glasshouse.storage import accounts
from glasshouse.storage.accounts import Account, database_account, obstacle, postgres_binaries
from glasshouse.storage.db import Database
from glasshouse.storage.errors import ClusterInUse, DatabaseUnavailable, LauncherError
from glasshouse.storage.postgres import EmbeddedPostgres, remove_abandoned, remove_cluster, running_dsn

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="about starting as root")

NODE = """
import os, signal, sys
from pathlib import Path
from glasshouse.storage import postgres
from glasshouse.storage.db import Database
if "orphan" in sys.argv:
    postgres._die_with_parent = lambda parent: None
server = postgres.EmbeddedPostgres(Path(sys.argv[1]))
server.start()
with Database(server.dsn) as database, database.transaction() as connection:
    connection.execute("create table kept (n integer)")
    connection.execute("insert into kept values (7)")
print(server.pid, flush=True)
sys.stdin.read(1)
"""


def start_node(directory: Path, *words: str) -> tuple[subprocess.Popen[str], int]:
    """A node in a process of its own, with one committed row; and the process id of its server."""
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(directory), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert node.stdout is not None
    return node, int(node.stdout.readline())


def kill(node: subprocess.Popen[str]) -> None:
    node.kill()
    node.communicate()


def test_a_command_beside_the_node_joins_its_server(tmp_path: Path) -> None:
    node, _ = start_node(tmp_path)
    try:
        with pytest.raises(ClusterInUse), EmbeddedPostgres(tmp_path):
            pass
        with Database(running_dsn(tmp_path)) as database, database.transaction() as connection:
            assert connection.execute("select n from kept").fetchall() == [(7,)]
    finally:
        kill(node)


def test_where_nothing_runs_there_is_nothing_to_join(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="No such file"):
        running_dsn(tmp_path)
    with EmbeddedPostgres(tmp_path):
        pass
    with pytest.raises(LauncherError, match="not ready"):
        running_dsn(tmp_path)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 15
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def rows(server: EmbeddedPostgres) -> list[tuple[object, ...]]:
    with Database(server.dsn) as database, database.transaction() as connection:
        return connection.execute("select n from kept").fetchall()


def test_who_can_sign_in(postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute(
            "select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = current_user"
        ).fetchone() == (False, False, False)
        assert connection.execute("show listen_addresses").fetchone() == ("",)
        assert connection.execute("show synchronous_commit").fetchone() == ("on",)
        assert connection.execute("show fsync").fetchone() == ("on",)
    directory = postgres.dsn.split()[0].removeprefix("host=")
    assert Path(directory).stat().st_mode & 0o777 == 0o700
    for wrong in ("user=postgres dbname=postgres", "user=glasshouse dbname=glasshouse password=guess"):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"host={directory} port=5432 {wrong}")


@AS_ROOT
def test_the_server_never_runs_as_root(postgres: EmbeddedPostgres) -> None:
    status = Path(f"/proc/{postgres.pid}/status").read_text()
    ids = {
        line.split(":")[0]: line.split()[1:] for line in status.splitlines() if line.startswith(("Uid", "Gid", "Gro"))
    }
    account = database_account()
    assert ids["Uid"] == [str(account.uid)] * 4
    assert ids["Gid"] == [str(account.gid)] * 4
    assert set(ids["Groups"]) <= {str(account.gid)}


def test_two_nodes_never_share_a_cluster(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path), pytest.raises(ClusterInUse, match=f"process id {os.getpid()}"):
        EmbeddedPostgres(tmp_path).start()


def test_stop_and_start_again(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path)
    for _ in range(2):
        server.start()
        pid = server.pid
        with Database(server.dsn) as database, database.transaction() as connection:
            connection.execute("create table if not exists kept (n integer)")
        server.stop()
        assert pid is not None
        assert not is_running(pid)
        server.stop()


def test_kill_9_of_the_node_takes_the_server_along(tmp_path: Path) -> None:
    node, pid = start_node(tmp_path)
    kill(node)
    wait_until_gone(pid)
    with EmbeddedPostgres(tmp_path) as server:
        assert rows(server) == [(7,)]


def test_an_orphan_is_stopped_by_the_next_start(tmp_path: Path) -> None:
    node, pid = start_node(tmp_path, "orphan")
    kill(node)
    assert is_running(pid)
    with EmbeddedPostgres(tmp_path) as server:
        assert not is_running(pid)
        assert rows(server) == [(7,)]


def test_a_stale_pid_file_that_names_some_other_process(tmp_path: Path) -> None:
    node, pid = start_node(tmp_path)
    os.kill(pid, signal.SIGKILL)
    kill(node)
    wait_until_gone(pid)
    (stale,) = (path for path in _everything(tmp_path) if path.name == "postmaster.pid")
    lines = stale.read_text().splitlines()
    stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedPostgres(tmp_path) as server:
        assert rows(server) == [(7,)]


def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server, Database(server.dsn, timeout_seconds=2) as database:
        with database.transaction() as connection:
            connection.execute("create table kept (n integer)")
            connection.execute("insert into kept values (7)")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with database.transaction() as connection:
                    assert connection.execute("select n from kept").fetchall() == [(7,)]
                break
            except DatabaseUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_a_crash_while_the_cluster_is_made_leaves_nothing_half_made(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path):
        pass
    (cluster,) = (path.parent for path in _everything(tmp_path) if path.name == "PG_VERSION" and _is_top(path))
    cluster.rename(cluster.with_name("cluster.new"))
    (cluster.with_name("cluster.new") / "PG_VERSION").unlink()
    with EmbeddedPostgres(tmp_path) as server, psycopg.connect(server.dsn) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def _everything(directory: Path) -> list[Path]:
    location = directory / "location"
    home = Path(location.read_text()) if location.is_file() else directory
    return list(home.rglob("*"))


def _is_top(path: Path) -> bool:
    return path.parent.name == "cluster"


def test_a_long_path_gets_a_short_socket_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glasshouse.storage.postgres._MAX_SOCKET_DIRECTORY_BYTES", 10)
    with EmbeddedPostgres(tmp_path) as server:
        directory = Path(server.dsn.split()[0].removeprefix("host="))
        assert len(str(directory)) < 40
        assert directory.stat().st_mode & 0o777 == 0o700
        with psycopg.connect(server.dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    assert not directory.exists()


def test_a_cluster_is_removed_for_good(tmp_path: Path) -> None:
    node = tmp_path / "node"
    with EmbeddedPostgres(node), pytest.raises(ClusterInUse):
        remove_cluster(node)
    location = node / "location"
    home = Path(location.read_text()) if location.is_file() else node / "home"
    remove_cluster(node)
    assert not node.exists()
    assert not home.exists()
    remove_cluster(node)


@AS_ROOT
def test_a_node_that_the_account_cannot_reach_keeps_its_cluster_in_the_state_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    node = tmp_path / "node"
    with EmbeddedPostgres(node):
        pass
    home = Path((node / "location").read_text())
    assert home.parent == accounts.state_directory()
    assert tmp_path.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(node)
    with EmbeddedPostgres(node):
        assert Path((node / "location").read_text()) != home


@AS_ROOT
def test_clusters_of_deleted_nodes_are_removed_on_request(tmp_path: Path) -> None:
    homes = {}
    for name in ("demo/one", "demo/two", "other/three"):
        with EmbeddedPostgres(tmp_path / name):
            homes[name] = Path((tmp_path / name / "location").read_text())
    shutil.rmtree(tmp_path / "demo" / "one")
    shutil.rmtree(tmp_path / "other" / "three")
    assert remove_abandoned(tmp_path / "demo") == [homes["demo/one"]]
    assert [home.exists() for home in homes.values()] == [False, True, True]
    assert remove_abandoned(tmp_path / "demo") == []
    with EmbeddedPostgres(tmp_path / "demo" / "two"):
        pass
    remove_cluster(tmp_path / "demo" / "two")
    assert remove_abandoned(tmp_path) == [homes["other/three"]]
    assert not [path for path in accounts.state_directory().iterdir() if path.name.startswith(homes["demo/two"].name)]


@AS_ROOT
def test_a_node_that_the_account_can_reach_keeps_its_cluster_to_itself(tmp_path: Path) -> None:
    node = accounts.state_directory() / "reachable" / "node"
    with EmbeddedPostgres(node):
        assert (node / "home" / "cluster").is_dir()
        assert not (node / "location").exists()
    assert (node / "password").stat().st_mode & 0o777 == 0o600
    shutil.rmtree(node.parent)


@AS_ROOT
def test_where_nothing_can_be_reached_the_error_names_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setenv("GLASSHOUSE_STATE", str(closed / "state"))
    with pytest.raises(LauncherError, match="must not run as root") as caught:
        EmbeddedPostgres(closed / "node").start()
    account = database_account()
    assert str(obstacle(closed, account)) in str(caught.value)


@AS_ROOT
def test_binaries_out_of_reach_are_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_reach(path: Path, _account: Account) -> Path | None:
        return None if accounts.state_directory() in path.parents else path

    monkeypatch.setattr(accounts, "obstacle", out_of_reach)
    account = database_account()
    first = postgres_binaries(account)
    assert accounts.state_directory() in first.parents
    assert postgres_binaries(account) == first
    run = subprocess.run([first / "initdb", "--version"], capture_output=True, text=True, check=True, user=account.uid)
    assert run.stdout.startswith("initdb (PostgreSQL)")


@AS_ROOT
def test_accounts_that_will_not_do() -> None:
    with pytest.raises(LauncherError, match="no account 'nobody-of-that-name'"):
        database_account("nobody-of-that-name")
    with pytest.raises(LauncherError, match="'root' is root"):
        database_account("root")


def test_an_obstacle_is_found_by_permission_bits(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    stranger = Account(name="stranger", uid=54_321, gid=54_321, switch=True)
    assert obstacle(place, stranger) in (tmp_path, *tmp_path.parents)
    owner = Account(name="own", uid=os.geteuid(), gid=os.getegid(), switch=False)
    assert obstacle(place, owner) is None
