"""What a driver's author tells the kit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from volflow.drivers.base import Driver
from volflow.models import ConnectionInfo, Connector
from volflow.testing.conformance.bench import Bench
from volflow.testing.scenarios import HOST_A, HOST_B

T = TypeVar("T", bound=Callable[..., Any])


def needs(*hooks: str) -> Callable[[T], T]:
    """Mark a test that can only be made where these hooks are."""

    def mark(test: T) -> T:
        vars(test)["needs"] = hooks
        return test

    return mark


class Hooks:
    """The hooks of the kit; only :meth:`make_driver` has to be written.

    A test that needs one of the others is skipped where that is missing, and is not there at all
    where it was set to None, which says: this backend has nothing of the kind.

    :ivar connectors: two hosts.
    :ivar bad_connectors: what the driver has to refuse.
    :ivar tells_sessions: list_exports says who is logged in; else it says None.
    :ivar crash_step: 1: a death at every point of every scenario; n: at every n-th. An odd one
        meets both sides of commits and calls.
    :ivar half_way_deaths: at how many lines of its own code a call dies, at most.
    :ivar patience_seconds: how long a session may take to come and to go.
    """

    connectors: tuple[Connector, Connector] = (HOST_A, HOST_B)
    bad_connectors: Sequence[Any] = ({}, *({"initiator": bad} for bad in (None, "", 7, ["a"])))
    tells_sessions: bool = True
    crash_step: int = 1
    half_way_deaths: int = 40
    patience_seconds: float = 20

    def make_driver(self, tmp_path: Path) -> Driver:
        """Make a driver, as a new process does.

        :param tmp_path: the test's own directory. All drivers that are made for one directory
            lead to the same backend; at a test's first one it has no exports.
        """
        raise NotImplementedError(f"{type(self).__name__} has no make_driver")

    def make_broken_driver(self, tmp_path: Path) -> Driver:
        """Make a driver that cannot reach its backend: a wrong port, a directory that is none."""
        raise NotImplementedError

    def login(self, info: ConnectionInfo, connector: Connector) -> None:
        """Log a host in with what it was told, and stay logged in.

        Raise anything where it is not let in.
        """
        raise NotImplementedError

    def logout(self, info: ConnectionInfo, connector: Connector) -> None:
        """End the host's session."""
        raise NotImplementedError

    def restart_target(self) -> None:
        """Let the backend lose what it does not keep over a restart: exports, ACLs, sessions."""
        raise NotImplementedError

    def foreign(self) -> AbstractContextManager[None]:
        """Put something on the backend that is not volflow's, and at the end look for it.

        Raise AssertionError where it was touched.
        """
        raise NotImplementedError

    @classmethod
    def has(cls, hook: str) -> bool:
        """True where the hook was written."""
        return getattr(cls, hook) not in (None, getattr(Hooks, hook))

    def __init_subclass__(cls) -> None:
        """Leave tests out whose hooks are None."""
        for name in dir(cls):
            wanted = getattr(getattr(cls, name), "needs", ())
            if any(getattr(cls, hook) is None for hook in wanted):
                setattr(cls, name, None)

    @pytest.fixture
    def bench(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
        """What a test works with; what it made is removed afterwards."""
        for hook in getattr(request.function, "needs", ()):
            if not self.has(hook):
                pytest.skip(f"{type(self).__name__} has no {hook}(): write it, or set it to None")
        found = Bench(self, tmp_path)
        yield found
        found.clear()
