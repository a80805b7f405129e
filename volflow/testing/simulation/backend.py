"""The storage backend: one in memory that outlives all processes, and the way to it, which fails.

The way is the driver that each process is given. A call that changes something is a point before
its effect and after it; what strikes there is raised, delayed, or made without the caller's
hearing of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn, Protocol

from volflow.drivers.base import Export
from volflow.exceptions import (
    ConnectionFailed,
    ConnectionInUse,
    DriverError,
    ExportFailed,
    InvalidConnector,
    TransientDriverError,
)
from volflow.locks import inherited_fds
from volflow.models import Connector, DriverVolume
from volflow.testing.memory import MemoryDriver
from volflow.testing.simulation.plan import Strike
from volflow.testing.simulation.world import World

_ERRORS: dict[str, type[Exception]] = {
    "create_export": ExportFailed,
    "ensure_export": ExportFailed,
    "remove_export": ExportFailed,
    "initialize_connection": ConnectionFailed,
    "terminate_connection": ConnectionFailed,
    "terminate_unused_connection": ConnectionFailed,
    "validate_connector": InvalidConnector,
}
_EXPORTING = frozenset(_ERRORS) - {"validate_connector"}
_CHANGING = _EXPORTING | {"create_volume", "delete_volume"}
_NOTIFYING = frozenset({"attach_volume", "detach_volume"})
_BEFORE = frozenset({"refusal", "transient", "outage", "late", "orphan"})


class Refusal(NamedTuple):
    """What the backend refused an actor.

    :ivar tag: is in the error's sentence, and in no other one's.
    """

    method: str
    tag: str
    error: type[Exception]


class Judge(Protocol):
    """Who watches what is done to the backend."""

    def effect(self, method: str, volume_id: str, arguments: tuple[Any, ...]) -> None:
        """Hear of an effect just before it is made."""

    def made(self, volume_id: str) -> None:
        """Hear that it was made."""

    def came_late(self, volume_id: str, initiators: set[str]) -> None:
        """Hear whom an effect let in that came after its refusal."""

    def looked(self) -> None:
        """Hear that somebody asked who is logged in."""


class Backend(MemoryDriver):
    """The backend itself; it can refuse new logins before it looks at the sessions."""

    def terminate_unused_connection(self, volume: DriverVolume, connector: Connector) -> None:
        initiator = connector["initiator"].lower()
        if initiator in self.sessions.get(volume.id, ()):
            raise ConnectionInUse(f"{initiator} is logged in to volume {volume.id}")
        self.terminate_connection(volume, connector)


class Way:
    """The driver of all processes.

    :param cautious: it has ``terminate_unused_connection``.
    :ivar busy: volume id -> who changes it on the backend now.
    """

    def __init__(self, world: World, backend: Backend, judge: Judge, cautious: bool) -> None:
        self.busy: dict[str, str] = {}
        self._world = world
        self._backend = backend
        self._judge = judge
        self._inherited: set[int] = set()
        self._out: dict[tuple[str, str], int] = {}
        self._transient: dict[tuple[str, str], int] = {}
        if not cautious:
            vars(self)["terminate_unused_connection"] = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        if name in _CHANGING:
            return lambda *given, **options: self._change(name, found, given, options)
        if name in _NOTIFYING or name == "validate_connector":
            return lambda *given, **options: self._call(name, found, given, options)
        return found

    def list_exports(self) -> Iterable[Export]:
        """The exports, unless the backend is deaf; without their sessions where it is blind."""
        world = self._world
        world.point("list_exports")
        found = world.strike("look")
        if found is not None and found.kind == "deaf":
            self._refuse("list_exports")
        exports = list(self._backend.list_exports())
        if found is not None:
            return [replace(export, sessions=None) for export in exports]
        self._judge.looked()
        return exports

    def recover(self) -> None:
        """Refuse nothing any more."""
        self._out.clear()
        self._transient.clear()

    def _change(self, name: str, effect: Any, given: tuple[Any, ...], options: Any) -> Any:
        """Make a call that changes a volume's backend, on which none may be under way."""
        volume_id = _volume_id(given)
        actor = self._world.actor
        me = "" if actor is None else actor.name
        if volume_id in self.busy:
            self._world.violate(
                "G3 overlapping calls",
                f"{name} of {me} comes while {self.busy[volume_id]} changes volume {volume_id}",
            )
        self.busy[volume_id] = me
        try:
            return self._call(name, effect, given, options)
        finally:
            if self.busy.get(volume_id) == me:
                del self.busy[volume_id]

    def _call(self, name: str, effect: Any, given: tuple[Any, ...], options: Any) -> Any:
        world = self._world
        world.point(name)
        key = (name, _volume_id(given))

        def happen() -> Any:
            return effect(*given, **options)

        self._refuse_again(key)
        found = world.strike("effect", lambda kind: _permits(kind, name))
        kind = "" if found is None else found.kind
        if found is not None:
            self._delay(found, key, happen)
        if name in _CHANGING:
            self._judge.effect(name, key[1], given)
        result = happen()
        self._judge.made(key[1])
        world.tell(f"{name} {world.short(key[1])}".rstrip())
        world.point(f"{name} done")
        if kind == "half":
            self._refuse(name)
        if kind == "foreign":
            self._refuse(name, RuntimeError)
        return result

    def _refuse_again(self, key: tuple[str, str]) -> None:
        """Refuse where an outage goes on, or the backend is busy still."""
        if self._out.get(key, 0) > self._world.scheduler.now:
            self._refuse(key[0])
        if left := self._transient.get(key, 0):
            self._transient[key] = left - 1
            self._refuse(key[0], TransientDriverError)

    def _delay(self, strike: Strike, key: tuple[str, str], happen: Callable[[], Any]) -> None:
        """Do what strikes before the effect."""
        world, kind, number = self._world, strike.kind, strike.number
        if kind in ("slow", "hang"):
            world.pause(kind, number)
        elif kind == "orphan":
            self._orphan(key, number, happen)
        elif kind == "transient":
            self._transient[key] = int(number) - 1
            self._refuse(key[0], TransientDriverError)
        elif kind == "foreign" and number < 0.5:
            self._refuse(key[0], RuntimeError)
        elif kind in _BEFORE:
            if kind == "outage":
                self._out[key] = world.scheduler.now + int(number * 1e6)
            if kind == "late":
                world.scheduler.after(number, lambda: self._come_late(key, happen))
            self._refuse(key[0])

    def _orphan(self, key: tuple[str, str], seconds: float, happen: Callable[[], Any]) -> None:
        """Let the process die, and its command go on with the lock that it inherited."""
        name, volume_id = key
        inherited = [os.dup(fd) for fd in inherited_fds()]
        self._inherited |= set(inherited)
        me = self.busy[volume_id] = f"the orphaned {name} of {self.busy[volume_id]}"

        def end() -> None:
            self._come_late(key, happen)
            self._let_go(inherited)
            if self.busy.get(volume_id) == me:
                del self.busy[volume_id]

        self._world.scheduler.after(seconds, end)
        actor = self._world.actor
        assert actor is not None
        self._world.afflict(actor, Strike(actor.name, actor.steps, "death", seconds / 2))

    def close(self) -> None:
        """Give all locks back that orphaned commands still hold."""
        self._let_go(list(self._inherited))

    def _let_go(self, descriptors: list[int]) -> None:
        for fd in descriptors:
            self._inherited.discard(fd)
            os.close(fd)

    def _come_late(self, key: tuple[str, str], happen: Callable[[], Any]) -> None:
        self._world.tell(f"{key[0]} {self._world.short(key[1])} takes effect, late")
        before = set(self._backend.acls.get(key[1], ()))
        try:
            happen()
        except DriverError as e:
            self._world.tell(f"the late {key[0]} fails: {e}", loud=False)
        self._judge.came_late(key[1], self._backend.acls.get(key[1], set()) - before)

    def _refuse(self, name: str, error: type[Exception] | None = None) -> NoReturn:
        """Raise an error with a sentence that is found again."""
        actor = self._world.actor
        assert actor is not None
        tag = f"refusal {actor.name}:{actor.steps}"
        chosen = error or _ERRORS.get(name, DriverError)
        actor.notes.setdefault("refusals", [[]])[-1].append(Refusal(name, tag, chosen))
        self._world.tell(f"{name} raises {chosen.__name__}")
        raise chosen(f"{name} was refused ({tag})")


def _permits(kind: str, method: str) -> bool:
    """Effects that come late are those that another look at the backend finds."""
    if kind == "orphan":
        return method in _CHANGING
    return kind != "late" or method in _EXPORTING


def _volume_id(given: tuple[Any, ...]) -> str:
    return next((g.id for g in given if isinstance(g, DriverVolume)), "")
