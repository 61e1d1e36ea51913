import importlib.resources
import subprocess
from collections.abc import Iterator
from importlib.resources import files as resources
from pathlib import Path

import psycopg
import pytest

from glasshouse.storage.accounts import database_account, postgres_binaries
from glasshouse.storage.db import Database, Migration, load_migrations, load_queries, migrate
from glasshouse.storage.errors import DatabaseUnavailable, SchemaError
from glasshouse.storage.postgres import EmbeddedPostgres

ROOMS = ["glasshouse.ledger", "glasshouse.regions", "glasshouse.regions.customers", "glasshouse.relocation"]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("fresh")) as server:
        yield server


def dump(server: EmbeddedPostgres, schema: str) -> list[str]:
    """The schema as pg_dump writes it, less the lines that are new every time."""
    program = postgres_binaries(database_account()).parent / "bin" / "pg_dump"
    if not program.is_file():
        pytest.skip("pg_dump is not beside the server's binaries")
    run = subprocess.run(
        [program, "--schema-only", f"--schema={schema}", server.dsn], capture_output=True, text=True, check=True
    )
    return [line for line in run.stdout.splitlines() if line and not line.startswith(("--", "\\"))]


@pytest.mark.parametrize("room", ROOMS)
def test_the_migrations_lead_to_the_schema(fresh: EmbeddedPostgres, room: str) -> None:
    schema = room.rpartition(".")[2]
    with Database(fresh.dsn) as database:
        migrate(database, schema, load_migrations(room))
        migrated = dump(fresh, schema)
        with database.transaction() as connection:
            connection.execute(f"drop schema {schema} cascade".encode())
            connection.execute((resources(room) / "schema.sql").read_bytes())
        assert dump(fresh, schema) == migrated
    assert len(migrated) > 10


def test_migrations_run_once_and_in_order(fresh: EmbeddedPostgres) -> None:
    one = Migration(version=1, name="0001_one.sql", sql="create table public.steps (n integer)")
    two = Migration(version=2, name="0002_two.sql", sql="insert into public.steps values (2)")
    with Database(fresh.dsn) as database:
        migrate(database, "steps", (one,))
        for _ in range(2):
            migrate(database, "steps", (one, two))
        with database.transaction() as connection:
            assert connection.execute("select n from public.steps").fetchall() == [(2,)]
        with pytest.raises(SchemaError, match="run the newer program"):
            migrate(database, "steps", (one,))
        with pytest.raises(SchemaError, match="steps was changed"):
            migrate(database, "steps", (Migration(version=1, name=one.name, sql="select 1"), two))


def test_a_migration_that_fails_changes_nothing(fresh: EmbeddedPostgres) -> None:
    step = Migration(version=1, name="0001_bad.sql", sql="create table public.bad (n integer); select 1 / 0")
    with Database(fresh.dsn) as database:
        with pytest.raises(psycopg.errors.DivisionByZero):
            migrate(database, "bad", (step,))
        with database.transaction() as connection:
            assert connection.execute("select to_regclass('public.bad')").fetchone() == (None,)


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with (
        Database(f"host={tmp_path} user=nobody password=x dbname=x", timeout_seconds=0.2) as database,
        pytest.raises(DatabaseUnavailable),
        database.transaction(),
    ):
        raise AssertionError("there is no server")


def test_queries_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _package: tmp_path)
    (tmp_path / "queries.sql").write_text("-- Words.\n\n-- name: one\nselect 1;\n\n-- name: two\n-- why\nselect 2;\n")
    assert dict(load_queries("any")) == {"one": b"select 1;", "two": b"-- why\nselect 2;"}
    (tmp_path / "queries.sql").write_text("select 0;\n-- name: one\nselect 1;\n")
    with pytest.raises(SchemaError, match="text before the first"):
        load_queries("any")
    (tmp_path / "queries.sql").write_text("-- name: one\nselect 1;\n-- name: one\nselect 2;\n")
    with pytest.raises(SchemaError, match="two statements are named 'one'"):
        load_queries("any")


def test_migrations_are_numbered_without_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.resources, "files", lambda _package: tmp_path)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0002_later.sql").write_text("select 1;")
    with pytest.raises(SchemaError, match="without a gap"):
        load_migrations("any")
