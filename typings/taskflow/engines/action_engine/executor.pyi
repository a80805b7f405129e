import abc
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from taskflow import task

class TaskExecutor(metaclass=abc.ABCMeta):
    @abc.abstractmethod
    def execute_task(
        self,
        task: task.Task,
        task_uuid: str,
        arguments: Mapping[str, Any],
        progress_callback: Callable[..., None] | None = None,
    ) -> Future[tuple[str, Any]]: ...
    @abc.abstractmethod
    def revert_task(
        self,
        task: task.Task,
        task_uuid: str,
        arguments: Mapping[str, Any],
        result: Any,
        failures: Mapping[str, Any],
        progress_callback: Callable[..., None] | None = None,
    ) -> Future[tuple[str, Any]]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...

class SerialTaskExecutor(TaskExecutor):
    def __init__(self) -> None: ...
    def execute_task(
        self,
        task: task.Task,
        task_uuid: str,
        arguments: Mapping[str, Any],
        progress_callback: Callable[..., None] | None = None,
    ) -> Future[tuple[str, Any]]: ...
    def revert_task(
        self,
        task: task.Task,
        task_uuid: str,
        arguments: Mapping[str, Any],
        result: Any,
        failures: Mapping[str, Any],
        progress_callback: Callable[..., None] | None = None,
    ) -> Future[tuple[str, Any]]: ...

class SerialRetryExecutor:
    def __init__(self) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
