"""Rounds: a thread that begins each thing when it is due, and waits for none of them.

What a round offers is done by a few threads of its place (a backend, say), so that a driver call
that hangs holds up neither the next round nor another place. Whatever ends brings the next round
about, which then sees what has become of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from volflow.clock import Clock
from volflow.exceptions import VolflowError

LOG = logging.getLogger(__name__)

WORKERS = 8
"""How many things of one place are done at a time."""

FIRST_SECONDS = 30.0
PAUSE_SECONDS_MIN = 0.01
AGAIN_SECONDS = 0.05


class _Try(NamedTuple):
    """How something was begun last: for what it looked like, and when it may be begun again."""

    mark: Hashable
    pause: float
    until: float


class Rounds:
    """Goes round until it is stopped.

    :param go: one round: calls :meth:`offer` for what is due, and returns in how many seconds
        something else will be.
    :param longest: how long it sleeps at most, and what is tried in vain rests at most.
    :param places: where things are done.
    """

    def __init__(
        self, clock: Clock, go: Callable[[], float], longest: float, places: Iterable[str]
    ) -> None:
        self._clock = clock
        self._go = go
        self._longest = longest
        self._places = tuple(places)
        self._changed = threading.Condition()
        self._woken = False
        self._closed = False
        self._opened = False
        self._at_work: dict[str, bool] = {}
        self._tries: dict[str, _Try] = {}
        self._offered: set[str] = set()
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; return once nothing is left to do, or when that takes long."""
        self._pools = {
            place: ThreadPoolExecutor(WORKERS, thread_name_prefix=f"volflow-recovery-{place}")
            for place in self._places
        }
        self._thread = threading.Thread(target=self._loop, name="volflow-recovery", daemon=True)
        self._thread.start()
        with self._changed:
            self._clock.wait_for(self._changed, lambda: self._opened, FIRST_SECONDS)

    def stop(self) -> None:
        """Begin nothing any more."""
        with self._changed:
            self._closed = self._opened = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for the end of what was begun."""
        self.stop()
        if self._thread is not None:
            self._thread.join()
        for pool in self._pools.values():
            pool.shutdown()

    def wake(self) -> None:
        """Go round now."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    @property
    def at_work(self) -> frozenset[str]:
        """The keys of what was begun, and has not ended."""
        with self._changed:
            return frozenset(self._at_work)

    def offer(
        self,
        key: str,
        mark: Hashable,
        place: str,
        work: Callable[..., Any],
        *arguments: Any,
        wakes: bool = True,
    ) -> None:
        """Have something done at its place, unless it is being done.

        :param mark: what it looks like. What looks the same after it was done was done in vain,
            and is begun again only after a pause that grows.
        :param wakes: whether its end brings the next round about.
        """
        now = self._clock.monotonic()
        pause, last = AGAIN_SECONDS, self._tries.get(key)
        self._offered.add(key)
        if last is not None and last.mark == mark:
            if now < last.until:
                return
            pause = min(2 * last.pause, self._longest)
        with self._changed:
            if key in self._at_work:
                return
            self._at_work[key] = wakes
        self._tries[key] = _Try(mark, pause, now + pause)
        self._pools[place].submit(self._do, key, work, arguments)

    def _do(self, key: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            if not self._closed:
                work(*arguments)
        except Exception:
            LOG.exception("recovery of %s failed", key)
        finally:
            with self._changed:
                self._woken = self._at_work.pop(key) or self._woken
                self._changed.notify_all()

    def _loop(self) -> None:
        began = self._clock.monotonic()
        while not self._closed:
            pause, took = self._once()
            with self._changed:
                # What a first round began may hang, which keeps nobody from opening.
                late = self._clock.monotonic() - began > 2 * self._longest
                if late or not (self._woken or any(self._at_work.values())):
                    self._opened = True
                    self._changed.notify_all()
                # Where a thousand things end one after the other, a round sees some of them.
                rest = min(took, AGAIN_SECONDS)
                self._clock.wait_for(self._changed, lambda: self._closed, rest)
                self._clock.wait_for(self._changed, lambda: self._woken or self._closed, pause)
                self._woken = False

    def _once(self) -> tuple[float, float]:
        """Go round once; return how long to sleep after it, and how long it took."""
        began = self._clock.monotonic()
        self._offered.clear()
        try:
            due = self._go()
        except VolflowError as e:
            LOG.warning("recovery goes on later: %s", e)
            due = self._longest
        except Exception:
            LOG.exception("recovery failed, and goes on later")
            due = self._longest
        now, busy = self._clock.monotonic(), self.at_work
        kept = self._offered | busy
        self._tries = {key: found for key, found in self._tries.items() if key in kept}
        again = [found.until - now for key, found in self._tries.items() if key not in busy]
        pause = min(self._longest, max(PAUSE_SECONDS_MIN, min([due, *again])))
        return pause, now - began
