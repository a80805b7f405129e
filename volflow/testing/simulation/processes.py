"""Processes: managers of their own on the same database, the same backend and the same locks."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from volflow.exceptions import DatabaseError
from volflow.jobs.conductor import Conductor
from volflow.manager import VolumeManager
from volflow.testing.faults import Crash, pause_heartbeat
from volflow.testing.scenarios import BACKEND
from volflow.testing.simulation.faults import (
    DEADLINE_SECONDS,
    DRIVER_CALL_SECONDS,
    LEASE_SECONDS,
)
from volflow.testing.simulation.plan import Strike
from volflow.testing.simulation.scheduler import SECOND, Actor, Group
from volflow.testing.simulation.stock import Stock
from volflow.testing.simulation.store import Store
from volflow.testing.simulation.world import World

RECOVERY_SECONDS = 10.0
POLLING_SECONDS = 30.0
"""How long a conductor with nothing to do waits until it looks by itself."""
CLOSED_SECONDS = 3.0
"""How long a process that is replaced is away."""


class Process(Group):
    """One process at a time under a name: when it died, another takes its place.

    :ivar manager: None while there is none; ``conductor`` is its conductor.
    :ivar recoveries: how often it has run recovery.
    :ivar leaving: it takes no calls any more.
    :ivar gone: it died, and none takes its place.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.manager: VolumeManager | None = None
        self.conductor: Conductor | None = None
        self.looks = False
        self.woken = False
        self.tended = 0
        self.leaving = False
        self.gone = False
        self.turns = 0
        self.recoveries = 0
        self.watched = ExitStack()

    @property
    def serves(self) -> bool:
        """True where it takes calls."""
        return self.manager is not None and not self.leaving


class Processes:
    """All of them: opened, stalled, killed, replaced."""

    def __init__(
        self, world: World, store: Store, stock: Stock, driver: Any, names: list[str]
    ) -> None:
        self.all = [Process(name) for name in names]
        self._world = world
        self._store = store
        self._stock = stock
        self._driver = driver
        world.afflict = self.afflict
        world.queued = self._wake
        world.identities[f"{store.path.parent}/"] = ""
        for process in self.all:
            self.open(process)

    @property
    def serving(self) -> list[Process]:
        """Those that take calls."""
        return [process for process in self.all if process.serves]

    def open(self, process: Process) -> None:
        """Open a manager as a new process does, and let it recover and show life."""
        directory = self._store.path.parent
        manager = VolumeManager(
            self._store.url,
            drivers={BACKEND: self._driver},
            recover=False,
            lease_seconds=LEASE_SECONDS,
            reservation_deadline_seconds=DEADLINE_SECONDS,
            driver_call_seconds=DRIVER_CALL_SECONDS,
            key_file=directory / "volflow.key",
            board="sql:",
            clock=self._world.clock,
        )
        pause_heartbeat(manager)
        process.watched.enter_context(self._store.watching(manager.database))
        process.manager, process.leaving = manager, False
        self._world.identities[manager.leases.owner] = process.name
        process.conductor = manager.conductor(process.name, workers=1)
        process.looks, process.woken, process.tended = False, False, 0
        self._world.tell(f"{process.name} opens")
        self._recover(process, manager)
        self._world.scheduler.after(LEASE_SECONDS / 3, lambda: self._beat(process, manager))
        self._world.scheduler.after(POLLING_SECONDS, lambda: self._look(process, manager))

    def call(
        self,
        process: Process,
        name: str,
        body: Callable[[VolumeManager], Any],
        done: Callable[[Actor], None],
    ) -> Actor:
        """Let a thread of the process do something with its manager."""
        manager = process.manager
        assert manager is not None
        return self._world.scheduler.spawn(name, process, lambda: body(manager), done)

    # What a process does by itself

    def _recover(self, process: Process, manager: VolumeManager) -> None:
        """Run recovery, then sleep; a run that takes long is waited for."""
        if process.manager is not manager or process.leaving:
            return

        def done(actor: Actor) -> None:
            if actor.error is not None and not isinstance(actor.error, DatabaseError):
                self._world.violate("API", f"recover() raised {actor.error!r}")
            process.recoveries += 1
            pause = RECOVERY_SECONDS * (1 + process.recoveries % 3)
            self._world.scheduler.after(pause, lambda: self._recover(process, manager))

        process.turns += 1
        self.call(process, f"{process.name} recover {process.turns}", _recovery, done)

    def _beat(self, process: Process, manager: VolumeManager) -> None:
        """Renew the leases of what runs; where nothing does, there is nothing to renew."""
        if process.manager is not manager:
            return

        def again(_: Actor | None = None) -> None:
            self._world.scheduler.after(LEASE_SECONDS / 3, lambda: self._beat(process, manager))

        if any(actor.group is process for actor in self._world.scheduler.actors):
            process.turns += 1
            self.call(process, f"{process.name} beat {process.turns}", _beating, again)
        else:
            again()

    def _look(self, process: Process, manager: VolumeManager) -> None:
        """Let the conductor run what is queued, unless it is about it; then look again."""
        if process.manager is not manager or process.leaving or process.looks:
            return

        def done(actor: Actor) -> None:
            process.looks = False
            if actor.error is not None:
                self._world.violate("API", f"a conductor raised {actor.error!r}")
            pause = 0.0 if actor.value or process.woken else POLLING_SECONDS
            self._world.scheduler.after(pause, lambda: self._look(process, manager))

        conductor, woken = process.conductor, process.woken
        assert conductor is not None
        process.looks, process.woken = True, False
        process.turns += 1
        self.call(
            process,
            f"{process.name} conduct {process.turns}",
            lambda _: self._conduct(process, conductor, woken),
            done,
        )

    def _conduct(self, process: Process, conductor: Conductor, woken: bool) -> bool:
        """Show life where something was queued, and it is time; then run what is there."""
        now = self._world.scheduler.now
        if woken and now >= process.tended:
            process.tended = now + int(LEASE_SECONDS / 3 * SECOND)
            conductor.tend()
        return conductor.turn()

    def _wake(self) -> None:
        """Let the conductors hear that something was queued, as those of one database do."""
        for process in self.serving:
            process.woken = True
            manager = process.manager
            assert manager is not None
            self._world.scheduler.at(0, partial(self._look, process, manager))

    # What happens to it

    def afflict(self, actor: Actor, strike: Strike) -> None:
        """Let a strike hit the actor at whose point it came."""
        until = self._world.scheduler.now + int(strike.number * SECOND)
        process = actor.group
        assert isinstance(process, Process)
        if strike.kind in ("stall", "doze", "nap"):
            process.stalled_until = until
        elif strike.kind == "freeze":
            self._world.pause("frozen", strike.number)
        else:
            manager = process.manager
            self._world.scheduler.at(0, lambda: self.kill(process, manager, strike.number))
            actor.doomed = True
            raise Crash(strike.kind)

    def kill(self, process: Process, manager: VolumeManager | None, seconds: float) -> None:
        """Let a process die, and another open after a while; the director's alone."""
        if process.manager is None or process.manager is not manager:
            return
        self._world.tell(f"{process.name} dies")
        self._world.tally["deaths"] += 1
        self.bury(process)
        self._world.scheduler.after(seconds, lambda: self._reopen(process))

    def bury(self, process: Process) -> None:
        """End a process as the kernel does: nothing is written, its locks are free."""
        manager, process.manager = process.manager, None
        process.conductor = None
        process.stalled_until = 0
        self._world.scheduler.kill(process)
        if manager is not None:
            manager.leases.close(0)
            process.watched.close()
            self._stock.give_back(manager.database)

    def end(self, process: Process) -> None:
        """Let a process die for ever."""
        process.gone = True
        self.kill(process, process.manager, 0)

    def strike_weather(self, strike: Strike) -> None:
        """Let a strike hit that comes with the weather."""
        dice = random.Random(strike.number)  # noqa: S311 - it has to be repeatable
        process = dice.choice(self.all)
        if strike.kind == "outcry":
            self.kill(process, process.manager, strike.number)
        elif strike.kind == "jump":
            self._world.jump(strike.number)
        elif strike.kind == "upgrade":
            self._replace(list(self.all))
        elif strike.kind == "swizzle":
            self._swizzle(dice, strike.number)

    def _swizzle(self, dice: random.Random, seconds: float) -> None:
        """Stop processes one by one, and let them go on in another order."""
        stopped = dice.sample(self.all, len(self.all) - 1)
        order = dice.sample(stopped, len(stopped))
        after = self._world.scheduler.after
        for number, process in enumerate(stopped):
            after(number, partial(self._stall, process, 10 * seconds))
        for number, process in enumerate(order):
            after(seconds + number, partial(self._stall, process, 0))

    def _stall(self, process: Process, seconds: float) -> None:
        self._world.tell(f"{process.name} {'stands still' if seconds else 'goes on'}")
        process.stalled_until = self._world.scheduler.now + int(seconds * SECOND)

    def _replace(self, left: list[Process]) -> None:
        """Close one process after the other in order, and open it anew."""
        if not left:
            return
        process, manager = left[0], left[0].manager
        if manager is None or process.leaving:
            self._replace(left[1:])
            return
        process.leaving = True

        def closed(actor: Actor) -> None:
            if actor.error is not None:
                self._world.violate("API", f"close() raised {actor.error!r}")
            if not actor.doomed:
                self._world.scheduler.at(0, lambda: self._renew(process, manager, left))

        self.call(process, f"{process.name} close", _closing, closed)

    def _renew(self, process: Process, manager: VolumeManager, left: list[Process]) -> None:
        if process.manager is manager:
            self.bury(process)
            self._world.scheduler.after(CLOSED_SECONDS, lambda: self._reopen(process))
        self._world.scheduler.after(2 * CLOSED_SECONDS, lambda: self._replace(left[1:]))

    def _reopen(self, process: Process) -> None:
        if process.manager is None and not process.gone:
            self.open(process)


def _recovery(manager: VolumeManager) -> Any:
    return manager.recover()


def _beating(manager: VolumeManager) -> None:
    manager.leases.beat()


def _closing(manager: VolumeManager) -> None:
    manager.close()
