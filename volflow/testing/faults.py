"""Faults: drivers that refuse, processes that die, heartbeats that stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volflow.manager import VolumeManager


class Crash(BaseException):
    """The death of the process, as far as one process can play it.

    It is no Exception, so that nothing between the fault and the caller handles it: no undo
    runs and nothing more is written.
    """


class Fault:
    """One thing that goes wrong in a driver.

    :param call: the driver's method, such as ``create_export``.
    :param when: ``before`` its effect or ``after`` it.
    :param error: an exception, or an exception's class, or :class:`Crash`.
    :param times: how often it happens; None: always.
    """

    def __init__(
        self,
        call: str,
        when: str,
        error: BaseException | type[BaseException],
        times: int | None = 1,
    ) -> None:
        if when not in ("before", "after"):
            raise ValueError(f"when has to be 'before' or 'after', not {when!r}")
        self.call = call
        self.when = when
        self.error = error
        self.left = times

    def __repr__(self) -> str:
        return f"Fault({self.call!r}, {self.when!r}, {self.error!r}, times={self.left})"

    def strike(self, call: str, when: str) -> None:
        """Raise the error, where it is time for it."""
        if (call, when) != (self.call, self.when) or self.left == 0:
            return
        if self.left is not None:
            self.left -= 1
        raise self.error


class FaultyDriver:
    """A driver that behaves as another one until a fault strikes.

    :param driver: the driver that does the work.
    :param faults: a list that may be changed while it is used.
    :ivar calls: the names of the methods that were called, in order.
    """

    def __init__(self, driver: Any, faults: Iterable[Fault] = ()) -> None:
        self.driver = driver
        self.faults = list(faults)
        self.calls: list[str] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.driver, name)
        if name.startswith("_") or not callable(found):
            return found
        return self._wrapped(name, found)

    def _wrapped(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append(name)
            self._strike(name, "before")
            result = method(*arguments, **options)
            self._strike(name, "after")
            return result

        return call

    def _strike(self, name: str, when: str) -> None:
        with self._lock:
            for fault in list(self.faults):
                fault.strike(name, when)


class pause_heartbeat:  # noqa: N801 - it is called as a function
    """Stop renewing the manager's leases, at once; in a ``with``, until its end."""

    def __init__(self, manager: VolumeManager) -> None:
        self._leases = manager.leases
        self._leases.pause()

    def __enter__(self) -> None:
        """It is paused already."""

    def __exit__(self, *_: object) -> None:
        self._leases.paused = False
