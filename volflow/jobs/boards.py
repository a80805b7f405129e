"""Job boards by URL."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple
from urllib.parse import urlsplit

from volflow.exceptions import InvalidInput
from volflow.jobs.adapter import Boarded
from volflow.jobs.port import Board
from volflow.jobs.sql import SqlJobBoard
from volflow.persistence.engine import Database


class Server(NamedTuple):
    """A kind of board that has a server.

    :ivar module: makes it, by a function ``make_board``.
    :ivar extra: what of volflow's extras installs what it needs.
    """

    module: str
    extra: str


SERVERS = {
    "zookeeper": Server("volflow.jobs.zookeeper", "zookeeper"),
    "etcd": Server("volflow.jobs.etcd", "etcd"),
    "redis": Server("volflow.jobs.redis", "redis"),
    "rediss": Server("volflow.jobs.redis", "redis"),
}


def sql_board(database: Database) -> Board:
    """The board of the database itself."""
    return Boarded(
        "sql:",
        lambda: SqlJobBoard("volflow", {}, database=database),
        database.clock,
        needs_posting=False,
    )


def board_of(url: str, database: Database) -> Board:
    """The board that a URL names; it is not connected yet.

    :raises InvalidInput: there is no such board, or something in the URL is wrong.
    """
    if not isinstance(url, str):
        raise InvalidInput("board has to be a URL")
    try:
        parsed = urlsplit(url)
    except ValueError as e:
        raise InvalidInput(f"the board's URL cannot be read: {e}") from None
    if parsed.scheme == "sql":
        if url.rstrip("/") != "sql:":
            raise InvalidInput("the board of the database is sql:, and nothing after it")
        return sql_board(database)
    if parsed.scheme not in SERVERS:
        known = ", ".join(["sql", *SERVERS])
        raise InvalidInput(f"there is no board of the kind {parsed.scheme!r}; there are {known}")
    server = SERVERS[parsed.scheme]
    try:
        module = import_module(server.module)
    except ImportError as e:
        raise InvalidInput(
            f"a board of the kind {parsed.scheme!r} needs {e.name}: "
            f"pip install volflow[{server.extra}]"
        ) from None
    name, make = module.make_board(parsed)
    return Boarded(name, make, database.clock)
