"""What the code needs of a database server: isolation, counts, limits, and what a failure is."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from oslo_db.exception import DBDeadlock
from sqlalchemy.engine import Connection

from tests.contract.lab import HOST_A, HOST_B, UNKNOWN, Call
from tests.servers.databases import Databases
from volflow import RequestContext, VolumeManager
from volflow.exceptions import DatabaseError, InvalidInput
from volflow.persistence import schema
from volflow.persistence.engine import Database
from volflow.persistence.records import Records
from volflow.persistence.work import conditional_update
from volflow.testing import MemoryDriver
from volflow.testing.crash import Matrix
from volflow.testing.points import Points, lost_reply
from volflow.testing.scenarios import SCENARIOS, Scenario

KEYS = schema.secret_keys
ADD = sa.insert(KEYS).values(created_at=schema.now())
PATIENCE_SECONDS = 30
CONTEXT = RequestContext(overwrite=False)
SOME = SCENARIOS[::8]

Open = Callable[..., Database]


@pytest.fixture
def url(databases: Databases) -> str:
    return databases.migrated()


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Open the database as another process would; all are closed at the end."""
    made: list[Database] = []

    def make(**options: Any) -> Database:
        made.append(Database(url, **options))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
def database(opened: Open) -> Database:
    return opened()


def add(connection: Connection, name: str = "a") -> None:
    connection.execute(ADD, {"fingerprint": name})


def touch(connection: Connection, name: str) -> None:
    """Change a row, and so hold it until the transaction ends."""
    statement = sa.update(KEYS).where(KEYS.c.fingerprint == name)
    connection.execute(statement.values(created_at=KEYS.c.created_at + 1))


def names(connection: Connection) -> list[str]:
    return sorted(connection.execute(sa.select(KEYS.c.fingerprint)).scalars())


def stored(database: Database) -> list[str]:
    with database.read() as connection:
        return names(connection)


# What a statement sees and counts


def test_a_conditional_update_counts_the_row_that_it_finds(database: Database) -> None:
    """When it writes what is there already, it has found its row all the same."""
    values = {"status": "available", "revision": 7}
    common = {"size_gib": 1, "backend": "lab", "attach_status": "detached", **values}
    flags = {"multiattach": False, "readonly": False, "created_at": 1, "updated_at": 1}
    database.write(
        lambda c: c.execute(sa.insert(schema.volumes).values(id="v", **common, **flags))
    )

    def again(expected: dict[str, Any]) -> int:
        return database.write(lambda c: conditional_update(c, "volumes", "v", values, expected))

    assert 1 == again({"revision": 7})
    assert 1 == again({"operation_id": None})
    assert 0 == again({"revision": 6})


def test_a_snapshot_is_one_statement(url: str, tmp_path: Path) -> None:
    """Which sees one moment: a volume, its attachments, and its owner or the one asked for."""
    with VolumeManager(
        url, drivers={"lab": MemoryDriver()}, key_file=tmp_path / "key", recover=False
    ) as manager:
        volume = manager.create_volume(CONTEXT, 1, "lab", multiattach=True)
        made = [manager.attach_volume(CONTEXT, volume.id, host).id for host in (HOST_A, HOST_B)]
        (creation, *_) = manager.list_operations(CONTEXT, volume_id=volume.id, state="succeeded")
        owner = manager.begin_detaching(CONTEXT, volume.id, made[0]).operation_id
        records, statements = Records(manager.database, manager._cipher), list[str]()

        def note(*found: Any) -> None:
            statements.append(found[2])

        sa.event.listen(manager.database.engine, "before_cursor_execute", note)
        found = [
            records.find_snapshot(volume.id),
            records.find_snapshot(volume.id, creation.id),
        ]
        nobody = [records.find_snapshot(UNKNOWN), records.find_run(UNKNOWN)]
        begun = records.find_run(creation.id)
        sa.event.remove(manager.database.engine, "before_cursor_execute", note)

    assert [None, None] == nobody
    assert begun is not None
    found.append(begun)
    assert begun.operation is not None
    assert ["create"] == [flow.name for flow in begun.operation.flows]
    assert 5 == sum(text.startswith("SELECT") for text in statements)
    operations = [snapshot.operation for snapshot in found if snapshot is not None]
    assert [owner, creation.id, creation.id] == [stored.id for stored in operations if stored]
    for snapshot in found:
        assert snapshot is not None
        assert volume.id == snapshot.volume.volume.id
        assert made == [stored.attachment.id for stored in snapshot.attachments]


def test_a_silent_server_is_given_up_on_after_half_a_lease(opened: Open) -> None:
    """When nothing that was sent is acknowledged: the kernel ends the connection by then."""
    database = opened(lease_seconds=20)
    with database.session() as connection:
        raw: Any = connection.connection.driver_connection
        number = raw._sock.fileno() if database.is_mysql else raw.fileno()
        with socket.socket(fileno=os.dup(number)) as connected:
            options = (socket.TCP_USER_TIMEOUT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)
            found = [connected.getsockopt(socket.IPPROTO_TCP, option) for option in options]
            alive = connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert [10_000, 2, 2] == found
    assert alive


def test_statements_of_other_transactions_see_what_is_committed(
    database: Database, opened: Open
) -> None:
    """When another one commits, the next statement sees it, and not before."""
    other = opened()

    def look(connection: Connection) -> list[list[str]]:
        seen = [names(connection)]
        other.write(lambda c: add(c, "between"))
        return [*seen, names(connection)]

    assert [[], ["between"]] == database.write(look)


def test_the_clock_is_the_servers_own_in_utc(database: Database) -> None:
    """Whatever the session's and the server's time zones are; it goes on within a transaction."""
    query = sa.select(schema.now(), sa.func.now())
    with database.read() as connection:
        first = connection.execute(query).scalar()
        second = connection.execute(query).scalar()
    assert abs(first - database.clock.microseconds()) < 60e6
    assert first < second


def test_texts_differ_by_case_and_hold_every_character(database: Database) -> None:
    """When two keys differ by case alone, and one has characters of four bytes."""
    for name in ("key", "KEY", "🔑"):
        database.write(lambda c, name=name: add(c, name))
    query = sa.select(KEYS.c.fingerprint).where(KEYS.c.fingerprint == "Key")
    with database.read() as connection:
        assert ["KEY", "key", "🔑"] == names(connection)
        assert connection.execute(query).scalar() is None


def test_a_long_document_is_stored_whole(database: Database) -> None:
    """When it is longer than the 64 KiB that a connector may have."""
    long = "x" * 200_000
    event = {"operation_id": "o", "epoch": 1, "step": "s", "what": "w", "detail": long}
    insert = sa.insert(schema.events).values(at=schema.now(), **event)
    database.write(lambda c: c.execute(insert))
    with database.read() as connection:
        assert long == connection.execute(sa.select(schema.events.c.detail)).scalar()


# What a failure is


def test_a_stopped_writer_holds_no_row_past_its_lease(database: Database, opened: Open) -> None:
    """When a transaction stands still, the server ends it, and its owner does it again later."""
    database.write(add)
    stopped, go_on, runs = threading.Event(), threading.Event(), []

    def stall(connection: Connection) -> None:
        runs.append(1)
        touch(connection, "a")
        if len(runs) == 1:
            stopped.set()
            assert go_on.wait(PATIENCE_SECONDS)
        touch(connection, "a")

    call = Call(opened(lease_seconds=2).write, stall)
    assert stopped.wait(PATIENCE_SECONDS)
    opened(lease_seconds=2).write(lambda c: touch(c, "a"))
    go_on.set()
    assert call.value() is None
    assert [1, 1] == runs


def test_of_two_writers_that_wait_for_each_other_both_get_through(
    database: Database, opened: Open
) -> None:
    """When they take two rows in opposite order, the one that the server ends begins again."""
    for name in ("a", "b"):
        database.write(lambda c, name=name: add(c, name))
    both = threading.Barrier(2)
    runs: list[str] = []

    def work(connection: Connection, order: str) -> None:
        runs.append(order)
        touch(connection, order[0])
        if runs.count(order) == 1:
            both.wait(PATIENCE_SECONDS)
        touch(connection, order[1])

    calls = [Call(opened().write, lambda c, order=order: work(c, order)) for order in ("ab", "ba")]
    assert [None, None] == [call.value() for call in calls]
    assert 3 == len(runs)


def test_a_deadlock_at_the_commit_was_no_commit(database: Database) -> None:
    """When the server says at COMMIT that another node was first, the write is done again."""
    points = Points(at(database, "commit before"))
    points.error = lambda name: DBDeadlock("certification failed")
    with points.watching(database):
        database.write(lambda c: add(c, "b"))
    assert "commit before" == points.struck
    assert ["a", "b"] == stored(database)


def at(database: Database, name: str) -> int:
    """The number of a point of a write that adds a key, counted with the key ``a``."""
    counted = Points()
    with counted.watching(database):
        database.write(add)
    return counted.reached.index(name)


@pytest.mark.parametrize("name", ["commit before", "commit after"])
def test_a_commit_whose_reply_was_lost_is_made_once(database: Database, name: str) -> None:
    """When the connection breaks before or after the server has committed."""
    points = Points(at(database, name))
    points.error = lost_reply
    with points.watching(database):
        database.write(lambda c: add(c, "b"), landed=lambda c: "b" in names(c))
    assert name == points.struck
    assert ["a", "b"] == stored(database)


def test_what_runs_when_the_server_dies_is_done_when_it_is_back(
    database: Database, databases: Databases
) -> None:
    """When it is killed inside a transaction, and later while nobody speaks with it."""
    runs = []

    def work(connection: Connection) -> None:
        runs.append(1)
        add(connection)
        if len(runs) == 1:
            databases.server.kill()
            databases.server.restart()
            names(connection)

    database.write(work)
    assert ["a"] == stored(database)
    databases.server.kill()
    databases.server.restart()
    assert ["a"] == stored(database)
    assert [1, 1] == runs


def test_a_server_that_is_down_is_one_sentence(
    database: Database, databases: Databases, opened: Open
) -> None:
    """When nobody listens, it says so, without SQL."""
    impatient = opened(patience=0.1)
    databases.server.kill()
    try:
        for call in (lambda: stored(impatient), lambda: impatient.write(add)):
            with pytest.raises(DatabaseError) as caught:
                call()
            assert "127.0.0.1" in str(caught.value)
            assert "\n" not in str(caught.value)
            assert "INSERT" not in str(caught.value)
    finally:
        databases.server.restart()
    assert [] == stored(impatient)


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(
    databases: Databases, url: str
) -> None:
    """When it hangs before it greets, whoever connects hears so after connect_timeout."""
    silent = Database(f"{url}?connect_timeout=2", patience=0.1)
    databases.server.pause()
    try:
        with pytest.raises(DatabaseError):
            stored(silent)
    finally:
        databases.server.resume()
    assert [] == stored(silent)
    silent.close()


@pytest.mark.parametrize("name", ["mysql+mysqldb", "postgresql+psycopg2"])
def test_a_missing_driver_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match="driver of this database URL is not installed"):
        Database(f"{name}://u@127.0.0.1/db")


def test_mariadb_has_a_second_name() -> None:
    """When SQLAlchemy's other name of the dialect is used, errors have the same meaning."""
    database = Database("mariadb+pymysql://u@127.0.0.1/db?charset=utf8mb4")
    assert "mysql" == database.engine.dialect.name
    assert "mariadb+pymysql://u@127.0.0.1/db?charset=utf8mb4" == database.name
    database.close()


# The whole of it


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("scenario", SOME, ids=lambda scenario: scenario.name)
def test_a_death_leaves_nothing_behind(scenario: Scenario, databases: Databases) -> None:
    """When the process dies at some of the points of some scenarios; on SQLite it is all."""
    with Matrix(scenario, MemoryDriver, databases.migrated) as matrix:
        matrix.single(step=13, start=SOME.index(scenario))
    assert {} == matrix.tally.broken
    assert matrix.tally.single >= 1
