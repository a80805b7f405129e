"""Looks at backend and database all the time: no volume is ever attached twice."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Any, Self

from sqlalchemy import func, select

from volflow.exceptions import DatabaseError, DriverError
from volflow.persistence import schema
from volflow.persistence.engine import Database

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 0.2

_V, _A = schema.volumes.c, schema.attachments.c
_TWICE = (
    select(_A.volume_id, func.count())
    .join(schema.volumes, _V.id == _A.volume_id)
    .where(_V.multiattach.is_(False), _A.detached_at.is_(None))
    .group_by(_A.volume_id)
    .having(func.count() > 1)
)


class Watcher:
    """A thread that samples while a block lasts.

    :param single: the ids of the volumes without multiattach.
    :ivar samples: how often backend and database were both seen.
    :ivar violations: what must never be, each as a sentence.
    """

    def __init__(self, database: Database, driver: Any, single: frozenset[str]) -> None:
        self._database = database
        self._driver = driver
        self._single = single
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="soak-watcher", daemon=True)
        self.samples = 0
        self.violations: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            try:
                self._look()
            except (DatabaseError, DriverError) as e:
                LOG.debug("not seen: %s", e)
            except Exception as e:
                LOG.exception("the watcher fails")
                self.violations.append(f"the watcher failed: {type(e).__name__}: {e}")

    def _look(self) -> None:
        for export in self._driver.list_exports():
            if export.volume_id in self._single and len(export.initiators) > 1:
                found = ", ".join(export.initiators)
                self.violations.append(f"G3: volume {export.volume_id} lets {found} in")
        with self._database.read() as connection:
            for volume_id, count in connection.execute(_TWICE):
                self.violations.append(f"G3: volume {volume_id} has {count} attachments")
        self.samples += 1
