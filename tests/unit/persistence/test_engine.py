"""Reads and writes of one database, and what they make of its failures."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from volflow.exceptions import DatabaseError, InvalidInput
from volflow.persistence import migrate, schema
from volflow.persistence.engine import Database
from volflow.testing.points import Points, lost_reply

KEYS = schema.secret_keys
ADD = insert(KEYS).values(created_at=schema.now())


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'volflow.db'}", patience=2)
    migrate.prepare(found)
    yield found
    found.close()


def add(connection: Connection, name: str = "a") -> None:
    connection.execute(ADD, {"fingerprint": name})


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(KEYS.c.fingerprint)).scalars())


def landed(connection: Connection) -> bool:
    return connection.execute(select(KEYS.c.fingerprint)).first() is not None


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory"]
)
def test_a_database_that_dies_with_the_process_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="outlive the process"):
        Database(url)


@pytest.mark.parametrize("url", ["", "no url", "nosuch://host/db", "postgresql+nosuch://h/d"])
def test_what_is_no_database_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="database URL"):
        Database(url)


def test_sqlite_is_set_up_to_lose_nothing(database: Database) -> None:
    """Write-ahead log, every commit synced, foreign keys checked."""
    with database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1} == found


def test_a_write_takes_the_write_lock_before_it_reads(database: Database) -> None:
    """A transaction that starts as a reader would fail at its first write, not wait."""
    seen: list[str] = []
    raw = database.engine.raw_connection()
    raw.driver_connection.set_trace_callback(seen.append)  # type: ignore[union-attr]
    raw.close()
    database.write(add)
    with database.read() as connection:
        connection.execute(select(KEYS)).all()
    assert [s for s in seen if s.startswith("BEGIN")] == ["BEGIN IMMEDIATE", "BEGIN"]


def test_a_write_whose_reply_was_lost_is_not_done_twice(database: Database) -> None:
    """When the commit landed and the connection broke before it said so."""
    points = Points()
    points.error = lost_reply
    with points.watching(database):
        database.write(add)
        points.strike_at = len(points.reached) + points.reached.index("commit after")
        database.write(lambda c: add(c, "b"), landed=lambda c: "b" in _all(c))
    assert points.struck == "commit after"
    assert ["a", "b"] == sorted(names(database))


def _all(connection: Connection) -> list[str]:
    return list(connection.execute(select(KEYS.c.fingerprint)).scalars())


@pytest.mark.parametrize("point", ["statement INSERT", "commit before"])
def test_a_write_that_did_not_land_is_done_again(database: Database, point: str) -> None:
    points = Points()
    points.error = lost_reply
    with points.watching(database):
        database.write(lambda c: None)
        order = ["statement BEGIN", "statement INSERT", "commit before"]
        points.strike_at = len(points.reached) + order.index(point)
        database.write(add, landed=landed)
    assert points.struck == point
    assert ["a"] == names(database)


def test_a_lost_reply_that_nobody_can_explain_is_an_error(database: Database) -> None:
    points = Points(2)
    points.error = lost_reply
    with points.watching(database), pytest.raises(DatabaseError):
        database.write(add)
    assert points.struck == "commit before"


def commits_refused(database: Database, said: str) -> int:
    """Refuse one commit with these words; return how often it was tried."""
    tried: list[Connection] = []
    points = Points(1)
    points.error = lambda name: sqlite3.OperationalError(said)
    with points.watching(database), suppress(DatabaseError):
        database.write(tried.append, landed=landed)
    assert points.struck == "commit before"
    return len(tried)


def test_a_commit_is_tried_again_only_where_that_may_help(database: Database) -> None:
    """A file that is busy is soon free; a disk that is full stays so, and its caller is told."""
    assert 2 == commits_refused(database, "database is locked")
    assert 1 == commits_refused(database, "database or disk is full")


def test_an_error_says_what_the_database_said_and_no_more(database: Database) -> None:
    """No SQL and no parameters, which may hold a secret."""

    def broken(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO nowhere VALUES ('hush')")

    with pytest.raises(DatabaseError, match="no such table: nowhere") as caught:
        database.write(broken)
    assert "hush" not in str(caught.value)


def test_an_interruption_is_not_taken_for_an_error(database: Database) -> None:
    """When Ctrl-C comes while a statement runs, oslo.db's listeners fail on the connection."""

    def interrupted(connection: Connection) -> None:
        raise KeyboardInterrupt

    points = Points(1)
    points.error = lambda name: KeyboardInterrupt()
    with points.watching(database), pytest.raises(KeyboardInterrupt):
        database.write(add)
    with pytest.raises(KeyboardInterrupt):
        database.write(interrupted)
    assert [] == names(database)
    database.write(add)
    assert ["a"] == names(database)


def _write_many(url: str, name: str, count: int, failures: Any) -> None:
    database = Database(url)
    try:
        for number in range(count):
            with database.read() as connection:
                connection.execute(select(KEYS)).first()
            database.write(lambda c, key=f"{name}-{number}": add(c, key))  # type: ignore[misc]
    except DatabaseError as e:
        failures.put(str(e))
    finally:
        database.close()


def test_eight_writing_processes_get_along(database: Database) -> None:
    """None of them ever hears that the database is locked."""
    spawn = multiprocessing.get_context("spawn")
    failures = spawn.Queue()
    url = database.url.render_as_string(hide_password=False)
    writers = [
        spawn.Process(target=_write_many, args=(url, str(n), 25, failures)) for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [0] * 8 == [writer.exitcode for writer in writers]
    assert failures.empty(), failures.get()
    assert 8 * 25 == len(names(database))


def test_a_full_database_loses_nothing(database: Database) -> None:
    """When SQLite may not grow any more, the write is refused and what was there stays."""
    database.write(add)
    with sqlite3.connect(database.path or "") as raw:
        pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.close()

    def fill(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        for number in range(10_000):
            add(connection, f"{number:064}")

    with pytest.raises(DatabaseError, match="full"):
        database.write(fill)
    database.engine.dispose()
    assert ["a"] == names(database)
