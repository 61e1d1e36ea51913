"""What all tests share: one embedded PostgreSQL per session, and a state directory that goes away with it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from glasshouse.storage.db import Database
from glasshouse.storage.postgres import EmbeddedPostgres

MEMORY_BYTES = 2 << 30
SHARED_MEMORY = "/dev/shm"  # noqa: S108  a file system; names in it are not guessed

# How fast a shared machine draws an example says nothing about the property.
settings.register_profile("glasshouse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("glasshouse")


@pytest.fixture(scope="session", autouse=True)
def state_directory() -> Iterator[Path]:
    """Where clusters go when the tests run as root: pytest's own directories admit nobody but their owner."""
    directory = Path(tempfile.mkdtemp(prefix="glasshouse-state-"))
    directory.chmod(0o755)
    before = os.environ.get("GLASSHOUSE_STATE")
    os.environ["GLASSHOUSE_STATE"] = str(directory)
    yield directory
    if before is None:
        del os.environ["GLASSHOUSE_STATE"]
    else:
        os.environ["GLASSHOUSE_STATE"] = before
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def memory_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory in memory where there is enough of it: for tests that flush thousands of times, whatever to."""
    shared = Path(SHARED_MEMORY)
    writable = shared.is_dir() and os.access(shared, os.W_OK)
    if not writable or shutil.disk_usage(shared).free < MEMORY_BYTES:
        yield tmp_path_factory.mktemp("no-memory")
        return
    directory = Path(tempfile.mkdtemp(prefix="glasshouse-", dir=shared))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def postgres(memory_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(memory_path / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    with Database(postgres.dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
def other_database(memory_path: Path) -> Iterator[Database]:
    """Another machine's."""
    with EmbeddedPostgres(memory_path / "other-postgres") as server, Database(server.dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
def third_database(memory_path: Path) -> Iterator[Database]:
    """A third machine's."""
    with EmbeddedPostgres(memory_path / "third-postgres") as server, Database(server.dsn) as opened:
        yield opened
