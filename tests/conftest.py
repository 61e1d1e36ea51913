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
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    with Database(postgres.dsn) as opened:
        yield opened
