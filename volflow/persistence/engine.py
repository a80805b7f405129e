"""The database: one local enginefacade context, reads, and writes that are repeated safely.

Nothing here is global: each :class:`Database` has its own engine. Every write is one function
of a connection, so that it can be run again after a deadlock, and after a commit whose outcome
was lost (the caller says how to tell whether it landed).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from volflow.clock import SYSTEM_CLOCK, Clock
from volflow.exceptions import DatabaseError
from volflow.persistence.holders import writer_of
from volflow.persistence.sessions import MYSQL, Sessions, checked_url, engine_url
from volflow.persistence.signals import Signals, can_listen

LOG = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS = 30
"""How long a SQLite writer waits for another one, and a deadlock or lost server is retried."""

_LOCKED = "database is locked"


class _Again(Exception):
    """The transaction did not happen and may be tried again."""


@enginefacade.transaction_context_provider
class _Scope:
    """The context that enginefacade keeps a thread's transaction on."""


class Database:
    """One database of volflow's tables.

    :param url: a SQLAlchemy URL; SQLite needs a file.
    :param lease_seconds: a transaction that sits idle for half as long is ended by the server.
    :param clock: what SQLite's time is, whose server is this process, and how to wait.
    :ivar patience: for how many seconds a writer waits for a lock, and a deadlock or a lost server
        is tried again.
    :raises InvalidInput: the URL is none, or keeps its data in memory.
    """

    def __init__(
        self,
        url: str,
        lease_seconds: float = 60,
        clock: Clock = SYSTEM_CLOCK,
        patience: float = BUSY_SECONDS,
    ) -> None:
        self.url = checked_url(url)
        self.clock = clock
        self._sessions = Sessions(self.url, lease_seconds, self._now, lambda: self.patience)
        self.patience = patience
        self._writing = threading.local()
        self._scope = _Scope()
        self._facade = enginefacade.transaction_context()
        self._facade.configure(
            connection=engine_url(self.url, lease_seconds).render_as_string(hide_password=False),
            sqlite_fk=True,
            max_retries=0,
            mysql_sql_mode="TRADITIONAL",
            max_pool_size=20,
            max_overflow=40,
            thread_checkin=False,
        )
        self._facade.append_on_engine_create(self._prepare_engine)
        # Each look at the facade's writer or reader makes managers anew.
        self._writer = self._facade.writer.connection
        self._reader = self._facade.reader.connection
        with _translated(self):
            self.engine: Engine = self._facade.writer.get_engine()
        self._reading: Callable[[], AbstractContextManager[Connection]] = partial(
            self._reader.using, self._scope
        )
        if self.url.get_backend_name() == "postgresql":
            self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT").connect
        self.signals = Signals(clock, self.engine if can_listen(self.engine) else None)

    @property
    def is_sqlite(self) -> bool:
        """True where the database is a file that this process serves itself."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def is_mysql(self) -> bool:
        """True where the server is MySQL or MariaDB."""
        return self.url.get_backend_name() in MYSQL

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self.url.database or "") if self.is_sqlite else None

    @property
    def name(self) -> str:
        """The URL without its password, for messages."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.signals.close()
        self._facade.dispose_pool()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read with.

        On SQLite its statements see one state. A server's each see what is committed by then, as
        in every transaction of ours, and PostgreSQL is spared two ways to it for no gain.

        :raises DatabaseError: the database cannot be reached or read.
        """
        with _translated(self), self._reading() as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection for what lasts longer than a transaction.

        :raises DatabaseError: the database cannot be reached.
        """
        with _translated(self), self.engine.connect() as connection:
            yield connection

    def write(
        self,
        work: Callable[[Connection], T],
        landed: Callable[[Connection], bool] | None = None,
    ) -> T:
        """Run ``work`` in one transaction, again after a deadlock or a lost connection.

        :param landed: asked on a new connection whether a commit whose outcome was lost did
            happen; None: such a commit is an error.
        :raises DatabaseError: it was not written, or nobody can tell.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_delay(self.patience),
            wait=wait_random_exponential(0.01, max=1),
            sleep=self.clock.sleep,
            reraise=True,
        )
        try:
            with _translated(self):
                result: T = retrying(self._write_once, work, landed)
                return result
        except _Again as e:
            raise DatabaseError(self.complaint(e.__cause__ or e)) from e.__cause__

    def complaint(self, error: BaseException) -> str:
        """What the database said, in one sentence; where it is locked, by whom."""
        reason = _reason(error)
        writer = writer_of(self.path) if self.path and _LOCKED in reason else None
        return f"{self.name}: {reason}" + (f"; {writer} is writing to it" if writer else "")

    def _write_once(
        self, work: Callable[[Connection], T], landed: Callable[[Connection], bool] | None
    ) -> T:
        finished = False
        try:
            self._writing.now = True
            try:
                with self._writer.using(self._scope) as connection:
                    result = work(connection)
                    finished = True
            finally:
                self._writing.now = False
            return result
        except (db_exc.DBError, SQLAlchemyError) as e:
            _raise_where_undone(e, finished)
            cause = e
        if landed is None:
            raise cause
        if self._ask(landed):
            return result
        if self.is_sqlite and not _may_pass(cause):
            raise cause
        raise _Again from cause

    def _ask(self, landed: Callable[[Connection], bool]) -> bool:
        for attempt in Retrying(
            retry=retry_if_exception_type(DatabaseError),
            stop=stop_after_delay(self.patience),
            wait=wait_random_exponential(0.01, max=1),
            sleep=self.clock.sleep,
            reraise=True,
        ):
            with attempt, self.read() as connection:
                return landed(connection)
        raise AssertionError("tenacity reraises")

    def _now(self) -> int:
        return self.clock.microseconds()  # whichever it has by then

    def _prepare_engine(self, engine: Engine) -> None:
        self._sessions.prepare(engine)
        if self.is_sqlite:
            event.listen(engine, "begin", self._begin)

    def _begin(self, connection: Connection) -> None:
        writes = getattr(self._writing, "now", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _raise_where_undone(error: Exception, finished: bool) -> None:
    """Raise what a transaction met that surely did not happen.

    :param finished: its COMMIT may have reached the database.
    :raises _Again: it may be tried again.
    """
    if isinstance(error, db_exc.DBDuplicateEntry):
        raise error
    _raise_interruption(error)
    # Also of a COMMIT: Galera's certification failed, and nothing was written.
    if isinstance(error, db_exc.DBDeadlock):
        raise _Again from error
    if not finished:
        if _may_pass(error):
            raise _Again from error
        raise error


def _may_pass(error: Exception) -> bool:
    """True where a SQLite file is only busy; a full disk, say, is there for longer."""
    passing = isinstance(error, (db_exc.DBDeadlock, db_exc.DBConnectionError))
    return passing or _LOCKED in str(error)


@contextmanager
def _translated(database: Database) -> Iterator[None]:
    """Turn what oslo.db and SQLAlchemy raise into DatabaseError, without SQL or parameters."""
    try:
        yield
    except db_exc.DBDuplicateEntry:
        raise
    except (
        db_exc.DBError,
        db_exc.DBInvalidUnicodeParameter,
        db_exc.CantStartEngineError,
        SQLAlchemyError,
    ) as e:
        _raise_interruption(e)
        raise DatabaseError(database.complaint(e)) from e


def _raise_interruption(error: BaseException) -> None:
    """Raise the KeyboardInterrupt (or the like) that hides behind an error.

    SQLAlchemy invalidates a connection that was interrupted, and oslo.db's listeners then fail
    on it: their PendingRollbackError would swallow the interruption.
    """
    link: BaseException | None = error
    passed: set[int] = set()
    while link is not None and id(link) not in passed:
        if not isinstance(link, Exception):
            raise link
        passed.add(id(link))
        link = link.__context__


def _reason(error: BaseException) -> str:
    """The driver's own words: ``disk I/O error``, ``attempt to write a readonly database``."""
    inner = getattr(error, "inner_exception", None) or error
    original = getattr(inner, "orig", None) or inner
    return str(original).strip().splitlines()[0] if str(original).strip() else repr(original)
