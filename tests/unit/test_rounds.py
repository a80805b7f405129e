"""Rounds: what hangs holds up nothing else, what is in vain rests, and what ends is seen."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Hashable, Iterator

import pytest

from tests.contract.lab import until
from volflow.clock import Clock
from volflow.exceptions import DatabaseError
from volflow.rounds import AGAIN_SECONDS, WORKERS, Rounds

HERE, THERE = "here", "there"
LONGEST = 1000.0


class StoppedClock(Clock):
    """A clock that stands still until it is moved; who waits is not kept by it."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Course:
    """A course of rounds: each round offers what ``todo`` lists."""

    def __init__(self, clock: Clock, longest: float = LONGEST) -> None:
        self.todo: list[tuple[str, Hashable, str, Callable[[], None]]] = []
        self.gone = 0
        self.error: Exception | None = None
        self.rounds = Rounds(clock, self._go, longest, (HERE, THERE))

    def _go(self) -> float:
        self.gone += 1
        if self.error is not None:
            raise self.error
        for key, mark, place, work in list(self.todo):
            self.rounds.offer(key, mark, place, work)
        return math.inf

    def again(self) -> None:
        """Have a whole round gone."""
        before = self.gone
        self.rounds.wake()
        until(lambda: self.gone > before, "it goes round")
        # One that had begun before it was woken may not have seen everything.
        self.rounds.wake()
        until(lambda: self.gone > before + 1, "it goes round")


class Hanging:
    """Things that hang until they are let go."""

    def __init__(self) -> None:
        self.began = 0
        self._lock = threading.Lock()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        with self._lock:
            self.began += 1
        self.go_on.wait()


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    found = Hanging()
    yield found
    found.go_on.set()


@pytest.fixture
def course(clock: StoppedClock, hanging: Hanging) -> Iterator[Course]:
    found = Course(clock)
    found.rounds.start()
    yield found
    hanging.go_on.set()
    found.rounds.close()


def test_what_hangs_holds_up_nothing_else(course: Course, hanging: Hanging) -> None:
    """When a call hangs, what comes due later is begun, and the call is not begun twice."""
    course.todo.append(("slow", 1, HERE, hanging))
    course.rounds.wake()
    until(lambda: hanging.began, "it hangs")
    done = threading.Event()
    course.todo.append(("quick", 1, HERE, done.set))
    course.rounds.wake()
    assert done.wait(10)
    course.again()
    assert 1 == hanging.began
    assert {"slow"} == course.rounds.at_work


def test_a_place_where_all_hang_holds_up_no_other(course: Course, hanging: Hanging) -> None:
    """When every thread of one place hangs, another place's work is done."""
    course.todo += [(f"slow {n}", 1, HERE, hanging) for n in range(WORKERS + 1)]
    course.rounds.wake()
    until(lambda: hanging.began == WORKERS, "all hang")
    done = threading.Event()
    course.todo.append(("quick", 1, THERE, done.set))
    course.rounds.wake()
    assert done.wait(10)
    assert WORKERS == hanging.began


def test_the_end_of_one_thing_brings_the_next_round_about(
    course: Course, hanging: Hanging
) -> None:
    """When something ends, what it made due is seen at once, and not after the longest sleep."""
    course.todo.append(("slow", 1, HERE, hanging))
    course.again()
    before = course.gone
    hanging.go_on.set()
    until(lambda: course.gone > before, "it goes round")


def test_what_is_in_vain_rests_longer_each_time(course: Course, clock: StoppedClock) -> None:
    """When something looks the same after it was done; what looks otherwise is done at once."""
    tries: list[str] = []
    course.todo.append(("vain", 1, HERE, lambda: tries.append("first")))
    course.again()
    until(lambda: tries, "it is tried")
    pause = AGAIN_SECONDS
    for count in range(1, 4):
        course.again()
        assert count == len(tries)
        clock.now += pause / 2
        course.again()
        assert count == len(tries)
        clock.now += pause
        pause *= 2
        course.again()
        until(lambda: len(tries) > count, "it is tried again")  # noqa: B023
    course.todo[0] = ("vain", 2, HERE, lambda: tries.append("other"))
    course.again()
    until(lambda: "other" in tries, "it is tried at once")


def test_what_is_queued_is_not_begun_after_the_stop(course: Course, hanging: Hanging) -> None:
    """When it is stopped, what was begun ends, and what was to be begun is left."""
    course.todo += [(f"slow {n}", 1, HERE, hanging) for n in range(WORKERS + 3)]
    course.rounds.wake()
    until(lambda: hanging.began == WORKERS, "all hang")
    course.rounds.stop()
    hanging.go_on.set()
    course.rounds.close()
    assert WORKERS == hanging.began


def test_a_hanging_start_keeps_nobody_from_opening(hanging: Hanging) -> None:
    """When the first thing hangs, start returns; when nothing does, after all was done."""
    course = Course(Clock(), longest=0.05)
    course.todo.append(("slow", 1, HERE, hanging))
    try:
        course.rounds.start()
        assert {"slow"} == course.rounds.at_work
    finally:
        hanging.go_on.set()
        course.rounds.close()


def test_start_returns_after_what_was_due(clock: StoppedClock) -> None:
    """Also what the first round's work made due."""
    done: list[str] = []
    course = Course(clock)

    def first() -> None:
        course.todo.append(("second", 1, HERE, lambda: done.append("second")))
        done.append("first")

    course.todo.append(("first", 1, HERE, first))
    try:
        course.rounds.start()
        assert ["first", "second"] == done
    finally:
        course.rounds.close()


def test_a_failure_ends_neither_thread(course: Course, caplog: pytest.LogCaptureFixture) -> None:
    """When the database is away, or something has a fault, it goes on later."""

    def fail() -> None:
        raise ZeroDivisionError

    course.todo.append(("faulty", 1, HERE, fail))
    course.again()
    for error in (DatabaseError("away"), KeyError("a fault")):
        course.error = error
        course.again()
    course.error = None
    done = threading.Event()
    course.todo.append(("quick", 1, HERE, done.set))
    course.rounds.wake()
    assert done.wait(10)
    assert "recovery of faulty failed" in caplog.text
    assert "recovery goes on later: away" in caplog.text
    assert "recovery failed, and goes on later" in caplog.text
