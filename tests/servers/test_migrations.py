"""The schema's versions on each database: up and down, with rows, and after a death half way."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from tests.servers.databases import Databases
from volflow.exceptions import DatabaseError
from volflow.persistence import migrate, schema
from volflow.persistence.engine import Database
from volflow.persistence.flows import read
from volflow.persistence.work import new_id
from volflow.testing import Crash
from volflow.testing.points import Points

VERSIONS = sorted(
    script.revision
    for script in ScriptDirectory.from_config(migrate._config(None)).walk_revisions()
)
IDS = dict.fromkeys(("id", "volume_id", "operation_id"), "11111111-1111-4111-8111-111111111111")


@pytest.fixture
def database(all_databases: Databases) -> Iterator[Database]:
    found = Database(all_databases.empty(), patience=5)
    yield found
    found.close()


def differences(database: Database) -> list[Any]:
    """What the tables lack of what the code uses."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migrate.VERSION_TABLE}
        )
        return compare_metadata(context, schema.metadata)


def tables(connection: Connection) -> list[sa.Table]:
    """The tables as the database has them, those first that others refer to."""
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != migrate.VERSION_TABLE]


def fill(database: Database) -> None:
    """Write one row into each table, a value in each column, which makes no sense."""

    def work(connection: Connection) -> None:
        for table in tables(connection):
            connection.execute(sa.insert(table).values({c.name: value(c) for c in table.c}))

    database.write(work)


def value(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, sa.String):
        # Four bytes in UTF-8, a capital letter, and what ends a line.
        return IDS.get(column.name, "A🔒\n")
    return 1


def rows(database: Database) -> dict[str, list[dict[str, Any]]]:
    with database.read() as connection:
        return {
            table.name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for table in tables(connection)
        }


def common(
    before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The rows before, without the columns that are not there after."""
    return {
        name: [
            {key: row[key] for key in row if key in other}
            for row, other in zip(found, after[name], strict=True)
        ]
        for name, found in before.items()
        if name in after
    }


def of_both(
    found: dict[str, list[dict[str, Any]]], other: dict[str, list[dict[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The tables that are there on the other side, too."""
    return {name: rows for name, rows in found.items() if name in other}


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    migrate.prepare(database)
    assert migrate.newest() == migrate.current(database)
    assert [] == differences(database)


@pytest.mark.parametrize("version", VERSIONS)
def test_rows_of_each_former_version_stay(database: Database, version: str) -> None:
    """When a former version's tables, which hold rows, are raised, lowered and raised again."""
    migrate.upgrade(database, version)
    assert version == migrate.current(database)
    fill(database)
    former = rows(database)

    migrate.upgrade(database)
    newest = rows(database)
    migrate.downgrade(database, version)
    lowered = rows(database)
    migrate.upgrade(database)

    assert of_both(former, newest) == common(former, newest)
    assert former == lowered
    assert newest == rows(database)
    assert [] == differences(database)


def test_all_of_it_goes_with_its_rows(database: Database) -> None:
    migrate.prepare(database)
    fill(database)
    migrate.downgrade(database, "base")
    assert {} == rows(database)
    migrate.upgrade(database)
    assert migrate.newest() == migrate.current(database)
    assert [] == differences(database)


@pytest.mark.parametrize("flows", [1, 3])
def test_flows_move_into_their_operation_and_back(database: Database, flows: int) -> None:
    """When a former release left operations with so many flows each, and one without."""
    migrate.upgrade(database, "0004")
    fill(database)
    atoms = '{"update-status":["SUCCESS","EXECUTE"]}'
    operations = [str(uuid.UUID(int=n)) for n in range(4)]

    def write(connection: Connection) -> None:
        found = {table.name: table for table in tables(connection)}
        row = dict(connection.execute(sa.select(found["operations"])).mappings().one())
        for key in operations:
            connection.execute(sa.insert(found["operations"]).values(row | {"id": key}))
            for seq in range(flows if key != operations[0] else 0):
                values = {"id": new_id(), "operation_id": key, "seq": seq, "atoms": atoms}
                told = {"phase": f"phase-{seq}", "name": "attach", "state": "SUCCESS"}
                connection.execute(sa.insert(found["flows"]).values(values | told))

    database.write(write)
    former = rows(database)
    migrate.upgrade(database)
    for key in operations:
        with database.read() as connection:
            query = sa.select(schema.operations.c.flows).where(schema.operations.c.id == key)
            found = read(connection.execute(query).scalar_one(), key)
        expected = [] if key == operations[0] else [f"phase-{seq}" for seq in range(flows)]
        assert expected == [flow.phase for flow in found]
        assert all(flow.atoms == {"update-status": ("SUCCESS", "EXECUTE")} for flow in found)
    migrate.downgrade(database, "0004")
    lowered = rows(database)
    for both in (former, lowered):
        for found in both.values():
            found.sort(key=str)
    assert former == lowered


CHANGES = [
    f"statement {word}" for word in ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")
]


class Writes(Points):
    """Counts what changes tables or rows, and commits; a look is no point."""

    def reach(self, name: str) -> None:
        if name in (*CHANGES, "commit before"):
            super().reach(name)


def die_until_done(database: Database, what: Any, *arguments: str) -> int:
    """Let each attempt die a little later, or after a little more; return how many died."""
    for deaths in range(200):
        # On MySQL the steps of those that died stay: one to four of them each time.
        points = Writes(1 + deaths % 4 if database.is_mysql else deaths * 6)
        try:
            with points.watching(database):
                what(database, *arguments)
        except Crash:
            continue
        return deaths
    raise AssertionError("it is never done")


def test_a_death_at_any_step_leaves_what_the_next_attempt_finishes(database: Database) -> None:
    """When each process that migrates dies at a statement or a commit, up and down."""
    assert die_until_done(database, migrate.upgrade) > 3
    assert [] == differences(database)
    fill(database)
    full = rows(database)

    first = VERSIONS[0]
    assert die_until_done(database, migrate.downgrade, first) > 0
    assert first == migrate.current(database)
    kept = rows(database)
    assert of_both(kept, full) == common(full, kept)
    assert die_until_done(database, migrate.upgrade) > 0
    assert common(full, kept) == of_both(common(rows(database), kept), full)
    assert [] == differences(database)

    assert die_until_done(database, migrate.downgrade, "base") > 1
    assert {} == rows(database)


def test_a_migration_that_fails_half_way_says_what_to_do(database: Database) -> None:
    """When a step is refused, the sentence says whether what was done stays."""
    migrate.upgrade(database, VERSIONS[0])
    points = Writes(1)
    points.error = lambda name: sa.exc.OperationalError("ALTER", {}, OSError("no space left"))
    with points.watching(database), pytest.raises(DatabaseError, match="no space left") as found:
        migrate.upgrade(database)
    assert database.is_mysql == ("run it again, it goes on from there" in str(found.value))
    assert VERSIONS[0] == migrate.current(database)
    migrate.upgrade(database)
    assert [] == differences(database)


@pytest.mark.parametrize("name", ["volumes", "secret_keys"])
def test_tables_of_others_are_left_alone(database: Database, name: str) -> None:
    """When the database holds another program's table of the same name."""
    alien = sa.Table(name, sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("x", sa.Integer))
    database.write(alien.create)
    with pytest.raises(DatabaseError, match=f"there is a table {name} already"):
        migrate.prepare(database)
    with database.read() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns(name)}
    assert {"id", "x"} == columns


def test_of_many_first_starters_one_migrates(all_databases: Databases) -> None:
    """When four processes' worth of them open an empty database at once."""
    url = all_databases.empty()
    opened = [Database(url) for _ in range(4)]
    with ThreadPoolExecutor(len(opened)) as pool:
        list(pool.map(migrate.prepare, opened))
    assert [migrate.newest()] * len(opened) == [migrate.current(one) for one in opened]
    assert [] == differences(opened[0])
    for one in opened:
        one.close()


def test_two_databases_of_one_server_are_migrated_at_once(databases: Databases) -> None:
    """When another database of the server is being migrated, nobody waits for it."""
    one, other = (Database(databases.empty()) for _ in range(2))
    with migrate._one_migrator(one):
        migrate.prepare(other)
    assert migrate.newest() == migrate.current(other)
    one.close()
    other.close()


def test_one_who_migrates_too_long_is_named(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the lock of those who migrate is not given back, the next one says so."""
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0)
    url = databases.empty()
    one, other = Database(url), Database(url)
    with migrate._one_migrator(one), pytest.raises(DatabaseError, match="another process"):
        migrate.upgrade(other)
    assert migrate.current(other) is None
    migrate.upgrade(other)
    one.close()
    other.close()
