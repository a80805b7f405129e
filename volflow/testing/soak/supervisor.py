"""Starts the workers, makes the trouble, and waits until all of it is settled."""

from __future__ import annotations

import heapq
import itertools
import logging
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from oslo_context.context import RequestContext

from volflow.exceptions import VolflowError
from volflow.locks import is_free
from volflow.manager import VolumeManager
from volflow.persistence import audit
from volflow.persistence.engine import Database
from volflow.testing.soak import journal, worker
from volflow.testing.soak.deaths import Deaths, runs_of, slowest
from volflow.testing.soak.figures import Figures, percentiles
from volflow.testing.soak.plan import BACKEND, Plan
from volflow.testing.soak.verdict import complaints, fenced, judge, unsettled
from volflow.testing.soak.watcher import Watcher

LOG = logging.getLogger(__name__)
MULTIATTACH_EVERY = 4
SETTLE_SECONDS = 120
DOWN_SECONDS = 1.5
LATE_DEATHS = 0.8
"""The share of deaths that wait until a worker makes calls: it recovers first."""

CALM_SECONDS = 60.0
CATCH_SECONDS = 1.0
"""How long a stop waits for a moment in the middle of an operation."""


class Service(Protocol):
    """What workers depend on, and what can be killed."""

    def kill(self) -> None:
        """End it without a shutdown."""

    def start(self) -> None:
        """Start it again, with what it kept on disk."""


class _Worker:
    """One process, forked from a server that has everything loaded."""

    def __init__(self, plan_file: Path, slot: int, incarnation: int) -> None:
        self.slot = slot
        self.incarnation = incarnation
        self.stopped = False
        self.began = time.time()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([worker.__name__])
        self.process = context.Process(target=worker.main, args=(plan_file, slot, incarnation))
        self.process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def stop(self) -> None:
        """Stop it, until :meth:`go_on`; all its threads stand still when this returns."""
        os.kill(self.pid, signal.SIGSTOP)
        self.stopped = True
        while self.process.is_alive() and not self._stands_still():
            time.sleep(0.001)

    def go_on(self) -> None:
        """Continue it; no error where it runs, or is gone."""
        self.stopped = False
        if self.process.is_alive():
            os.kill(self.pid, signal.SIGCONT)

    def _stands_still(self) -> bool:
        try:
            tasks = list(Path(f"/proc/{self.pid}/task").iterdir())
            texts = [(task / "stat").read_text() for task in tasks]
        except OSError:  # it, or a thread, is gone
            return False
        return all(text.rpartition(")")[2].split()[0] == "T" for text in texts)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        self.process.join()


class Soak:
    """One soak; call it from the main thread, to which the children belong.

    :param services: name -> what the plan may kill, up now.
    :param leaks: looks for what is left where volflow does not look; returns sentences.
    """

    def __init__(
        self,
        plan: Plan,
        services: Mapping[str, Service] | None = None,
        leaks: Callable[[], list[str]] = list,
    ) -> None:
        self._plan = plan
        self._services = dict(services or {})
        self._leaks = leaks
        self._rng = random.Random(plan.seed)  # noqa: S311 - to be repeated
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = itertools.count()
        self._down: dict[str, float] = {}
        self._workers: list[_Worker] = []
        self._deaths = Deaths()
        self._plan_file = plan.write()
        self._database = Database(plan.url, patience=2)
        self.figures = Figures()

    def run(self) -> Figures:
        """Do all of it; the figures name what broke a guarantee."""
        driver = self._plan.make_driver()
        single = self._make_volumes(driver)
        try:
            with Watcher(self._database, driver, single) as watcher:
                self._load()
                self._end_trouble()
                self._end_workers()
            self.figures.samples = watcher.samples
            self.figures.violations += watcher.violations
            self._settle(driver)
        finally:
            for each in self._workers:
                each.kill()
            self._database.close()
        return self.figures

    def _make_volumes(self, driver: Any) -> frozenset[str]:
        """Make the volumes; return those without multiattach."""
        context = RequestContext(overwrite=False)
        single = set()
        with self._plan.open(driver) as manager:
            for number in range(self._plan.volumes):
                multiattach = number % MULTIATTACH_EVERY == MULTIATTACH_EVERY - 1
                volume = manager.create_volume(
                    context, size_gib=1, backend=BACKEND, multiattach=multiattach
                )
                if not multiattach:
                    single.add(volume.id)
        return frozenset(single)

    # Trouble

    def _load(self) -> None:
        """Let the workers work, and make trouble when it is due."""
        for slot in range(self._plan.workers):
            self._workers.append(_Worker(self._plan_file, slot, 0))
        self._repeat(self._plan.kill_seconds, self._kill)
        self._repeat(self._plan.stop_seconds, self._stop)
        for name, seconds in self._plan.restart_seconds.items():
            self._repeat(seconds, lambda name=name: self._take_down(name))  # type: ignore[misc]
        end = time.monotonic() + self._plan.seconds
        while (now := time.monotonic()) < end:
            self._replace_the_dead()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            time.sleep(0.02)

    def _at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._ties), what))

    def _repeat(self, mean_seconds: float | None, what: Callable[[], None]) -> None:
        if mean_seconds is None:
            return

        def again() -> None:
            self._at(mean_seconds * self._rng.uniform(0.5, 1.5), once)

        def once() -> None:
            what()
            again()

        again()

    def _kill(self) -> None:
        """Kill a worker; seldom one that has not come so far as to make calls."""
        each = self._rng.choice(self._workers)
        if self._rng.random() < LATE_DEATHS and not self._makes_calls(each):
            return
        each.kill()
        self.figures.deaths += 1
        runs = runs_of(self._database, each.pid)
        self._deaths.record("SIGKILL", None if runs is None else tuple(runs))
        self._succeed(each)

    def _makes_calls(self, each: _Worker) -> bool:
        journal_file = self._plan.journal(each.slot)
        return journal_file.exists() and journal_file.stat().st_mtime > each.began

    def _stop(self) -> None:
        """Stop a worker for longer than a lease; others take over what it was in the middle of."""
        awake = [each for each in self._workers if not each.stopped]
        if len(awake) < 2:
            return
        each = self._rng.choice(awake)
        orphans = self._catch(each)
        self.figures.stops += 1
        self.figures.caught += bool(orphans)
        self._deaths.record("SIGSTOP", orphans)
        self._at(self._plan.lease_seconds * self._rng.uniform(1.5, 3), each.go_on)

    def _catch(self, each: _Worker) -> tuple[str, ...]:
        """Stop it where it runs operations whose volumes are free, if such a moment comes.

        One that is stopped with a volume's lock in its hands keeps others from that volume, and
        so from its operation, until it goes on.
        """
        until = time.monotonic() + CATCH_SECONDS
        while True:
            each.stop()
            runs = runs_of(self._database, each.pid) or {}
            free = tuple(o for o, v in runs.items() if is_free(self._plan.lock(v)))
            if free or time.monotonic() > until:
                return free
            each.go_on()
            time.sleep(self._rng.uniform(0, 0.02))

    def _take_down(self, name: str) -> None:
        if name not in self._down:
            self._services[name].kill()
            self._down[name] = time.time()
            self._at(self._rng.uniform(0, DOWN_SECONDS), lambda: self._bring_up(name))

    def _bring_up(self, name: str) -> None:
        if name in self._down:
            self._services[name].start()
            self._deaths.outages.append((self._down.pop(name), time.time()))
            self.figures.restarts[name] = self.figures.restarts.get(name, 0) + 1

    def _replace_the_dead(self) -> None:
        for each in list(self._workers):
            code = each.process.exitcode
            if code is not None:
                sentence = f"worker {each.slot} ended by itself with exit code {code}"
                self.figures.violations.append(sentence)
                self._succeed(each)

    def _succeed(self, each: _Worker) -> None:
        """Start a worker in another one's slot."""
        self._workers[each.slot] = _Worker(self._plan_file, each.slot, each.incarnation + 1)

    # The end

    def _end_trouble(self) -> None:
        for each in self._workers:
            each.go_on()
        for name in list(self._down):
            self._bring_up(name)

    def _end_workers(self) -> None:
        """Let callers finish what they do, and no more."""
        for each in self._workers:
            each.process.terminate()
        for each in self._workers:
            each.process.join(SETTLE_SECONDS)
            # One that had not begun yet does not know SIGTERM.
            if each.process.exitcode not in (0, -signal.SIGTERM):
                sentence = f"worker {each.slot} ends with {each.process.exitcode}"
                self.figures.violations.append(sentence)

    def _settle(self, driver: Any) -> None:
        began = time.monotonic()
        slots = range(self._plan.workers)
        # The server ends a transaction that sits idle for half a lease, as on a busy machine.
        calm = replace(self._plan, lease_seconds=CALM_SECONDS)
        with calm.open(driver) as manager:
            if _settles(manager, began + SETTLE_SECONDS):
                self.figures.settled_after = round(time.monotonic() - began, 3)
            self.figures.violations += unsettled(manager)
            history = journal.read(*map(self._plan.journal, slots))
            judge(manager, driver, history, self.figures)
            killed = self._deaths.settling(manager.database, "SIGKILL")
            stopped = self._deaths.settling(manager.database, "SIGSTOP")
            text = slowest(manager, self._deaths, stopped | killed)
        (self._plan.directory / "slowest.txt").write_text(text)
        self.figures.orphans = len(killed)
        self.figures.settling = percentiles([t for t in killed.values() if t is not None])
        self.figures.settling_stopped = percentiles([t for t in stopped.values() if t is not None])
        logs = [self._plan.log(slot) for slot in slots]
        self.figures.fenced = fenced(logs)
        self.figures.violations += complaints(logs)
        self.figures.violations += self._leaks()


def _settles(manager: VolumeManager, until: float) -> bool:
    """Recover until nothing is unsettled, and nothing is to be compared."""
    while time.monotonic() < until:
        try:
            manager.recover()
            with manager.database.read() as connection:
                asked = audit.asked_comparisons(connection, [BACKEND])
        except VolflowError as e:
            LOG.warning("not settled yet: %s", e)
        else:
            if not asked and not unsettled(manager):
                return True
        time.sleep(0.2)
    return False
