"""Absurd: a task in PostgreSQL whose steps are checkpointed by stored functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import absurd_sdk
import absurdctl  # type: ignore[import-untyped]
import psycopg

from benchmarks.rows import Rows, plain
from benchmarks.work import ATTACH, DETACH, FINISHED, Backend, Step, perform


class Absurd:
    """A task is spawned, and worked off in the same process; a process has its own queue."""

    title = "Absurd"
    databases = ("postgresql",)
    packages = ("absurd-sdk", "absurdctl", "psycopg")
    durable = True

    def open(self, url: str, directory: Path, index: int) -> None:
        self._backend = Backend()
        self._rows = Rows(url, self._backend)
        _install(plain(url))
        self._absurd = absurd_sdk.Absurd(plain(url), queue_name=f"bench{index}")
        self._absurd.create_queue()
        for name, steps in (("attach", ATTACH), ("detach", DETACH)):
            self._absurd.register_task(name)(self._task(steps))

    def attach(self) -> None:
        self._run("attach")

    def detach(self) -> None:
        self._run("detach")

    def finished(self) -> int:
        return self._rows.scalar(FINISHED, {"volume": self._backend.disk.id})

    def close(self) -> None:
        self._absurd.close()
        self._rows.close()

    def _run(self, name: str) -> None:
        self._absurd.spawn(name, {"volume_id": self._backend.disk.id})
        self._absurd.work_batch()

    def _task(self, steps: tuple[Step, ...]) -> Any:
        def task(params: Any, context: Any) -> None:
            info = None
            for step in steps:
                found = context.step(step.name, lambda step=step, info=info: self._do(step, info))
                info = found or info

        return task

    def _do(self, step: Step, info: Any) -> Any:
        return perform(step, self._backend, self._rows.transaction, info)


def _install(url: str) -> None:
    """Make Absurd's schema where it is missing, as ``absurdctl init`` does."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT to_regnamespace('absurd')").fetchone()
        if found is None or found[0] is None:
            connection.execute(absurdctl.BUNDLED_SCHEMA_SQL)
