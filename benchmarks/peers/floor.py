"""The least that a loop written by hand can do: after each step it commits how far it is."""

from __future__ import annotations

import uuid
from pathlib import Path

from benchmarks.rows import Rows
from benchmarks.work import ATTACH, DETACH, FINISHED, Backend, Step

TABLE = (
    "CREATE TABLE IF NOT EXISTS runs ("
    "id VARCHAR(36) PRIMARY KEY, volume_id VARCHAR(36) NOT NULL, step VARCHAR(32) NOT NULL)"
)
BEGIN = "INSERT INTO runs VALUES (:run, :volume, :step)"
GO_ON = "UPDATE runs SET step = :step WHERE id = :run"


class Floor:
    """Each step's name is committed with what it changed; one process reads and undoes nothing."""

    title = "loop by hand"
    databases = ("sqlite", "postgresql")
    packages = ("psycopg",)
    durable = True

    def open(self, url: str, directory: Path, index: int) -> None:
        self._backend = Backend()
        self._rows = Rows(url, self._backend)
        with self._rows.transaction() as execute:
            execute(TABLE, {})

    def attach(self) -> None:
        self._loop(ATTACH)

    def detach(self) -> None:
        self._loop(DETACH)

    def finished(self) -> int:
        return self._rows.scalar(FINISHED, {"volume": self._backend.disk.id})

    def close(self) -> None:
        self._rows.close()

    def _loop(self, steps: tuple[Step, ...]) -> None:
        run, volume_id, info = str(uuid.uuid4()), self._backend.disk.id, None
        for number, step in enumerate(steps):
            found = step.effect(self._backend) if step.effect else None
            info = found or info
            with self._rows.transaction() as execute:
                reached = {"run": run, "step": step.name}
                execute(GO_ON, reached) if number else execute(
                    BEGIN, {**reached, "volume": volume_id}
                )
                if step.change:
                    step.change(execute, volume_id, info)
