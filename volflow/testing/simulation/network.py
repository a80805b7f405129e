"""Between callers and processes: requests that come twice, answers that do not come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from volflow.exceptions import VolflowError
from volflow.testing.scenarios import CONTEXT
from volflow.testing.simulation.plan import Moment
from volflow.testing.simulation.processes import Process, Processes
from volflow.testing.simulation.scheduler import Actor
from volflow.testing.simulation.world import World

LATENCY_SECONDS = 0.005
PATIENCE_SECONDS = 60.0
"""How long a caller waits for an answer."""


class Request(NamedTuple):
    """One call of the interface.

    :ivar name: whose it is and what; no two have the same.
    """

    name: str
    verb: str
    arguments: dict[str, Any]

    def perform(self, manager: Any) -> Any:
        """Make the call."""
        return getattr(manager, self.verb)(CONTEXT, **self.arguments)


class Reply(NamedTuple):
    """What a caller heard.

    :ivar lost: it heard nothing: what it asked for happened, or not, or happens later.
    """

    value: Any = None
    error: VolflowError | None = None
    lost: bool = False


class Call(NamedTuple):
    """One request as a process met it.

    :ivar ended: when it returned, in microseconds; None: it has not, or its process died.
    """

    request: Request
    actor: Actor
    began: int
    ended: int | None
    reply: Reply


Heard = Callable[[Reply], None]


class Network:
    """Brings requests to processes, and replies to callers.

    :param judge: told of each call that returned.
    """

    def __init__(self, world: World, processes: Processes, judge: Callable[[Call], None]) -> None:
        self._world = world
        self._processes = processes
        self._judge = judge

    def send(self, request: Request, luck: float, heard: Heard) -> None:
        """Bring a request to a process that serves; where none does, it is lost.

        :param luck: from 0 to 1: which process.
        """
        waiting = [True]

        def answer(reply: Reply) -> None:
            if waiting and waiting.pop():
                heard(reply)

        found = self._world.strike_at(Moment(request.name, 0), "request")
        if found is not None:
            self._world.scheduler.after(found.number, lambda: self._again(request, luck))
        if self._deliver(request, luck, answer):
            self._world.scheduler.after(PATIENCE_SECONDS, lambda: answer(Reply(lost=True)))
        else:
            self._world.scheduler.after(LATENCY_SECONDS, lambda: answer(Reply(lost=True)))

    def _again(self, request: Request, luck: float) -> None:
        if not self._world.calm:
            twin = request._replace(name=f"{request.name} again")
            self._deliver(twin, (luck + 0.4) % 1, lambda _: None)

    def _deliver(self, request: Request, luck: float, heard: Heard) -> bool:
        serving = self._processes.serving
        if not serving:
            return False
        process: Process = serving[int(luck * len(serving))]
        began = self._world.scheduler.now

        def done(actor: Actor) -> None:
            reply = self._reply(actor)
            self._judge(Call(request, actor, began, self._world.scheduler.now, reply))
            lost = self._world.strike_at(Moment(request.name, 0), "reply")
            if lost is not None and not reply.lost:
                reply = Reply(lost=True)
            self._world.scheduler.after(LATENCY_SECONDS, lambda: heard(reply))

        self._world.tell(f"{request.name} comes to {process.name}")
        self._processes.call(process, request.name, request.perform, done)
        return True

    def _reply(self, actor: Actor) -> Reply:
        """What the call gave; a death gives nothing."""
        if actor.crashed or actor.doomed:
            return Reply(lost=True)
        if actor.error is None:
            return Reply(value=actor.value)
        if isinstance(actor.error, VolflowError):
            return Reply(error=actor.error)
        self._world.violate("API", f"{actor.name} raised {actor.error!r}")
        return Reply(lost=True)
