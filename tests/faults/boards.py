"""A board in memory that outlives processes, and a conductor that runs in the calling thread."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from itertools import count
from typing import Any, Self

from volflow.jobs.conductor import Conductor, Wakeup
from volflow.jobs.port import Ticket
from volflow.testing.points import Points


class MemoryBoard:
    """Jobs and claims in dictionaries, as a server holds them.

    :ivar jobs: number -> operation id.
    :ivar claims: number -> who.
    """

    name = "memory:"
    needs_posting = True
    wakes = False

    def __init__(self) -> None:
        self.jobs: dict[int, str] = {}
        self.claims: dict[int, str] = {}
        self._numbers = count()

    def post(self, operation_id: str) -> None:
        self.jobs[next(self._numbers)] = operation_id

    def listed(self) -> list[Ticket]:
        return [Ticket(key, number, self) for number, key in self.jobs.items()]  # type: ignore[arg-type]

    def tickets(self, operation_ids: Collection[str]) -> dict[str, Ticket]:
        return {t.operation_id: t for t in self.listed() if t.operation_id in operation_ids}

    def claim(self, ticket: Ticket, who: str, seconds: float) -> bool:
        number: Any = ticket.job
        return number in self.jobs and self.claims.setdefault(number, who) == who

    def renew(self, ticket: Ticket, who: str, seconds: float) -> bool:
        return self.claims.get(ticket.job) == who  # type: ignore[call-overload, no-any-return]

    def consume(self, ticket: Ticket, who: str) -> bool:
        number: Any = ticket.job
        if self.claims.get(number) != who:
            return False
        del self.jobs[number], self.claims[number]
        return True

    def abandon(self, ticket: Ticket, who: str) -> bool:
        number: Any = ticket.job
        return self.claims.get(number) == who and bool(self.claims.pop(number))

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Nobody else posts while a conductor waits."""

    def close(self) -> None:
        """It outlives the process."""


class PointedBoard(MemoryBoard):
    """A process's view of a board: posting, claiming and consuming are fault points."""

    def __init__(self, board: MemoryBoard, points: Points) -> None:
        self._board = board
        self._points = points
        self.jobs, self.claims, self._numbers = board.jobs, board.claims, board._numbers

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("post", "claim", "consume", "abandon"):
            return found
        points = self._points

        def call(*arguments: Any) -> Any:
            points.reach(f"{name} before")
            result = found(*arguments)
            points.reach(f"{name} after")
            return result

        return call


class AtOnce(Wakeup):
    """Waits for nothing: where there is nothing to do, the conductor ends."""

    def wait(self) -> None:
        self.interrupt()


class InlineExecutor:
    """Runs what it is given in the calling thread; the death of the process leaves it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to wait for."""

    def submit(self, function: Callable[..., bool], *arguments: Any) -> Future[bool]:
        done: Future[bool] = Future()
        try:
            done.set_result(function(*arguments))
        except Exception as e:  # noqa: BLE001 - a future keeps it
            done.set_exception(e)
        return done


def drain(conductor: Conductor) -> None:
    """Let a conductor run what there is in the calling thread, and clean the board."""
    conductor._wait_timeout = conductor._wakeup = AtOnce(lambda: 0.0)
    conductor._executor_factory = InlineExecutor  # type: ignore[assignment, method-assign]
    conductor.run()
    conductor._sweep()
