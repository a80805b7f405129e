"""``volflow doctor``: is everything there that volflow needs, and as it has to be?"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from volflow.cli import exits, output
from volflow.cli.opening import Options, context, require_database
from volflow.cli.program import command, sentence
from volflow.coordination import VolumeLocks
from volflow.exceptions import BoardError, DatabaseError
from volflow.jobs.boards import board_of
from volflow.locks import LockBusy
from volflow.opening import fingerprints, key_path, lock_path, require_keys
from volflow.persistence import migrate, schema
from volflow.persistence.engine import Database
from volflow.persistence.secrets import read_keys
from volflow.settings import Settings
from volflow.views.words import clean, took

SKEW_SECONDS = 1.0
LOCK_NAME = "volflow-doctor"


class Finding(NamedTuple):
    """What a check found.

    :ivar error: None where all is well.
    :ivar mend: what helps.
    """

    check: str
    detail: str
    error: BaseException | None = None
    mend: str | None = None


class Check(NamedTuple):
    """One thing to look at.

    :ivar look: returns a detail to show.
    :ivar vital: what comes after it cannot be looked at without it.
    """

    name: str
    look: Callable[[], str]
    mend: str
    vital: bool = False


def add_to(main: click.Group) -> None:
    """Add the command to the program."""
    main.add_command(doctor)


@command(None, "doctor", short_help="Check all that volflow needs, and tell what mends it.")
def doctor(options: Options) -> None:
    """Check configuration, database, schema, keys, locks, clock, board and backends of this host.

    Nothing is changed. The exit code is that of the first thing that is not as it has to be.
    """
    found = []
    with ExitStack() as stack:
        for finding in Examination(options, stack).findings():
            found.append(finding)
            if not options.json:
                _print(finding)
    if options.json:
        output.print_json([_json(finding) for finding in found])
    for finding in found:
        if finding.error is not None:
            click.get_current_context().exit(exits.exit_code(finding.error))


class Examination:
    """Looks at one thing after another.

    :param stack: closes what was opened.
    """

    def __init__(self, options: Options, stack: ExitStack) -> None:
        self._options = options
        self._stack = stack

    def findings(self) -> Iterator[Finding]:
        """Look at everything, until something is missing that the rest needs."""
        for check in self._checks():
            try:
                yield Finding(check.name, check.look())
            except (SQLAlchemyError, OSError) as e:
                yield Finding(check.name, clean(e), DatabaseError(str(e)), check.mend)
            except Exception as e:  # noqa: BLE001 - a driver may raise anything
                yield Finding(check.name, sentence(e), e, check.mend)
            else:
                continue
            if check.vital:
                return

    def _checks(self) -> Iterator[Check]:
        yield Check(
            "configuration", self._configuration, "correct it, or name another: --config", True
        )
        yield Check("database", self._connection, "start its server, or correct its URL", True)
        yield Check("schema", self._version, "volflow db upgrade", True)
        yield Check("keys", self._keys, "put the key file back that the database was used with")
        yield Check("key file's mode", self._mode, "chmod 600: who reads it reads CHAP secrets")
        yield Check("locks", self._locks, "make the directory writable for this user")
        yield Check("clock", self._clock, "set the clocks by NTP, here and on the database's host")
        if self._settings.arguments.get("coordination"):
            mend = "start the coordination server, or correct its URL"
            yield Check("locks between hosts", self._coordination, mend)
        if self._settings.arguments.get("board"):
            yield Check("board", self._board, "start the board's server, or correct its URL")
        for name in self._settings.backends:
            mend = f"make the backend answer, or correct [{name}] in the configuration"
            yield Check(f"backend {name}", lambda name=name: self._backend(name), mend)  # type: ignore[misc]

    # Each returns what there is to see, or raises what is wrong.

    def _configuration(self) -> str:
        self._settings: Settings = self._options.settings()
        return str(self._options.config or "the default one")

    def _connection(self) -> str:
        url = self._settings.arguments["database"]
        require_database(url)
        self._database = self._stack.enter_context(closing(Database(url)))
        return f"{self._database.name}, an answer takes {took(self._asked()[1])}"

    def _version(self) -> str:
        found, newest = migrate.current(self._database), migrate.newest()
        if found != newest:
            raise DatabaseError(f"it is {found or 'missing'}, and this release needs {newest}")
        return newest

    def _keys(self) -> str:
        keys = read_keys(self._key_file)
        require_keys(self._database, self._key_file, keys, fingerprints(self._database))
        return f"{self._key_file}, {len(keys.fingerprints)} of them"

    def _mode(self) -> str:
        mode = stat.S_IMODE(self._key_file.stat().st_mode)
        if mode & 0o077:
            raise DatabaseError(f"{self._key_file} has the mode {mode:03o}")
        return f"{mode:03o}"

    def _locks(self) -> str:
        path = self._lock_directory
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise DatabaseError(f"{there} is no directory that can be written to")
        return str(path) if there == path else f"{path}, which is still to be made"

    def _clock(self) -> str:
        now, seconds = self._asked()
        ahead = time.time() - seconds / 2 - now
        if abs(ahead) > SKEW_SECONDS + seconds:
            way = "ahead of" if ahead > 0 else "behind"
            raise DatabaseError(f"this host is {abs(ahead):.1f} s {way} the database")
        return "as the database's"

    def _coordination(self) -> str:
        url = self._settings.arguments["coordination"]
        with closing(VolumeLocks(self._lock_directory / "volumes", url, LOCK_NAME)) as locks:
            lock = locks.of(LOCK_NAME)
            try:
                lock.acquire()
            except LockBusy as e:
                raise BoardError(str(e)) from None
            lock.release()
            locks.forget(LOCK_NAME)
        return "a lock was taken and given back"

    def _board(self) -> str:
        url = self._settings.arguments["board"]
        with closing(board_of(url, self._database)) as board:
            return f"{len(board.listed())} jobs"

    def _backend(self, name: str) -> str:
        driver = self._settings.make_driver(name)
        driver.do_setup(context())
        driver.check_for_setup_error()
        return f"{len(list(driver.list_exports()))} exports"

    @property
    def _key_file(self) -> Path:
        return key_path(self._database, self._settings.arguments.get("key_file"))

    @property
    def _lock_directory(self) -> Path:
        return lock_path(self._key_file, self._settings.arguments.get("lock_directory"))

    def _asked(self) -> tuple[float, float]:
        """The database's clock, and how long it took to answer; seconds."""
        began = time.monotonic()
        with self._database.read() as connection:
            now = int(connection.execute(select(schema.now())).scalar_one())
        return now / 1e6, time.monotonic() - began


def _print(finding: Finding) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=6)
    table.add_column(width=20)
    table.add_column(overflow="fold")
    word = "ok" if finding.error is None else "failed"
    table.add_row(output.styled(word), clean(finding.check), clean(finding.detail))
    if finding.mend is not None:
        table.add_row("", "what helps", clean(finding.mend))
    output.show(table)


def _json(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "ok": finding.error is None,
        "detail": finding.detail,
        "mend": finding.mend,
    }
