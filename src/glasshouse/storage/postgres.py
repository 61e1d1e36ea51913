"""The embedded PostgreSQL: one cluster per node, started with the node and stopped with it.

    with EmbeddedPostgres(node / "data" / "postgres") as postgres:
        connect(postgres.dsn)

The binaries come from a wheel, the start-up code is this module. What it keeps to:

- never as root (see accounts.py); one Unix socket in a directory of mode 0700, no TCP port;
- one database and one role, which is no superuser and signs in by SCRAM with a random password; no other can sign in;
- an exclusive lock on the directory, so that two nodes never share a cluster;
- a cluster appears under its name only when it is complete: a crash while it is being made leaves nothing half-made;
- when the node dies by kill -9 the kernel stops the server (Linux); else the next start stops the orphan;
- a server that dies by itself is started again.

Files in the directory: ``lock``, ``password`` (0600, the node's user), ``location`` (only where the cluster had to go
elsewhere: its path), ``home/`` with ``cluster/``, ``run/`` (the socket) and ``postgres.log``.
"""

import atexit
import contextlib
import ctypes
import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

from glasshouse.storage import files
from glasshouse.storage.accounts import Account, database_account, obstacle, postgres_binaries, state_directory
from glasshouse.storage.errors import ClusterInUse, LauncherError

DATABASE = "glasshouse"
ROLE = "glasshouse"
_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.02
_RESTART_DELAY_SECONDS = 0.3
_FAST_STOP_SECONDS = 30.0
_QUICK_STOP_SECONDS = 5.0
_MAX_LOG_BYTES = 16 << 20
# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the file name in the directory takes 17 with its NUL.
_MAX_SOCKET_DIRECTORY_BYTES = 104 - 18
_SOCKET_PREFIX = "glasshouse-"
_PR_SET_PDEATHSIG = 1
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}
_SIGN_IN = f"local {DATABASE} {ROLE} scram-sha-256\n"
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": "60",
    "shared_buffers": "64MB",
    # One node, one server: nothing is replicated from it, so the log need not carry what replication needs.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class EmbeddedPostgres:
    """A PostgreSQL server that lives as long as this object is started.

    ``directory`` is the node's directory for it; ``account`` the user it runs as if the caller is root. ``start`` and
    ``stop`` may be called from any thread; the object is used as a context manager. Raises LauncherError.
    """

    def __init__(self, directory: Path, *, account: str | None = None, start_timeout_seconds: float = 60.0) -> None:
        self._directory = directory.absolute()
        self._account = database_account(account)
        self._start_timeout_seconds = start_timeout_seconds
        self._lock: int | None = None
        self._home = self._directory
        self._socket_directory = self._directory
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()

    @property
    def dsn(self) -> str:
        """The connection string of the node's role. It holds the password: never log it."""
        return _dsn(self._socket_directory, self._password)

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Make the cluster if there is none, and start the server; returns once it accepts connections."""
        if self._keeper is not None:
            raise LauncherError(f"the PostgreSQL of {self._directory} is started already")
        files.make_directory(self._directory, mode=0o711 if self._account.switch else 0o700)
        self._lock = _take_lock(self._directory)
        try:
            self._password = _password(self._directory)
            self._home = _home(self._directory, self._account)
            binaries = postgres_binaries(self._account)
            if not (self._home / "cluster").is_dir():
                _make_cluster(self._home, self._account, binaries, self._password)
            _stop_orphan(self._home / "cluster")
            self._socket_directory = _socket_directory(self._home, self._account)
            self._stopping.clear()
            self._keeper = threading.Thread(target=self._keep, args=(binaries,), name="postgres", daemon=True)
            self._keeper.start()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        atexit.register(self.stop)

    def stop(self) -> None:
        """Stop the server, waiting until it is gone, and give the directory free. Does nothing if it is stopped."""
        atexit.unregister(self.stop)
        self._stopping.set()
        if self._keeper is not None:
            process = self._process
            if process is not None:
                _end(process.pid, lambda: process.poll() is not None)
            self._keeper.join()
            self._keeper = None
            self._process = None
        if self._socket_directory.name.startswith(_SOCKET_PREFIX):
            shutil.rmtree(self._socket_directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _keep(self, binaries: Path) -> None:
        """Run the server, and run it again when it dies by itself.

        The kernel sends the death signal when the *thread* that started the child ends: so the thread that starts the
        server is this one, which lives as long as the server is wanted.
        """
        while not self._stopping.is_set():
            process = _spawn(binaries, self._home, self._socket_directory, self._account)
            self._process = process
            if self._stopping.is_set():
                process.send_signal(signal.SIGINT)
            code = process.wait()
            if not self._stopping.is_set():
                _LOG.warning("PostgreSQL in %s ended with code %d; starting it again", self._home, code)
                self._stopping.wait(_RESTART_DELAY_SECONDS)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout_seconds
        while time.monotonic() < deadline:
            status = _status(self._home / "cluster")
            process = self._process
            if process is not None and len(status) > 7 and (status[0], status[7]) == (str(process.pid), "ready"):
                return
            if self._keeper is not None and not self._keeper.is_alive():
                break
            time.sleep(_POLL_SECONDS)
        raise LauncherError(f"PostgreSQL did not start in {self._start_timeout_seconds:g} s: {_log_tail(self._home)}")


def running_dsn(directory: Path) -> str:
    """The connection string of the server that another process of the node has started; raises LauncherError.

    For commands beside a node that serves. Whoever can read the node's password may use it.
    """
    directory = directory.absolute()
    location = directory / "location"
    with _explained(f"reading {directory}"):
        password = (directory / "password").read_text()
        home = Path(location.read_text()) if location.is_file() else directory / "home"
    status = _status(home / "cluster")
    if len(status) <= 7 or status[7] != "ready":
        raise LauncherError(f"the PostgreSQL of {directory} is not ready")
    return _dsn(Path(status[4]), password)


def _dsn(sockets: Path, password: str) -> str:
    return f"host={sockets} port=5432 dbname={DATABASE} user={ROLE} password={password}"


def remove_cluster(directory: Path) -> None:
    """Delete a node's cluster for good, wherever it lies, stopping an orphaned server first.

    Raises ClusterInUse if its node is running.
    """
    if not directory.is_dir():
        return
    lock = _take_lock(directory)
    try:
        location = directory / "location"
        home = Path(location.read_text()) if location.is_file() else directory / "home"
        _delete(home)
        shutil.rmtree(directory)
    finally:
        os.close(lock)


def remove_abandoned(below: Path) -> list[Path]:
    """Delete the clusters in the state directory whose nodes lay below a directory and were deleted; which they were.

    For whoever deletes whole nodes with their directory, as the demo does. Nothing is ever deleted without being asked
    for: a node that is not there may be on a disk that is not mounted.
    """
    removed = []
    for note in state_directory().glob("*.node"):
        node, home = Path(note.read_text()), note.with_suffix("")
        if node.is_relative_to(below.absolute()) and not (node / "location").exists():
            _delete(home)
            removed.append(home)
    return removed


def _delete(home: Path) -> None:
    _stop_orphan(home / "cluster")
    shutil.rmtree(home, ignore_errors=True)
    _owner_note(home).unlink(missing_ok=True)


def _take_lock(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise ClusterInUse(f"{directory} is in use by the running node with process id {holder or 'unknown'}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _password(directory: Path) -> str:
    path = directory / "password"
    if not path.is_file():
        files.create(path, secrets.token_hex(32).encode(), mode=0o600)
    return path.read_text()


def _home(directory: Path, account: Account) -> Path:
    """The directory of the cluster, owned by the account: in the node's directory, or in the state directory."""
    location = directory / "location"
    if location.is_file():
        home = Path(location.read_text())
        if not home.is_dir():
            raise LauncherError(f"{location} says that the database lies in {home}, which does not exist")
    elif not account.switch or obstacle(directory, account) is None:
        home = directory / "home"
    else:
        # The random part keeps a directory made anew at the same path from finding the cluster of its forerunner.
        digest = hashlib.sha256(f"{directory}\n{secrets.token_hex(16)}".encode()).hexdigest()[:16]
        home = state_directory() / digest
        blocked = obstacle(home, account)
        if blocked is not None:
            raise LauncherError(
                f"PostgreSQL must not run as root, and account {account.name!r} can enter neither "
                f"{obstacle(directory, account)} nor {blocked}; start the node as an ordinary user, move it, or set "
                "GLASSHOUSE_STATE to a directory that every account can enter"
            )
    with _explained(f"preparing {home} for PostgreSQL"):
        files.make_directory(home.parent)
        home.mkdir(mode=0o700, exist_ok=True)
        if account.switch:
            os.chown(home, account.uid, account.gid)
        files.sync_directory(home.parent)
        if home.parent != directory:
            files.write(_owner_note(home), str(directory).encode())
            files.create(location, str(home).encode())
    return home


def _owner_note(home: Path) -> Path:
    """Beside a cluster in the state directory: the file that says which node's directory it belongs to."""
    return home.with_name(f"{home.name}.node")


def _socket_directory(home: Path, account: Account) -> Path:
    directory = home / "run"
    if len(os.fsencode(directory)) > _MAX_SOCKET_DIRECTORY_BYTES:
        # Its name is kept, so that the next start removes it if this process is killed.
        note = home / "socket"
        if note.is_file():
            shutil.rmtree(note.read_text(), ignore_errors=True)
        directory = Path(tempfile.mkdtemp(prefix=_SOCKET_PREFIX, dir="/tmp"))
        files.write(note, str(directory).encode())
    directory.mkdir(mode=0o700, exist_ok=True)
    if account.switch:
        os.chown(directory, account.uid, account.gid)
    return directory


def _make_cluster(home: Path, account: Account, binaries: Path, password: str) -> None:
    """Make the cluster aside and give it its name when it is complete."""
    fresh = home / "cluster.new"
    shutil.rmtree(fresh, ignore_errors=True)
    options = ("--username=postgres", "--no-locale", "--encoding=UTF8", "--auth=reject", "--no-instructions")
    _run([str(binaries / "initdb"), *options, f"--pgdata={fresh}"], "", account, home)
    # The superuser can sign in no more: administration is by single-user mode, which the owner of the files can start.
    statements = (
        f"create role {ROLE} login nosuperuser nocreatedb nocreaterole password '{password}';\n"
        "alter role postgres nologin;\n"
        f"create database {DATABASE} owner {ROLE};\n"
    )
    command = [str(binaries / "postgres"), "--single", "-D", str(fresh), "-c", "password_encryption=scram-sha-256"]
    _run([*command, "postgres"], statements, account, home)
    with _explained(f"making the PostgreSQL cluster in {home}"):
        files.write(fresh / "pg_hba.conf", _SIGN_IN.encode(), mode=0o600)
        if account.switch:
            os.chown(fresh / "pg_hba.conf", account.uid, account.gid)
        fresh.rename(home / "cluster")
        files.sync_directory(home)


def _run(command: list[str], text: str, account: Account, cwd: Path) -> None:
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=_ENVIRONMENT,
        umask=0o077,
        timeout=300,
        check=False,
        **_identity(account),
    )
    # In single-user mode PostgreSQL reports a failed statement and goes on.
    if done.returncode != 0 or "ERROR:" in done.stderr:
        raise LauncherError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.returncode}")


class _Identity(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


def _identity(account: Account) -> _Identity:
    if not account.switch:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _spawn(binaries: Path, home: Path, sockets: Path, account: Account) -> subprocess.Popen[bytes]:
    settings = {**_SETTINGS, "unix_socket_directories": str(sockets)}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = home / "postgres.log"
    if log.is_file() and log.stat().st_size > _MAX_LOG_BYTES:
        log.replace(home / "postgres.log.1")
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(binaries / "postgres"), "-D", str(home / "cluster"), *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=home,
            env=_ENVIRONMENT,
            umask=0o077,
            # Ctrl-C on the node's terminal must reach the node alone, which then stops its server in good order.
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()),
            **_identity(account),
        )


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """For the child, after it has changed its user (which would clear the setting): be stopped when the parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return set_signal


def _status(cluster: Path) -> list[str]:
    """The lines of postmaster.pid: process id, directory, start time, port, sockets, address, memory, state."""
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []


def _stop_orphan(cluster: Path) -> None:
    """Stop a server that outlived its node. The caller holds the lock, so no living node uses it."""
    status = _status(cluster)
    if not status:
        return
    pid = int(status[0]) if status[0].isascii() and status[0].isdigit() else 0
    if pid > 1 and _is_server_of(pid, cluster):
        _LOG.warning("stopping the orphaned PostgreSQL %d of %s", pid, cluster)
        _end(pid, lambda: not _is_server_of(pid, cluster))
    # A stale file whose process id some other program has by now would keep the server from starting.
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _is_server_of(pid: int, cluster: Path) -> bool:
    """Whether the process is the server of this cluster. A server's working directory is its cluster."""
    if sys.platform.startswith("linux"):
        try:
            return (Path("/proc") / str(pid) / "cwd").readlink() == cluster.resolve()
        except OSError:
            return False
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return str(cluster) in shown.stdout


def _end(pid: int, gone: Callable[[], bool]) -> None:
    """Ask the server to stop fast, then at once; kill it at last."""
    for number, patience_seconds in (
        (signal.SIGINT, _FAST_STOP_SECONDS),
        (signal.SIGQUIT, _QUICK_STOP_SECONDS),
        (signal.SIGKILL, _QUICK_STOP_SECONDS),
    ):
        if gone():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience_seconds
        while time.monotonic() < deadline:
            if gone():
                return
            time.sleep(_POLL_SECONDS)


def _log_tail(home: Path) -> str:
    try:
        return (home / "postgres.log").read_text(errors="replace")[-2000:].strip()
    except OSError as error:
        return str(error)


@contextlib.contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LauncherError(f"{doing}: {error.strerror or error}") from error
