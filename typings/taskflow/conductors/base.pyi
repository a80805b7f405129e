import abc
from collections.abc import Mapping
from typing import Any

from taskflow.engines import base as engine_base
from taskflow.jobs import base as jobs_base
from taskflow.listeners import base as listeners_base
from taskflow.persistence import base, models
from taskflow.types import entity
from taskflow.types import notifier as notifier_

class Conductor(metaclass=abc.ABCMeta):
    ENTITY_KIND: str
    _name: str
    _jobboard: jobs_base.JobBoard
    def __init__(
        self,
        name: str,
        jobboard: jobs_base.JobBoard,
        persistence: base.Backend | None = None,
        engine: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
    ) -> None: ...
    @property
    def conductor(self) -> entity.Entity: ...
    @property
    def notifier(self) -> notifier_.Notifier: ...
    def connect(self) -> None: ...
    def close(self) -> None: ...
    @abc.abstractmethod
    def run(self, max_dispatches: int | None = None) -> None: ...
    @abc.abstractmethod
    def stop(self) -> None: ...
    @abc.abstractmethod
    def wait(self, timeout: float | None = None) -> bool: ...
    @abc.abstractmethod
    def _dispatch_job(self, job: Any) -> Any: ...
    def _flow_detail_from_job(self, job: jobs_base.Job) -> models.FlowDetail: ...
    def _engine_from_job(self, job: jobs_base.Job) -> engine_base.Engine: ...
    def _listeners_from_job(
        self, job: jobs_base.Job, engine: engine_base.Engine
    ) -> list[listeners_base.Listener]: ...
