"""What a connection is told before it is used, on each kind of database.

A transaction that a stopped process left open is ended by the server after half a lease, so that
it holds no row past the lease; SQLite has no server that could. And a connection over which the
server is not heard any more is ended on this side after half a lease, so that a process that is
cut off holds no volume's lock while others wait for it; the kernel alone would try for a quarter
of an hour.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, InvalidatePoolError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from volflow.exceptions import InvalidInput

CONNECT_SECONDS = 10
"""How long a server may take to greet."""

SILENCE_SECONDS_MIN = 2.0

RESTED_SECONDS = 1.0
"""A connection that rested for longer is tried before it is used."""

MYSQL = ("mysql", "mariadb")
"""SQLAlchemy's names of one dialect."""


def checked_url(url: str) -> URL:
    """The URL, parsed.

    :raises InvalidInput: it is none, its driver is missing, or it keeps its data in memory.
    """
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError) as e:
        raise InvalidInput(f"this is no database URL that can be used: {e}") from None
    except ImportError as e:
        raise InvalidInput(f"the driver of this database URL is not installed: {e}") from None
    named = parsed.database not in (None, "", ":memory:")
    if parsed.get_backend_name() == "sqlite" and (not named or "memory" in parsed.query.values()):
        raise InvalidInput("the database has to outlive the process: name a SQLite file")
    return parsed


def engine_url(url: URL, lease_seconds: float) -> URL:
    """The URL as oslo.db needs it, with the limits of its connections where it names none."""
    driver, defaults = url.get_driver_name(), dict[str, str]()
    if url.get_backend_name() in MYSQL:
        # oslo.db has one name for the dialect, and asks for characters of three bytes.
        url = url.set(drivername=f"mysql+{driver}")
        defaults["charset"] = "utf8mb4"
        if driver == "pymysql":
            # Which limits the connecting, and not the greeting that has to follow.
            defaults["read_timeout"] = str(url.query.get("connect_timeout", CONNECT_SECONDS))
    elif driver in _LIBPQ:
        pause, most = _silence(lease_seconds)
        defaults |= {
            "connect_timeout": str(CONNECT_SECONDS),
            "keepalives_idle": str(pause),
            "keepalives_interval": str(pause),
            "tcp_user_timeout": str(most),
        }
    missing = {key: value for key, value in defaults.items() if key not in url.query}
    return url.update_query_dict(missing) if missing else url


def _silence(lease_seconds: float) -> tuple[int, int]:
    """The pause between keepalives in seconds, and how many milliseconds none may be answered.

    Linux ends a connection by the latter whether data or probes are not acknowledged.
    """
    most = max(SILENCE_SECONDS_MIN, lease_seconds / 2)
    return max(1, int(most / 4)), int(most * 1000)


class Sessions:
    """Prepares every connection of an engine.

    :param now: what SQLite's time is, in microseconds since 1970.
    :param patience: how many seconds a SQLite writer waits for another one, asked for each
        connection.
    """

    def __init__(
        self,
        url: URL,
        lease_seconds: float,
        now: Callable[[], int],
        patience: Callable[[], float],
    ) -> None:
        self._url = url
        self._patience = patience
        self._idle_seconds = max(1.0, lease_seconds / 2)
        self._silence = _silence(lease_seconds)
        self._now = now

    def prepare(self, engine: Engine) -> None:
        """Have each new connection prepared, before any is made."""
        engine.hide_parameters = True
        name = self._url.get_backend_name()
        _keep_connections(engine)
        if name == "sqlite":
            event.listen(engine, "connect", self._sqlite)
            for ended in ("rollback", "commit"):
                event.listen(engine, ended, _keep_oslo_from_beginning)
            return
        _try_what_rested(engine)
        if name == "postgresql":
            event.listen(engine, "connect", self._postgresql)
        elif name in MYSQL:
            event.listen(engine, "connect", self._mysql)

    def _sqlite(self, connection: Any, record: Any) -> None:
        # SQLite keeps whatever a hand writes; a text that is none hides no other rows.
        connection.text_factory = partial(str, encoding="utf-8", errors="backslashreplace")
        connection.create_function("volflow_now", 0, self._now)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA busy_timeout={int(self._patience() * 1000)}")
        record.info[_OSLO_BEGAN] = True

    def _postgresql(self, connection: Any, record: Any) -> None:
        limit = int(self._idle_seconds * 1000)
        with connection.cursor() as cursor:
            cursor.execute(f"SET idle_in_transaction_session_timeout = {limit}")
        connection.commit()

    def _mysql(self, connection: Any, record: Any) -> None:
        if self._url.get_driver_name() == "pymysql":
            if "read_timeout" not in self._url.query:
                connection._read_timeout = None  # noqa: SLF001 - it was the greeting's, see above
            _limit_silence(connection._sock, *self._silence)  # noqa: SLF001 - it has no option
        with connection.cursor() as cursor:
            cursor.execute(_SHOW_KNOWN)
            settings = self._mysql_settings({row[0] for row in cursor.fetchall()})
            cursor.execute(
                "SET " + ", ".join(f"SESSION {key} = {value}" for key, value in settings.items())
            )
            # As PostgreSQL's; and REPEATABLE READ locks gaps between rows, which deadlocks.
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.commit()

    def _mysql_settings(self, known: set[str]) -> dict[str, Any]:
        idle = int(self._idle_seconds)
        settings = {
            # MySQL has a limit for idle connections only, in a transaction or not.
            _IDLE if _IDLE in known else "wait_timeout": idle,
            # Whoever waits outlasts that limit.
            "innodb_lock_wait_timeout": idle + 1,
            "lock_wait_timeout": idle + 1,
            "time_zone": "'+00:00'",
        }
        if _SYNC in known:
            settings[_SYNC] = 7
        return settings


def _limit_silence(connected: socket.socket, pause: int, most: int) -> None:
    """Do for a socket what libpq has options for."""
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in zip(_TCP, (pause, pause, most), strict=True):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


_LIBPQ = ("psycopg", "psycopg2")
_TCP = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_USER_TIMEOUT")

_IDLE = "idle_transaction_timeout"
"""MariaDB has it, MySQL has not."""

_SYNC = "wsrep_sync_wait"
"""Galera's: every statement (7: reads, updates and deletes, inserts) waits until its node has what
the others committed, since a run's next transaction may come to another node."""

_SHOW_KNOWN = f"SHOW SESSION VARIABLES WHERE Variable_name IN ('{_IDLE}', '{_SYNC}')"


_OSLO_BEGAN = "in_transaction"
"""oslo.db's mark on a SQLite connection in a transaction. Without it, it emits a plain BEGIN,
before any ``begin`` listener of ours: a writer that starts as a reader and upgrades fails at once
when another one wrote in between. If the mark had another name, SQLite would refuse our BEGIN."""


def _keep_oslo_from_beginning(connection: Connection) -> None:
    """Put the mark back that oslo.db takes off when a transaction ends."""
    connection.info[_OSLO_BEGAN] = True


def _keep_connections(engine: Engine) -> None:
    # oslo.db gives SQLite files a NullPool: a new connection, with its pragmas and a parse of
    # the schema, for every transaction. Measured: 2.1 ms a write with it, 0.7 ms without.
    # And it takes turns among a server's connections, each of which prepares statements that
    # it has met a few times, and asks whether the server is there before each transaction.
    # Measured: 0.87 of the time from a submission to its start with the one used last, unasked.
    old: Any = engine.pool
    engine.pool = QueuePool(
        old._creator,  # noqa: SLF001 - a pool has no public way to hand these on
        pool_size=20,
        max_overflow=40,
        recycle=old._recycle,  # noqa: SLF001
        use_lifo=True,
        _dispatch=old.dispatch,
        dialect=old._dialect,  # noqa: SLF001
    )


_USED = "volflow_used"
"""When a connection was used last, by this process's monotonic clock."""


def _try_what_rested(engine: Engine) -> None:
    """Ask whether the server is there before a connection is used that may have lost it.

    That is one that rested for a while, or that has something to say: a server that ended says so.
    """
    dialect = engine.dialect

    def used(connection: Any, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    def look(connection: Any, record: Any, proxy: Any) -> None:
        rested = time.monotonic() - record.info[_USED]
        if rested <= RESTED_SECONDS and not _says_something(connection):
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error:
            raise InvalidatePoolError from None

    event.listen(engine, "connect", used)
    event.listen(engine, "checkin", used)
    event.listen(engine, "checkout", look)


def _says_something(connection: Any) -> bool:
    """True where there is something to read that nobody asked for: mostly that it is the end."""
    connected = getattr(connection, "_sock", connection)  # PyMySQL's has no descriptor of its own
    try:
        poll = select.poll()
        poll.register(connected.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except Exception:  # noqa: BLE001 - it is closed, or a driver that cannot tell
        return True
