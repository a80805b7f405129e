"""One at a time: threads that hand each other a baton, in a time that only they move.

Every actor (a caller's call, a run of recovery, a beat of the heartbeat) is a thread that runs
real code. It runs until it comes to a *point*; there the scheduler says who goes on. Where nobody
can go on, time jumps to the next moment at which somebody can. Whoever made the scheduler is the
*director*: it has the baton while nobody else has, and does what happens at a moment of its own.
"""

from __future__ import annotations

import contextvars
import heapq
import threading
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from volflow.testing.faults import Crash

TICK = 100
"""How many microseconds a point takes."""
SECOND = 1_000_000


class Chooser(Protocol):
    """Who goes on, where several can."""

    def is_restless(self, actor: Actor) -> bool:
        """True where another one than this actor is to go on, though it can."""

    def choose(self, actor: Actor, able: list[Actor]) -> Actor:
        """Pick one of those who can go on, of whom ``actor`` is one."""

    def rank(self, name: str) -> int:
        """The lowest of those who can go on does, where nobody was picked."""


class Group:
    """Actors that stand still together, and die together.

    :ivar stalled_until: none of them goes on before; microseconds.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.stalled_until = 0


class Actor:
    """Something that runs in a thread of its own.

    :ivar steps: how many points it passed.
    :ivar unstoppable: it goes on in a group that stands still: it holds what all others need.
    :ivar doomed: it is to die, and does nothing more.
    :ivar ended: it is over; ``crashed``: it died.
    :ivar value: what its body returned; ``error`` is what it raised.
    :ivar notes: what others want to remember of it.
    """

    def __init__(
        self,
        name: str,
        rank: int,
        group: Group,
        body: Callable[[], Any],
        done: Callable[[Actor], None],
    ) -> None:
        self.name = name
        self.rank = rank
        self.group = group
        self.body = body
        self.done = done
        self.steps = 0
        self.waiting = False
        self.wake_at: int | None = None
        self.holds: Callable[[], bool] | None = None
        self.unstoppable = False
        self.doomed = False
        self.crashed = False
        self.ended = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.notes: dict[str, Any] = {}
        self.gate = threading.Lock()

    def perform(self) -> None:
        """Run the body, and keep how it ended."""
        try:
            if not self.doomed:
                self.value = contextvars.copy_context().run(self.body)
        except Crash:
            self.crashed = True
        except BaseException as e:  # noqa: BLE001 - whoever asked judges it
            self.error = e


class _Worker(threading.Thread):
    """A thread that plays one actor after another."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(name="volflow-simulation", daemon=True)
        self.gate = threading.Lock()
        self.gate.acquire()
        self.actor: Actor | None = None
        self._scheduler = scheduler

    def run(self) -> None:
        while True:
            self.gate.acquire()
            actor = self.actor
            if actor is None:
                return
            actor.perform()
            self._scheduler.ended(actor, self)


class Scheduler:
    """Says who goes on.

    :param chooser: who goes on.
    :ivar now: microseconds since the beginning.
    :ivar current: the actor that has the baton; None: the director.
    """

    def __init__(self, chooser: Chooser) -> None:
        self.now = 0
        self.steps = 0
        self.current: Actor | None = None
        self.actors: list[Actor] = []
        self.broken = False
        self._chooser = chooser
        self._gate = threading.Lock()
        self._gate.acquire()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._failure: BaseException | None = None
        self._idle: list[_Worker] = []
        self._workers: list[_Worker] = []
        self._director = threading.current_thread()

    def is_playing(self) -> bool:
        """True in the threads of the actors and of the director, and in no other one."""
        thread = threading.current_thread()
        return thread is self._director or thread in self._workers

    # What the director does

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Let the director do something at a moment, in microseconds, or as soon as it can."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), what))

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Let the director do something after a while."""
        self.at(self.now + int(seconds * SECOND), what)

    def spawn(
        self, name: str, group: Group, body: Callable[[], Any], done: Callable[[Actor], None]
    ) -> Actor:
        """Add an actor; it begins when it is chosen.

        :param done: told of its end, by whoever has the baton then.
        """
        actor = Actor(name, self._chooser.rank(name), group, body, done)
        worker = self._idle.pop() if self._idle else self._hire()
        worker.actor = actor
        actor.gate = worker.gate
        self.actors.append(actor)
        return actor

    def run(self, stop: Callable[[], bool]) -> None:
        """Let all go on until ``stop`` holds, something is broken, or nothing is left to do.

        :raises Deadlock: there are actors, and nobody will ever go on.
        """
        while not (stop() or self.broken):
            if self._has_event():
                heapq.heappop(self._events)[2]()
                continue
            chosen = self._next(None)
            if chosen is not None:
                self._give(chosen)
            elif not self._events:
                if self.actors:
                    raise Deadlock(", ".join(actor.name for actor in self.actors))
                return

    def kill(self, group: Group) -> None:
        """Let all actors of a group die where they are; the director's alone."""
        assert self.current is None
        while mine := [actor for actor in self.actors if actor.group is group]:
            mine[0].doomed = True
            self._give(mine[0])

    def close(self) -> None:
        """End the threads; no actor may be left."""
        assert not self.actors
        for worker in self._workers:
            worker.actor = None
            worker.gate.release()
        for worker in self._workers:
            worker.join()

    # What actors do

    def step(self) -> Actor | None:
        """Count a point of the actor that has the baton; None: the director has it."""
        actor = self.current
        if actor is None:
            return None
        if actor.doomed:
            raise Crash(actor.name)
        actor.steps += 1
        self.steps += 1
        self.now += TICK
        return actor

    def pass_on(self) -> None:
        """Let somebody else go on, or go on."""
        actor = self.current
        assert actor is not None
        stays = not actor.waiting and not self._is_stalled(actor) and not self._has_event()
        if not (stays and not self.broken and not self._chooser.is_restless(actor)):
            chosen = self._next(actor)
            if chosen is not actor:
                self._hand(actor, chosen)

    def park(self, seconds: float | None, holds: Callable[[], bool] | None = None) -> None:
        """Stand still until something holds, or for a while; the director does not wait.

        :param seconds: for how long at most; None: as long as it takes.
        """
        actor = self.current
        if actor is None:
            return
        actor.wake_at = None if seconds is None else self.now + max(int(seconds * SECOND), TICK)
        actor.holds = holds
        actor.waiting = True
        try:
            self.pass_on()
        finally:
            actor.waiting = False

    def ended(self, actor: Actor, worker: _Worker) -> None:
        """Take the baton from an actor that ended, and give it to the next."""
        actor.ended = True
        self.actors.remove(actor)
        self._idle.append(worker)
        chosen = None
        try:
            actor.done(actor)
            chosen = None if actor.doomed else self._next(None)
        except BaseException as e:  # noqa: BLE001 - the director raises it
            self._failure = e
        self.current = chosen
        (self._gate if chosen is None else chosen.gate).release()

    # Who is next

    def _next(self, actor: Actor | None) -> Actor | None:
        """Choose who goes on; None: the director has something to do."""
        while True:
            if self.broken or self._has_event():
                return None
            able = [a for a in self.actors if self._is_able(a)]
            if actor in able and not actor.waiting:
                return self._chooser.choose(actor, able)
            if able:
                return min(able, key=_rank)
            moments = [when for a in self.actors if (when := self._wakes(a)) is not None]
            if self._events:
                moments.append(self._events[0][0])
            if not moments:
                return None
            self.now = max(self.now, min(moments))

    def _has_event(self) -> bool:
        return bool(self._events) and self._events[0][0] <= self.now

    def _is_stalled(self, actor: Actor) -> bool:
        return actor.group.stalled_until > self.now and not actor.unstoppable

    def _is_able(self, actor: Actor) -> bool:
        if self._is_stalled(actor):
            return False
        if not actor.waiting:
            return True
        if actor.wake_at is not None and actor.wake_at <= self.now:
            return True
        return actor.holds is not None and actor.holds()

    def _wakes(self, actor: Actor) -> int | None:
        """When an actor that cannot go on may be able to; None: when another one did something."""
        if self._is_stalled(actor):
            return actor.group.stalled_until
        return actor.wake_at

    def _give(self, actor: Actor) -> None:
        self.current = actor
        actor.gate.release()
        self._gate.acquire()
        self.current = None
        if self._failure is not None:
            raise self._failure

    def _hand(self, actor: Actor, chosen: Actor | None) -> None:
        self.current = chosen
        (self._gate if chosen is None else chosen.gate).release()
        actor.gate.acquire()
        if actor.doomed:
            raise Crash(actor.name)

    def _hire(self) -> _Worker:
        worker = _Worker(self)
        self._workers.append(worker)
        worker.start()
        return worker


def _rank(actor: Actor) -> int:
    return actor.rank


class Deadlock(Exception):
    """Actors wait for each other; the names of those who do."""
