"""Counts commits and statements below every library, where drivers talk to their database.

SQLite says each statement that it runs to a trace callback. libpq writes each message of a
PostgreSQL connection to a trace, the server's answers included. So all peers are counted alike,
whatever they use, and however they begin and end their transactions. It costs time: a worker
that counts is not one that is timed.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psycopg
from psycopg.pq import Trace, TransactionStatus
from psycopg.pq.abc import PGconn

from benchmarks.rows import is_sqlite, plain

CONTROL = ("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "START")
"""What begins and ends transactions is no statement."""

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP")

SETTINGS = {
    "sqlite": ("journal_mode", "synchronous"),
    "postgresql": ("fsync", "synchronous_commit", "full_page_writes"),
}
"""What says whether a commit is on the disk when it returns."""

DURABLE = {
    "sqlite": {"journal_mode": "wal", "synchronous": "2"},
    "postgresql": {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"},
}
"""What each of them has to be: SQLite says 2 for FULL."""


class Counts(NamedTuple):
    """What one operation asked of the database.

    :ivar commits: transactions that wrote, each of which waits for the disk.
    :ivar statements: their texts, reads included; BEGIN, COMMIT and their like are none.
    """

    commits: int
    statements: list[str]


class Watch(Protocol):
    """Counts what a process asks of its database.

    :ivar settings: what the connections said of themselves, by name, since :meth:`ask`.
    """

    settings: dict[str, set[str]]

    def start(self) -> None:
        """Watch what connects from now on; a process cannot stop it."""

    def ask(self) -> None:
        """Have each connection asked for its settings when it is used next."""

    def take(self) -> Counts:
        """What was counted since the last call."""


def watch(url: str, directory: Path) -> Watch:
    """The watch for a database; ``directory`` is for its traces."""
    return SqliteWatch() if is_sqlite(url) else PostgresqlWatch(url, directory)


def first_word(statement: str) -> str:
    """The word that says what a statement is, in capitals."""
    words = statement.split(None, 1)
    return words[0].upper().rstrip(";") if words else ""


class Transactions:
    """Tells from the statements of one SQLite connection which transactions wrote."""

    def __init__(self) -> None:
        self._open = self._wrote = False
        self.commits = 0
        self.statements: list[str] = []

    def see(self, statement: str) -> None:
        """Take the next statement that SQLite runs."""
        first = first_word(statement)
        if first.startswith("--"):
            return  # a trigger's
        if first in CONTROL:
            self._control(first)
            return
        self.statements.append(statement)
        if first in WRITES:
            self._wrote = self._open
            self.commits += not self._open  # it is a transaction of its own

    def _control(self, first: str) -> None:
        if first in ("BEGIN", "START"):
            self._open, self._wrote = True, False
        elif first in ("COMMIT", "END", "ROLLBACK"):
            self.commits += self._wrote and first != "ROLLBACK"
            self._open = self._wrote = False


class SqliteWatch:
    """Watches every connection of sqlite3."""

    def __init__(self) -> None:
        self._seen: list[Transactions] = []
        self._asks = self._asking = False
        self.settings: dict[str, set[str]] = {}

    def start(self) -> None:
        watch, connect = self, sqlite3.connect

        class Watched(sqlite3.Connection):
            def commit(self) -> None:
                watch.read_settings(self)
                super().commit()

        def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **{"factory": Watched, **options})
            connection.set_trace_callback(watch.seer())
            return connection

        vars(sqlite3)["connect"] = vars(sqlite3.dbapi2)["connect"] = watched

    def ask(self) -> None:
        self._asks = True

    def take(self) -> Counts:
        commits = sum(seen.commits for seen in self._seen)
        statements = [text for seen in self._seen for text in seen.statements]
        for seen in self._seen:
            seen.commits = 0
            seen.statements.clear()
        return Counts(commits, statements)

    def seer(self) -> Any:
        """What is called with each statement of a new connection."""
        seen = Transactions()
        self._seen.append(seen)
        return lambda text: None if self._asking else seen.see(text)

    def read_settings(self, connection: sqlite3.Connection) -> None:
        """Ask a connection that is about to commit how durable that will be."""
        if not self._asks:
            return
        self._asking = True
        try:
            for name in SETTINGS["sqlite"]:
                (value,) = connection.execute(f"PRAGMA {name}").fetchone()
                self.settings.setdefault(name, set()).add(str(value))
        finally:
            self._asking = False


_MESSAGE = re.compile(
    r"^([FB])\t\d+\t(\w+)(?:\t (.*?))?(?=^[FB]\t\d+\t|\Z)", re.DOTALL | re.MULTILINE
)
"""A message in libpq's trace: from the front end or the back end, its kind, what it says."""

_PARSE = re.compile(r'"([^"]*)" "(.*)" \d', re.DOTALL)
_BIND = re.compile(r'"[^"]*" "([^"]*)"')


class Conversation:
    r"""Tells the statements of one PostgreSQL connection from libpq's trace of it.

    Only what the client sends is used: libpq writes the last answer when it sends again. A
    specimen (tabs are shown as blanks)::

        F 42 Parse  "_pg3_0" "insert into t values($1)" 1 21
        F 28 Bind  "" "_pg3_0" 1 1 1 2 '\x00\x05' 1 0
        F 9 Execute  "" 0
        F 11 Query  "COMMIT"
    """

    def __init__(self) -> None:
        self._prepared: dict[str, str] = {}
        self._bound = ""

    def statements(self, trace: str) -> list[str]:
        """The statements in the next part of the trace, without what controls transactions."""
        found = []
        for side, kind, said in _MESSAGE.findall(trace):
            if side == "F" and (text := self._hear(kind, said)) is not None:
                found.append(text)
        return [text for text in found if first_word(text) not in CONTROL]

    def _hear(self, kind: str, said: str) -> str | None:
        if kind == "Query":
            return str(said).strip().strip('"')
        if kind == "Parse" and (parsed := _PARSE.match(said)):
            self._prepared[parsed[1]] = parsed[2]
        elif kind == "Bind" and (bound := _BIND.match(said)):
            self._bound = bound[1]
        elif kind == "Execute":
            return self._prepared.get(self._bound, "?")
        return None


class Traced:
    """A connection's trace, and how far it was read."""

    def __init__(self, pgconn: PGconn, path: Path) -> None:
        self._pgconn = pgconn
        self._written = path.open("wb")
        self._read = path.open("rb")
        self._conversation = Conversation()
        self.resume()

    def resume(self) -> None:
        """Have libpq write the trace, from now on or again."""
        self._pgconn.trace(self._written.fileno())
        self._pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)

    def statements(self) -> list[str]:
        """The statements since the last call."""
        return self._conversation.statements(self._read.read().decode(errors="replace"))

    def settings(self) -> dict[str, str]:
        """What the connection says of its settings; nothing where a transaction has failed."""
        if self._pgconn.transaction_status not in (
            TransactionStatus.IDLE,
            TransactionStatus.INTRANS,
        ):
            return {}
        self._pgconn.untrace()
        found = {}
        for name in SETTINGS["postgresql"]:
            value = self._pgconn.exec_(f"SHOW {name}".encode()).get_value(0, 0)
            found[name] = (value or b"").decode()
        self.resume()
        return found


class PostgresqlWatch:
    """Watches every connection of psycopg.

    Commits are the transaction ids that the server gave out: it does so to transactions that
    write, also in a stored function, and to no others.
    """

    def __init__(self, url: str, directory: Path) -> None:
        self._directory = directory
        self._traced: dict[int, Traced] = {}
        self._unasked: set[int] = set()
        self._own = psycopg.connect(plain(url), autocommit=True)
        self._id = self._next_id()
        self.settings: dict[str, set[str]] = {}

    def start(self) -> None:
        watch, init, execute = self, psycopg.Connection.__init__, psycopg.Cursor.execute

        def watched(connection: Any, pgconn: PGconn, *arguments: Any, **options: Any) -> None:
            init(connection, pgconn, *arguments, **options)
            watch.trace(pgconn)

        def watched_execute(cursor: Any, *arguments: Any, **options: Any) -> Any:
            found = execute(cursor, *arguments, **options)
            watch.read_settings(cursor.connection.pgconn)
            return found

        connection_class, cursor_class = (psycopg.Connection, psycopg.Cursor)
        for class_, name, function in (
            (connection_class, "__init__", watched),
            (cursor_class, "execute", watched_execute),
        ):
            setattr(class_, name, function)

    def ask(self) -> None:
        self._unasked = set(self._traced)

    def take(self) -> Counts:
        self._id, before = self._next_id(), self._id
        statements = [text for traced in self._traced.values() for text in traced.statements()]
        return Counts(self._id - before, statements)

    def trace(self, pgconn: PGconn) -> None:
        """Watch a new connection."""
        self._traced[id(pgconn)] = Traced(pgconn, self._directory / f"trace{len(self._traced)}")

    def read_settings(self, pgconn: PGconn) -> None:
        """Ask a connection that has just run a statement how durable its commits are."""
        if id(pgconn) in self._unasked:
            self._unasked.discard(id(pgconn))
            for name, value in self._traced[id(pgconn)].settings().items():
                self.settings.setdefault(name, set()).add(value)

    def _next_id(self) -> int:
        query = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        row: Any = self._own.execute(query).fetchone()
        return int(row[0])
