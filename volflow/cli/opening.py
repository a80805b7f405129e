"""Which database and which backends a command uses, and how it opens them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from oslo_context.context import RequestContext
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from volflow.drivers.base import Host
from volflow.exceptions import BackendNotFound, DatabaseError, InvalidInput
from volflow.manager import VolumeManager
from volflow.persistence.engine import Database
from volflow.settings import Settings, load_settings

DEFAULT_CONFIG = Path("/etc/volflow/volflow.conf")
CONNECT_SECONDS = 10


@dataclass
class Options:
    """What every command can be told.

    :ivar config: the configuration file; None: the default one.
    :ivar database: a URL that overrides the configuration's.
    :ivar json: write JSON.
    :ivar verbose: 0 to 2.
    """

    config: Path | None = None
    database: str | None = None
    json: bool = False
    verbose: int = 0

    def settings(self) -> Settings:
        """Read the configuration; with a database alone none is needed.

        :raises InvalidInput: it is missing or wrong.
        """
        path = self.config or DEFAULT_CONFIG
        if self.config is None and not path.exists():
            if self.database is None:
                raise InvalidInput(
                    f"there is no configuration file {path}; name one with --config or "
                    "VOLFLOW_CONFIG"
                )
            found = Settings({"database": self.database}, {})
        else:
            found = load_settings(path)
        url = _with_time_limit(self.database or found.arguments["database"])
        return replace(found, arguments={**found.arguments, "database": url})


def context() -> RequestContext:
    """Make the context of one command; its request id stands on the operation."""
    return RequestContext(overwrite=False)


@contextmanager
def opened(
    options: Options,
    backends: Collection[str] | None = (),
    *,
    create: bool = False,
    recover: bool = False,
    host: Host | None = None,
) -> Iterator[VolumeManager]:
    """Open the manager, without recovery of its own unless that is asked for.

    :param backends: whose drivers are made; a query needs none, and so answers also where a
        backend is down. None: all.
    :param host: the side of this host, for commands that use it.
    :param create: a SQLite database that is not there is made.
    :raises DatabaseError: it cannot be used, or is not there.
    :raises BackendNotFound: the configuration has no such backend.
    """
    settings = options.settings()
    if not create:
        require_database(settings.arguments["database"])
    if backends is not None:
        for name in set(backends) - settings.backends.keys():
            known = ", ".join(sorted(settings.backends)) or "none"
            raise BackendNotFound(f"the configuration has no backend {name!r}; it has {known}")
        chosen = {k: v for k, v in settings.backends.items() if k in backends}
        settings = replace(settings, backends=chosen)
    drivers = settings.make_drivers()
    with VolumeManager(
        drivers=drivers, recover=recover, host=host, **settings.arguments
    ) as manager:
        yield manager


@contextmanager
def opened_for(
    options: Options, volume_id: str, host: Host | None = None
) -> Iterator[VolumeManager]:
    """Open the manager with the driver of one volume.

    :raises VolumeNotFound: there is no such volume.
    """
    with opened(options) as manager:
        backend = manager.get_volume(context(), volume_id).backend
    with opened(options, [backend], host=host) as manager:
        yield manager


@contextmanager
def opened_database(options: Options) -> Iterator[Database]:
    """Open the database alone, whatever its schema is."""
    database = Database(options.settings().arguments["database"])
    try:
        yield database
    finally:
        database.close()


def require_database(url: str) -> None:
    """Check that a SQLite file is there: a mistyped path is no new database.

    :raises DatabaseError: it is not.
    """
    parsed = _parsed(url)
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    if file and not Path(file).exists():
        raise DatabaseError(f"there is no database {file}; `volflow db upgrade` makes it")


def _with_time_limit(url: str) -> str:
    """Give up a server that accepts a connection and says nothing."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "postgresql" or "connect_timeout" in parsed.query:
        return url
    limited = parsed.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})
    return limited.render_as_string(hide_password=False)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidInput("the database has to be a SQLAlchemy URL") from None


@contextmanager
def logging_to_stderr(verbose: int) -> Iterator[None]:
    """Show what volflow logs: nothing, its steps (1), or everything (2).

    Nothing, since a command says what went wrong itself; other libraries never, since only ours
    masks secrets.
    """
    root, logger = logging.getLogger(), logging.getLogger("volflow")
    handler: logging.Handler = logging.StreamHandler() if verbose else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    # Without any handler Python writes warnings to stderr.
    silence = logging.NullHandler()
    level, propagate = logger.level, logger.propagate
    root.addHandler(silence)
    logger.addHandler(handler)
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
    logger.propagate = False
    try:
        yield
    finally:
        root.removeHandler(silence)
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
