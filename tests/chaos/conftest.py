"""Real boards on real servers, with PostgreSQL below."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conftest import lacking
from tests.servers.postgresql import PostgresqlServer
from tests.servers.process import RequireBinary, ServerProcess

BOARDS = ("sql", "zookeeper", "etcd", "redis")


class Boarded(NamedTuple):
    """A database and a board.

    :ivar kind: one of BOARDS.
    :ivar server: the board's; the database's where that is the board.
    """

    kind: str
    url: str
    board: str
    database: PostgresqlServer
    server: ServerProcess


@pytest.fixture
def namespaces(require_binary: RequireBinary) -> None:
    """Skip a test whose hosts cannot be made; where CI is set, fail it."""
    require_binary("ip", "iproute2")
    if os.geteuid():
        lacking("the right to make network namespaces", "none; run the tests as root")


@pytest.fixture(params=BOARDS)
def boarded(
    request: pytest.FixtureRequest, postgresql_server: PostgresqlServer
) -> Iterator[Boarded]:
    kind: str = request.param
    board, server = "sql:", postgresql_server
    if kind != "sql":
        server = request.getfixturevalue(f"{kind}_server")
        board = request.getfixturevalue(f"{kind}_url")
    url = postgresql_server.create_database()
    yield Boarded(kind, url, board, postgresql_server, server)
    for each in (server, postgresql_server):
        if each.pid is None:
            each.restart()
    postgresql_server.drop_database(url)
