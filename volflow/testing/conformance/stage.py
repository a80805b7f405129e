"""The driver under the core: managers on it, and stages of the crash matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from volflow.drivers.base import Driver, initiator_of
from volflow.exceptions import VolflowError
from volflow.manager import VolumeManager
from volflow.models import (
    Attachment,
    ConnectionInfo,
    Connector,
    OperationState,
    VolumeStatus,
)
from volflow.testing.conformance.bench import Bench
from volflow.testing.crash import Matrix
from volflow.testing.faults import Fault
from volflow.testing.points import Points
from volflow.testing.scenarios import CONTEXT, HOST_A, HOST_B, Scenario
from volflow.testing.stage import RECOVERIES, Place, Stage

UNUSED = "terminate_unused_connection"
"""The optional method that refuses where a session is live."""


@contextmanager
def manager_on(bench: Bench, driver: Any = None) -> Iterator[VolumeManager]:
    """Open a manager on the bench's backend, with a database of the test's own.

    :param driver: what it is given; None: a new driver.
    """
    directory = bench.place / "volflow-core"
    directory.mkdir(exist_ok=True)
    with Place(directory).open(driver or bench.next_driver()) as manager:
        yield manager


def unreachable(bench: Bench, info: ConnectionInfo, connector: Connector) -> bool:
    """True where a host cannot log in with what it was told; False, too, where none can try."""
    if not bench.can_log_in:
        return False
    try:
        bench.hooks.login(info, connector)
    except Exception:  # noqa: BLE001 - whatever the host's software raises
        return True
    bench.hooks.logout(info, connector)
    return False


class ForHosts:
    """A driver whose hosts are called ``a`` and ``b`` in the scenarios."""

    def __init__(
        self,
        driver: Driver,
        connectors: tuple[Connector, Connector],
        restart_target: Callable[[], None],
    ) -> None:
        self._driver = driver
        self._connectors = connectors
        self.restart_target = restart_target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name.startswith("_") or not callable(found):
            return found

        def call(*arguments: Any, **options: Any) -> Any:
            return found(*map(self.theirs, arguments), **options)

        return call

    def initiator_of(self, connector: Connector) -> str:
        return initiator_of(self._driver, self.theirs(connector))

    def theirs(self, argument: Any) -> Any:
        """The driver's own connector where this is one of the scenarios'."""
        for ours, theirs in zip((HOST_A, HOST_B), self._connectors, strict=True):
            if argument == ours:
                return dict(theirs)
        return argument


class CallPoints(Points):
    """Counts commits and driver calls; a statement leaves nothing until its commit."""

    def reach(self, name: str) -> None:
        """Pass a point, or a statement, which is none."""
        if not name.startswith("statement"):
            super().reach(name)


class LiveStage(Stage):
    """A volume on a backend that outlives the test's processes by itself.

    Each process has a driver of its own, and a host that was let in tries to log in.
    """

    def __init__(self, place: Place, bench: Bench, scenario: Scenario) -> None:
        self._bench = bench
        super().__init__(place, self._for_hosts(bench.driver), scenario)
        if hasattr(bench.driver, UNUSED):
            undo = [f for f in self.faults if f.call == "terminate_connection"]
            self.faults += [Fault(UNUSED, f.when, f.error, f.left) for f in undo]

    def driver(self) -> Any:
        """A driver of its own."""
        return self._for_hosts(self._bench.hooks.make_driver(self._bench.place))

    def violations(self, manager: VolumeManager) -> list[str]:
        """Compare database and backend, and try every way in that a host was told."""
        found = super().violations(manager)
        acls = {e.volume_id: e.acl for e in self.backend.list_exports()}
        return found + [
            f"G3: volume {a.volume_id} is attached, and its host cannot log in"
            for a in manager.list_attachments(CONTEXT)
            if self._is_shut_out(a, acls.get(a.volume_id, ()))
        ]

    def look(self) -> list[str]:
        """Look before any recovery, unless an operator has to help first: see :meth:`settle`."""
        if any(export.sessions is None for export in self.backend.list_exports()):
            return []
        return super().look()

    def settle(self, at_once: bool = False) -> tuple[list[str], str]:
        """Recover; where the backend cannot tell its sessions, help as an operator has to (G1)."""
        self._force({OperationState.NEEDS_ATTENTION})
        return super().settle(at_once)

    def clear(self) -> list[str]:
        """Detach and delete whatever is left, with force where sessions cannot be told."""
        self.faults = []
        self._force({OperationState.NEEDS_ATTENTION, OperationState.WAITING})
        return super().clear()

    def _force(self, held: set[OperationState]) -> None:
        """Undo the connections of attaches in these states, since nothing tells who uses them."""
        if all(export.sessions is not None for export in self.backend.list_exports()):
            return
        with self.process() as manager:
            for _ in range(RECOVERIES):
                manager.recover()
            for volume in manager.list_volumes(CONTEXT, status=VolumeStatus.ATTACHING):
                operation = manager.get_operation(CONTEXT, str(volume.operation_id))
                if operation.state in held:
                    with suppress(VolflowError):  # it is found unsettled then
                        manager.terminate_connection(CONTEXT, volume.id, None, force=True)

    def _is_shut_out(self, attachment: Attachment, acl: tuple[str, ...]) -> bool:
        info, connector = attachment.connection_info, attachment.connector
        if info is None or connector is None or self.backend.initiator_of(connector) not in acl:
            return False
        return unreachable(self._bench, info, self.backend.theirs(connector))

    def _for_hosts(self, driver: Driver) -> ForHosts:
        hooks = self._bench.hooks
        return ForHosts(driver, hooks.connectors, hooks.restart_target)


class LiveMatrix(Matrix):
    """Goes through the commits and the driver calls of a scenario, a volume a point."""

    def __init__(self, bench: Bench, scenario: Scenario) -> None:
        super().__init__(scenario, lambda: bench)

    def new_points(self, strike_at: int | None = None) -> Points:
        """Without statements: a real backend takes its time."""
        return CallPoints(strike_at)

    def new_stage(self, place: Place, backend: Any) -> Stage:
        """A volume in the scenario's first state; ``backend`` is the bench."""
        return LiveStage(place, backend, self.scenario)
