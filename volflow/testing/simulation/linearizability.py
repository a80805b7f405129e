"""Whether a history could have been: is there an order in which each action acts at once?

The search of Wing and Gong, with the memory of what was tried that Lowe added: an action takes
effect at one moment between its call and its return, and what could not have come later comes
first. An action whose outcome nobody heard may have had its effect, or not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)
Action = TypeVar("Action")

EFFORT = 200_000
"""How many states are tried before the search gives up."""


@dataclass(frozen=True)
class Event(Generic[Action]):
    """An action, from its call to its return.

    :ivar ended: when it returned; None: it may have its effect at any time later.
    :ivar certain: it had its effect; else it may have had it.
    """

    name: str
    action: Action
    began: int
    ended: int | None
    certain: bool = True


class TooHard(Exception):
    """The search has tried so much that it gives up: nobody knows."""


def linearize(
    events: Sequence[Event[Action]],
    apply: Callable[[State, Action], State | None],
    first: State,
) -> list[Event[Action]] | None:
    """Find an order of the events; uncertain ones may be left out.

    :param apply: the state after an action; None: it cannot happen in this state.
    :returns: None where there is none.
    :raises TooHard: it takes too long.
    """
    return _Search(sorted(events, key=lambda e: e.began), apply).run(first)


class _Search(Generic[State, Action]):
    """A depth-first search; what is done or left out is a number with one bit for each event."""

    def __init__(
        self, events: list[Event[Action]], apply: Callable[[State, Action], State | None]
    ) -> None:
        self._events = events
        self._apply = apply
        self._certain = sum(1 << n for n, event in enumerate(events) if event.certain)
        self._tried: set[tuple[int, State]] = set()

    def run(self, first: State) -> list[Event[Action]] | None:
        path: list[tuple[int, State, list[int]]] = [(0, first, self._candidates(0))]
        order: list[int] = []
        while path:
            done, state, left = path[-1]
            if done & self._certain == self._certain:
                return [self._events[n] for n in order]
            if not left:
                path.pop()
                del order[-1:]
                continue
            number = left.pop(0)
            after = self._apply(state, self._events[number].action)
            if after is None:
                continue
            now = self._without(done | 1 << number, self._events[number].began)
            if (now, after) in self._tried:
                continue
            self._tried.add((now, after))
            if len(self._tried) > EFFORT:
                raise TooHard(f"{len(self._events)} events")
            order.append(number)
            path.append((now, after, self._candidates(now)))
        return None

    def _candidates(self, done: int) -> list[int]:
        """The events that may come next: no certain one had returned before they were called."""
        left = [n for n in range(len(self._events)) if not done >> n & 1]
        ends = [e.ended for n in left if (e := self._events[n]).certain and e.ended is not None]
        limit = min(ends, default=None)
        return [n for n in left if limit is None or self._events[n].began <= limit]

    def _without(self, done: int, began: int) -> int:
        """Leave out the uncertain events that had returned before this one was called."""
        for number, event in enumerate(self._events):
            if event.began >= began:
                break
            if not event.certain and event.ended is not None and event.ended < began:
                done |= 1 << number
        return done
