"""TaskFlow's serial engine as it comes, which keeps nothing of the flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from taskflow import engines, task
from taskflow.patterns.linear_flow import Flow

from benchmarks.rows import Rows
from benchmarks.work import ATTACH, DETACH, FINISHED, Backend, Step, perform

MADE = "initialize-connection"
USED = "record-attachment"


class Do(task.Task):
    """One step; what changes rows commits for itself."""

    def __init__(self, step: Step, backend: Backend, rows: Rows) -> None:
        super().__init__(
            step.name,
            provides="connection_info" if step.name == MADE else None,
            requires=["connection_info"] if step.name == USED else None,
        )
        self._step, self._backend, self._rows = step, backend, rows

    def execute(self, volume_id: str, **given: Any) -> Any:
        info = given.get("connection_info")
        return perform(self._step, self._backend, self._rows.transaction, info)

    def revert(self, **_: Any) -> None:
        raise NotImplementedError("nothing fails here")


class Bare:
    """``engines.run`` of a flow that is made anew for each run, as its users do."""

    title = "TaskFlow, no storage"
    databases = ("sqlite", "postgresql")
    packages: tuple[str, ...] = ("taskflow", "psycopg")
    durable = False

    def open(self, url: str, directory: Path, index: int) -> None:
        self._backend = Backend()
        self._rows = Rows(url, self._backend)
        self.persistence: Any = None

    def attach(self) -> None:
        self._run("attach", ATTACH)

    def detach(self) -> None:
        self._run("detach", DETACH)

    def finished(self) -> int:
        return self._rows.scalar(FINISHED, {"volume": self._backend.disk.id})

    def close(self) -> None:
        self._rows.close()

    def _run(self, name: str, steps: tuple[Step, ...]) -> None:
        flow = Flow(name).add(*(Do(step, self._backend, self._rows) for step in steps))
        store = {"volume_id": self._backend.disk.id}
        engines.run(flow, store=store, backend=self.persistence)
