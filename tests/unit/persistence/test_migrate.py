"""The schema's versions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from volflow.exceptions import DatabaseError
from volflow.persistence import migrate, schema
from volflow.persistence.engine import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'volflow.db'}")
    yield found
    found.close()


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    migrate.prepare(database)
    assert migrate.newest() == migrate.current(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrate.VERSION_TABLE}
        )
        assert [] == compare_metadata(context, schema.metadata)


def test_down_and_up_again(database: Database) -> None:
    migrate.prepare(database)
    migrate.downgrade(database, "base")
    assert {migrate.VERSION_TABLE} == set(inspect(database.engine).get_table_names())
    migrate.upgrade(database)
    assert migrate.newest() == migrate.current(database)


def test_of_many_first_starters_one_migrates(tmp_path: Path) -> None:
    """When eight processes' worth of them open an empty database at once."""
    databases = [Database(f"sqlite:///{tmp_path / 'volflow.db'}") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(migrate.prepare, databases))
    assert [migrate.newest()] * 8 == [migrate.current(d) for d in databases]
    for database in databases:
        database.close()


def test_a_newer_schema_is_refused_and_left(database: Database) -> None:
    migrate.prepare(database)
    change = text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'")
    database.write(lambda connection: connection.execute(change))
    with pytest.raises(DatabaseError, match="newer than this release"):
        migrate.prepare(database)
    with pytest.raises(DatabaseError, match="newer than this release"):
        migrate.upgrade(database)
    assert "9999" == migrate.current(database)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'nowhere' / 'volflow.db'}")
    with pytest.raises(DatabaseError, match="nowhere"):
        migrate.prepare(database)
