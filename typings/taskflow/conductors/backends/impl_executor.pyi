import abc
import threading
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from logging import Logger, LoggerAdapter
from typing import Any

from taskflow.conductors import base
from taskflow.jobs import base as jobs_base
from taskflow.persistence import base as persistence_base
from taskflow.types import timing

class ExecutorConductor(base.Conductor, metaclass=abc.ABCMeta):
    _dead: threading.Event
    _wait_timeout: timing.Timeout
    _dispatched: set[Future[bool]]
    LOG: Logger | None
    REFRESH_PERIODICITY: int
    WAIT_TIMEOUT: float
    MAX_SIMULTANEOUS_JOBS: int
    NO_CONSUME_EXCEPTIONS: tuple[type[Exception], ...]
    EVENTS_EMITTED: tuple[str, ...]
    def __init__(
        self,
        name: str,
        jobboard: jobs_base.JobBoard,
        persistence: persistence_base.Backend | None = None,
        engine: str | None = None,
        engine_options: Mapping[str, Any] | None = None,
        wait_timeout: timing.Timeout | float | str | None = None,
        log: Logger | LoggerAdapter[Logger] | None = None,
        max_simultaneous_jobs: int = -1,
    ) -> None: ...
    def _executor_factory(self) -> Executor: ...
    def stop(self) -> None: ...
    @property
    def dispatching(self) -> bool: ...
    def _dispatch_job(self, job: Any) -> Any: ...
    def _try_finish_job(self, job: Any, consume: bool, trash: bool = False) -> None: ...
    def _on_job_done(self, job: Any, fut: Future[bool]) -> None: ...
    def run(self, max_dispatches: int | None = None) -> None: ...
    def wait(self, timeout: float | None = None) -> bool: ...
