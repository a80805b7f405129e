"""Feed: tells open pages what changed, by server-sent events.

One task of a process looks for changes, however many pages are open, and none where none is.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from volflow.exceptions import VolflowError
from volflow.persistence.changes import Changes, Mark

LOG = logging.getLogger(__name__)

LOOK_SECONDS = 0.4
AWAY_SECONDS = 2.0
BEAT_SECONDS = 5.0
"""A page that hears nothing for three times as long takes the connection for lost."""

LISTENERS = 200
NAMED = 200
"""A message that would name more says that anything may have changed."""

Look = Callable[[Mark | None, Collection[str], Collection[str]], Changes]


@dataclass(eq=False)
class Listener:
    """One open page.

    :ivar operation: the id of the one it shows; and so ``volume``.
    :ivar away: why nobody can look now.
    """

    operation: str | None = None
    volume: str | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)
    _operations: set[str] = field(default_factory=set)
    _volumes: set[str] = field(default_factory=set)
    _conductors: bool = False
    _everything: bool = False
    away: str | None = None

    def tell(self, changes: Changes) -> None:
        """Keep what changed until the page is told."""
        self._operations |= changes.operations
        self._volumes |= changes.volumes
        self._conductors |= changes.conductors
        self._everything |= changes.everything or len(self._operations) > NAMED
        self.away = None
        self.told.set()

    def say_away(self, reason: str) -> None:
        """Have the page say that nobody can look now."""
        if self.away != reason:
            self.away = reason
            self.told.set()

    def message(self) -> str:
        """All that it has not been told yet."""
        self.told.clear()
        if self.away is not None:
            return _event("away", {"reason": self.away})
        said = {
            "operations": sorted(self._operations)[:NAMED],
            "volumes": sorted(self._volumes)[:NAMED],
            "conductors": self._conductors,
            "everything": self._everything,
        }
        self._operations.clear()
        self._volumes.clear()
        self._conductors = self._everything = False
        return _event("change", said)


class Feed:
    """The changes of one database.

    :param look: asks the database; it is called in a thread.
    :ivar looks: how often it was asked.
    """

    def __init__(
        self,
        look: Look,
        look_seconds: float = LOOK_SECONDS,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._look = look
        self._look_seconds = look_seconds
        self._beat_seconds = beat_seconds
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._began = asyncio.Event()
        self._closed = False
        self.looks = 0

    @property
    def is_full(self) -> bool:
        """True where no further page can listen."""
        return self._closed or len(self._listeners) >= LISTENERS

    async def heard(self, operation: str | None, volume: str | None) -> AsyncIterator[str]:
        """Say what changes, until the page is closed or the server is."""
        listener = Listener(operation, volume)
        self._listeners.add(listener)
        if self._task is None:
            self._began.clear()
            self._task = asyncio.create_task(self._watch())
        try:
            await self._began.wait()  # what changes after its hello, a page is told
            yield "retry: 1000\n" + _event("hello", {"beat_seconds": self._beat_seconds})
            while not self._closed:
                try:
                    await asyncio.wait_for(listener.told.wait(), self._beat_seconds)
                except TimeoutError:
                    yield _event("beat", {})
                    continue
                if not self._closed:
                    yield listener.message()
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    def close(self) -> None:
        """End all streams: a server that stops would wait for them."""
        self._closed = True
        self._began.set()
        for listener in self._listeners:
            listener.told.set()

    async def _watch(self) -> None:
        mark: Mark | None = None
        while True:
            pause = self._look_seconds
            try:
                mark = await self._once(mark)
            except VolflowError as e:
                self._say_away(str(e))
                pause = AWAY_SECONDS
            except Exception:
                LOG.exception("changes cannot be looked for")
                self._say_away("an unexpected error; the server's log has it")
                pause = AWAY_SECONDS
            self._began.set()
            await asyncio.sleep(pause)

    async def _once(self, mark: Mark | None) -> Mark:
        operations = {each.operation for each in self._listeners if each.operation}
        volumes = {each.volume for each in self._listeners if each.volume}
        self.looks += 1
        found = await run_in_threadpool(self._look, mark, operations, volumes)
        for listener in self._listeners:
            if found or listener.away:
                listener.tell(found)
        return found.mark

    def _say_away(self, reason: str) -> None:
        for listener in self._listeners:
            listener.say_away(reason)


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
