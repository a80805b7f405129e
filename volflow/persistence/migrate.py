"""The schema's version: read, compared and raised, by one process at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import column, inspect, select, table, text
from sqlalchemy.engine import Connection

from volflow.exceptions import DatabaseError
from volflow.locks import LockBusy, locked
from volflow.persistence.engine import Database

VERSION_TABLE = "volflow_schema"
LOCK_SECONDS = 120
PAUSE_SECONDS = 0.1
_ADVISORY_KEY = 0x766F6C66  # "volf"
_alembic = threading.Lock()  # alembic's context is one a process


def current(database: Database) -> str | None:
    """The version of the database's schema; None where there is none yet."""
    with database.read() as connection:
        return _current(connection)


@cache
def newest() -> str:
    """The version that this release of volflow uses."""
    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert head is not None
    return head


def prepare(database: Database) -> None:
    """Make the schema where there is none, and raise it on SQLite; check it on a server.

    :raises DatabaseError: it is newer than this release, or a server's is older.
    """
    if database.path is not None:
        _check_file(database.path)
    found = current(database)
    if found == newest():
        return
    if found is not None:
        _refuse_unknown(database, found)
        if not database.is_sqlite:
            raise DatabaseError(
                f"{database.name}: the schema is {found}, this release needs {newest()}: "
                "run `volflow db upgrade`"
            )
    upgrade(database)


def upgrade(database: Database, to: str = "head") -> str:
    """Raise the schema to this release's version, and return that.

    :raises DatabaseError: the schema is newer than this release.
    """
    with _one_migrator(database):
        if database.is_sqlite:
            _write_ahead_log(database)
        found = current(database)
        if found is not None:
            _refuse_unknown(database, found)
        _run(database, command.upgrade, to)
    return newest()


def downgrade(database: Database, to: str) -> None:
    """Lower the schema to ``to`` (``base``: remove it), for tests and for going back."""
    with _one_migrator(database):
        _run(database, command.downgrade, to)


def _run(database: Database, what: Callable[..., None], to: str) -> None:
    try:
        with _alembic:
            database.write(lambda connection: what(_config(connection), to))
    except DatabaseError as e:
        if not database.is_mysql:
            raise
        raise DatabaseError(
            f"{e}; MySQL takes no part of a migration back: run it again, it goes on from there"
        ) from e


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", "volflow:persistence/migrations")
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version = table(VERSION_TABLE, column("version_num"))
    found: Any = connection.execute(select(version.c.version_num)).scalar()
    return None if found is None else str(found)


def _refuse_unknown(database: Database, found: str) -> None:
    known = {s.revision for s in ScriptDirectory.from_config(_config(None)).walk_revisions()}
    if found not in known:
        raise DatabaseError(
            f"{database.name}: the schema is {found}, which is newer than this release of "
            f"volflow (it knows up to {newest()})"
        )


def _write_ahead_log(database: Database) -> None:
    raw = database.engine.raw_connection()
    try:
        mode = raw.cursor().execute("PRAGMA journal_mode=WAL").fetchone()[0]
    finally:
        raw.close()
    if mode != "wal":
        raise DatabaseError(f"{database.name}: SQLite has no write-ahead log here (it is {mode})")


def _check_file(path: Path) -> None:
    if not path.parent.is_dir():
        raise DatabaseError(f"the directory of the database, {path.parent}, does not exist")
    if path.exists() and not path.is_file():
        raise DatabaseError(f"the database {path} is not a file")


@contextmanager
def _one_migrator(database: Database) -> Iterator[None]:
    if database.path is not None:
        lock = database.path.with_name(database.path.name + ".migrate")
        try:
            with locked(lock, LOCK_SECONDS):
                yield
        except LockBusy as e:
            raise DatabaseError(f"another process is migrating {database.name}: {e}") from None
        except OSError as e:
            raise DatabaseError(f"{lock} cannot be made: {e.strerror}") from None
        return
    advisory = _MYSQL if database.is_mysql else _POSTGRESQL
    with database.session() as connection:
        try:
            _take(database, connection, advisory)
            yield
        finally:
            connection.invalidate()  # the lock ends with its connection, however this ends


def _take(database: Database, connection: Connection, advisory: tuple[str, ...]) -> None:
    clock = database.clock
    until = clock.monotonic() + LOCK_SECONDS
    *settings, take = advisory
    for statement in settings:
        connection.execute(text(statement))
    while not connection.execute(text(take)).scalar():
        connection.commit()
        if clock.monotonic() > until:
            raise DatabaseError(f"another process is migrating {database.name}")
        clock.sleep(PAUSE_SECONDS)
    connection.commit()


_POSTGRESQL = (f"SELECT pg_try_advisory_lock({_ADVISORY_KEY})",)

_MYSQL = (
    # The connection rests while another one migrates.
    "SET SESSION wait_timeout = 28800",
    # The names of locks are the server's, not a database's.
    "SELECT GET_LOCK(CONCAT('volflow ', MD5(DATABASE())), 0)",
)
"""Statements that take the server's lock: the last one tells whether it is ours."""
