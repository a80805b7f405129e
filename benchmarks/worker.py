"""A process that does the work of one peer, and the coordinator's end of it.

Commands and answers are Python objects on a pipe. What a peer or its libraries print goes to a
log in the peer's directory, whose end is shown where the process fails.
"""

from __future__ import annotations

import cProfile
import gc
import logging
import multiprocessing
import os
import resource
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmarks import peers
from benchmarks.watch import Counts, Watch, watch

PATIENCE_SECONDS = 300
STOP_SECONDS = 5
WARM_UP, WARM_UP_SECONDS = 10, 2.0

T = TypeVar("T")


class Batch(NamedTuple):
    """What some cycles took.

    :ivar attaches: seconds of each attach.
    :ivar detaches: seconds of each detach.
    :ivar seconds: from the first to the last.
    :ivar cpu_seconds: of this process, all its threads.
    :ivar rss_bytes: its resident memory afterwards.
    """

    attaches: list[float]
    detaches: list[float]
    seconds: float
    cpu_seconds: float
    rss_bytes: int


class Observed(NamedTuple):
    """What operations asked of the database, one after the other.

    :ivar settings: what its connections said of their durability.
    """

    attaches: list[Counts]
    detaches: list[Counts]
    settings: dict[str, set[str]]


class PeerFailed(Exception):
    """A peer cannot run; the text says why, in a line."""


class Work:
    """The commands that a worker takes, by their names."""

    def __init__(self, name: str) -> None:
        self._peer = peers.load(name)
        self._watch: Watch | None = None
        self._cycles = 0

    def open(self, url: str, directory: Path, index: int, watched: bool) -> None:
        """Make the peer ready, and warm it up.

        :param watched: count what it asks of the database, which makes it slower.
        """
        if watched:
            self._watch = watch(url, directory)
            self._watch.start()
        self._peer.open(url, directory, index)
        self._run(WARM_UP, WARM_UP_SECONDS)

    def run(self, cycles: int) -> Batch:
        """Attach and detach so many times."""
        return self._run(cycles, float("inf"))

    def run_for(self, seconds: float) -> Batch:
        """Attach and detach as long."""
        return self._run(sys.maxsize, seconds)

    def observe(self, cycles: int) -> Observed:
        """Count what so many cycles ask of the database."""
        assert self._watch is not None
        attaches, detaches = [], []
        self._watch.take()
        for _ in range(cycles):
            self._peer.attach()
            attaches.append(self._watch.take())
            self._peer.detach()
            detaches.append(self._watch.take())
        self._watch.ask()
        self._run(1, float("inf"))
        self._cycles += cycles
        return Observed(attaches, detaches, self._watch.settings)

    def calls(self, cycles: int) -> tuple[list[int], list[int]]:
        """How many functions, Python's and C's, each of so many attaches and detaches calls."""
        attaches, detaches = [], []
        for _ in range(cycles):
            attaches.append(calls(self._peer.attach))
            detaches.append(calls(self._peer.detach))
        self._cycles += cycles
        return attaches, detaches

    def memory(self, cycles: int) -> tuple[int, int]:
        """Resident bytes before and after so many cycles, each with the garbage collected."""
        gc.collect()
        before = rss_bytes()
        self.run(cycles)
        gc.collect()
        return before, rss_bytes()

    def missing(self) -> int:
        """How many of the cycles that were run have not left what they have to in the rows."""
        return self._cycles - self._peer.finished()

    def close(self) -> None:
        """Give everything back."""
        self._peer.close()

    def _run(self, cycles: int, seconds: float) -> Batch:
        attaches, detaches = [], []
        attach, detach, clock = self._peer.attach, self._peer.detach, time.perf_counter
        cpu, began = time.process_time(), clock()
        now = began
        for _ in range(cycles):
            attach()
            attached = clock()
            detach()
            before, now = now, clock()
            attaches.append(attached - before)
            detaches.append(now - attached)
            if now - began > seconds:
                break
        used = time.process_time() - cpu
        self._cycles += len(attaches)
        return Batch(attaches, detaches, now - began, used, rss_bytes())


def calls(function: Any) -> int:
    """How many functions, Python's and C's, are called in this thread below ``function``."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


def rss_bytes() -> int:
    """The resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def serve(pipe: Connection, name: str, log: Path) -> None:
    """Do what comes through the pipe until ``close``, or until its other end is gone."""
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.getLogger().setLevel(logging.ERROR)
    work: Work | None = None
    command = ""
    while command != "close":
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            work = work or Work(name)
            pipe.send((True, getattr(work, command)(*arguments)))
        except Exception as e:  # noqa: BLE001 - the coordinator decides
            traceback.print_exc()
            pipe.send((False, _line(e)))


def _line(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, ImportError):
        return f"not installed: {error.name or error}"
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


class Worker:
    """A worker process, and the commands to it.

    :raises PeerFailed: from each command; the process is ended.
    """

    def __init__(self, name: str, url: str, directory: Path, index: int = 0) -> None:
        self.name = name
        self._url, self._directory, self._index = url, directory, index
        # Imports are what takes longest to start; peers' own are left to their workers.
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(["benchmarks.worker"])
        self._pipe, other = server.Pipe()
        log = directory / f"{name}-{os.getpid()}-{index}.log"
        self._process = server.Process(target=serve, args=(other, name, log), daemon=True)
        self._process.start()
        other.close()

    @property
    def cpu_pid(self) -> int:
        """The id of the process."""
        return self._process.pid or 0

    def open(self, watched: bool = False) -> None:
        """Have the peer opened, see :meth:`Work.open`."""
        self.ask("open", self._url, self._directory, self._index, watched)

    def ask(self, command: str, *arguments: Any) -> Any:
        """Give a command, and wait for its answer."""
        self.tell(command, *arguments)
        return self.answer()

    def tell(self, command: str, *arguments: Any) -> None:
        """Give a command whose answer is fetched later."""
        self._pipe.send((command, arguments))

    def answer(self) -> Any:
        """Wait for the answer to the last command."""
        try:
            if not self._pipe.poll(PATIENCE_SECONDS):
                raise EOFError
            fine, found = self._pipe.recv()
        except (EOFError, OSError):
            self.end()
            raise PeerFailed(f"no answer in {PATIENCE_SECONDS} s, or its process died") from None
        if not fine:
            self.end()
            raise PeerFailed(found)
        return found

    def close(self) -> None:
        """Check that all the work was done, and end it."""
        missing = self.ask("missing")
        self.ask("close")
        self.end()
        if missing:
            raise PeerFailed(f"its rows lack {missing} of the cycles that it ran")

    def end(self) -> None:
        """End the process, whatever it does."""
        self._pipe.close()
        self._process.join(STOP_SECONDS if self._process.exitcode is None else 0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
