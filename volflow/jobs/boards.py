"""Job boards by URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from volflow.exceptions import InvalidInput
from volflow.jobs.adapter import Boarded
from volflow.jobs.port import Board
from volflow.jobs.sql import SqlJobBoard
from volflow.persistence.engine import Database


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
    raise InvalidInput(f"there are no boards of the kind {parsed.scheme!r}; there are sql:")
