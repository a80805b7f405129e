import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

from taskflow import atom
from taskflow.types import notifier as notifier_

REVERT_RESULT: str
REVERT_FLOW_FAILURES: str
EVENT_UPDATE_PROGRESS: str

class Task(atom.Atom, metaclass=abc.ABCMeta):
    TASK_EVENTS: tuple[str, ...]
    @property
    def notifier(self) -> notifier_.RestrictedNotifier: ...
    def copy(self, retain_listeners: bool = True) -> Self: ...
    def update_progress(self, progress: float) -> None: ...

class FunctorTask(Task):
    def __init__(
        self,
        execute: Callable[..., Any],
        name: str | None = None,
        provides: str | Collection[str] | None = None,
        requires: str | Collection[str] | None = None,
        auto_extract: bool = True,
        rebind: Mapping[str, str] | Sequence[str] | None = None,
        revert: Callable[..., Any] | None = None,
        version: tuple[int, int] | None = None,
        inject: Mapping[str, Any] | None = None,
    ) -> None: ...
    def execute(self, *args: Any, **kwargs: Any) -> Any: ...
