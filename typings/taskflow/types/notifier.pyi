from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

class Listener:
    def __init__(
        self,
        callback: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        details_filter: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None: ...
    @property
    def callback(self) -> Callable[..., Any]: ...
    def __call__(self, event_type: str, details: Mapping[str, Any]) -> None: ...

class Notifier:
    RESERVED_KEYS: tuple[str, ...]
    ANY: str
    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def is_registered(
        self,
        event_type: str,
        callback: Callable[..., Any],
        details_filter: Callable[[dict[str, Any]], bool] | None = None,
    ) -> bool: ...
    def reset(self) -> None: ...
    def notify(self, event_type: str, details: Mapping[str, Any] | None) -> None: ...
    def register(
        self,
        event_type: str,
        callback: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        details_filter: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None: ...
    def deregister(
        self,
        event_type: str,
        callback: Callable[..., Any],
        details_filter: Callable[[dict[str, Any]], bool] | None = None,
    ) -> bool: ...
    def deregister_event(self, event_type: str) -> int: ...
    def copy(self) -> Self: ...
    def listeners_iter(self) -> Iterator[tuple[str, list[Listener]]]: ...
    def can_be_registered(self, event_type: str) -> bool: ...
    def can_trigger_notification(self, event_type: str) -> bool: ...

class RestrictedNotifier(Notifier):
    def __init__(self, watchable_events: Iterable[str], allow_any: bool = True) -> None: ...
    def events_iter(self) -> Iterator[str]: ...

def register_deregister(
    notifier: Notifier,
    event_type: str,
    callback: Callable[..., Any] | None = None,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    details_filter: Callable[[dict[str, Any]], bool] | None = None,
) -> AbstractContextManager[None]: ...
