"""TaskFlow's engine with TaskFlow's own SQL persistence."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from taskflow.persistence import backends

from benchmarks.peers.bare import Bare


class TaskflowSql(Bare):
    """The bare engine's flow, with a backend that is made once and saves all that happens."""

    title = "TaskFlow, its SQL"
    packages = ("taskflow", "SQLAlchemy", "psycopg")
    durable = True

    def open(self, url: str, directory: Path, index: int) -> None:
        super().open(url, directory, index)
        self.persistence = backends.fetch({"connection": url})
        with closing(self.persistence.get_connection()) as connection:
            connection.upgrade()

    def close(self) -> None:
        self.persistence.close()
        super().close()
