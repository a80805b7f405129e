"""What tests with real processes share: databases, and the end of what they are forked from."""

from __future__ import annotations

import multiprocessing.forkserver
from collections.abc import Callable, Iterator

import pytest

from tests.servers.postgresql import PostgresqlServer
from volflow.persistence import migrate
from volflow.persistence.engine import Database

MakeUrl = Callable[[], str | None]


@pytest.fixture(scope="session", autouse=True)
def process_server() -> Iterator[None]:
    """The server that the killed processes are forked from ends with the tests."""
    yield
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(params=["sqlite", "postgresql"])
def make_url(request: pytest.FixtureRequest) -> Iterator[MakeUrl]:
    """Makes empty databases; None stands for a SQLite file of one's own."""
    if request.param == "sqlite":
        yield lambda: None
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    made: list[str] = []

    def make() -> str:
        made.append(server.create_database(server.template("migrated", migrate_database)))
        return made[-1]

    yield make
    for url in made:
        server.drop_database(url)


def migrate_database(url: str) -> None:
    """Make the tables in an empty database."""
    database = Database(url)
    migrate.prepare(database)
    database.close()
