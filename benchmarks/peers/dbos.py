"""DBOS Transact: a workflow whose steps are checkpointed in its system database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dbos import DBOS, SQLAlchemyDatasource
from sqlalchemy import text

from benchmarks.rows import Rows, is_sqlite
from benchmarks.work import ATTACH, DETACH, FINISHED, Backend, Execute, Step, perform


class Dbos:
    """Each step is a DBOS step; those that change rows commit them for themselves."""

    title = "DBOS, steps"
    databases = ("sqlite", "postgresql")
    packages = ("dbos", "SQLAlchemy", "psycopg")
    durable = True

    def open(self, url: str, directory: Path, index: int) -> None:
        self._backend = Backend()
        self._rows = Rows(url, self._backend)
        self.prepare(url)
        DBOS(
            config={
                "name": "bench",
                "system_database_url": url,
                "executor_id": str(index),
                "log_level": "ERROR",
            }
        )
        self._attach = DBOS.workflow(name="attach")(partial(self._run, self._steps(ATTACH)))
        self._detach = DBOS.workflow(name="detach")(partial(self._run, self._steps(DETACH)))
        DBOS.launch()

    def prepare(self, url: str) -> None:
        """Make what the steps need before DBOS itself is made."""

    def durable_step(self, step: Step) -> Callable[[Any], Any]:
        """A step as DBOS runs it, given the connection_info so far."""

        def do(info: Any) -> Any:
            return perform(step, self._backend, self._rows.transaction, info)

        return DBOS.step(name=step.name)(do)

    def attach(self) -> None:
        self._attach(self._backend.disk.id)

    def detach(self) -> None:
        self._detach(self._backend.disk.id)

    def finished(self) -> int:
        return self._rows.scalar(FINISHED, {"volume": self._backend.disk.id})

    def close(self) -> None:
        DBOS.destroy()
        self._rows.close()

    def _steps(self, steps: tuple[Step, ...]) -> list[Callable[[Any], Any]]:
        return [self.durable_step(step) for step in steps]

    @staticmethod
    def _run(steps: list[Callable[[Any], Any]], volume_id: str) -> None:
        info = None
        for step in steps:
            info = step(info) or info


class DbosDatasource(Dbos):
    """Rows are changed in transactions of a datasource, which commit their checkpoints, too."""

    title = "DBOS, datasource"

    def prepare(self, url: str) -> None:
        self._source = SQLAlchemyDatasource.create(url)
        # What the other peers have, too; SQLite has one level.
        self._level: Any = "SERIALIZABLE" if is_sqlite(url) else "READ COMMITTED"

    def durable_step(self, step: Step) -> Callable[[Any], Any]:
        if step.change is None:
            return super().durable_step(step)

        def do(info: Any) -> Any:
            return perform(step, self._backend, self._session, info)

        transaction = self._source.transaction(name=step.name, isolation_level=self._level)
        done: Callable[[Any], Any] = transaction(do)
        return done

    @contextmanager
    def _session(self) -> Iterator[Execute]:
        session = self._source.sql_session()

        def execute(statement: str, values: Any) -> int:
            return int(session.execute(text(statement), values).rowcount)  # type: ignore[attr-defined]

        yield execute
