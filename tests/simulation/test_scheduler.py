"""The baton: one at a time, in a time that only the scheduler moves."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from volflow.testing.simulation.decisions import Replay
from volflow.testing.simulation.plan import Schedule, Switch
from volflow.testing.simulation.scheduler import SECOND, Actor, Deadlock, Group, Scheduler

LONG_SECONDS = 86_400.0


@pytest.fixture
def group() -> Group:
    return Group("g")


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler(Replay(Schedule(1)))
    yield made
    for actor in list(made.actors):
        made.kill(actor.group)
    made.close()


def ended(actor: Actor) -> None:
    """Nobody wants to know."""


def test_time_passes_only_when_everybody_waits(scheduler: Scheduler, group: Group) -> None:
    """When all sleep, it is at once the moment at which the first one wakes."""
    seen = []

    def sleeper(seconds: float) -> None:
        scheduler.park(seconds)
        seen.append(round(scheduler.now / SECOND))

    for seconds in (3 * LONG_SECONDS, LONG_SECONDS, 2 * LONG_SECONDS):
        scheduler.spawn(str(seconds), group, lambda s=seconds: sleeper(s), ended)
    scheduler.run(lambda: False)

    assert [round(n * LONG_SECONDS) for n in (1, 2, 3)] == seen


def test_only_one_runs_at_a_time(scheduler: Scheduler, group: Group) -> None:
    """When several would run, each is alone between two points."""
    inside = threading.Semaphore(1)

    def worker() -> None:
        for _ in range(20):
            assert inside.acquire(blocking=False)
            inside.release()
            scheduler.park(0.001)

    actors = [scheduler.spawn(str(n), group, worker, ended) for n in range(5)]
    scheduler.run(lambda: False)

    assert [None] * 5 == [actor.error for actor in actors]


def test_a_switch_hands_the_baton_on_at_its_point(group: Group) -> None:
    """When a schedule says so, another one goes on though the first could."""
    scheduler = Scheduler(Replay(Schedule(1, switches=(Switch("a", 2, "b"),))))
    order = []

    def worker(name: str) -> None:
        for number in range(3):
            scheduler.step()
            scheduler.pass_on()
            order.append(f"{name}{number}")

    first = scheduler.spawn("a", group, lambda: worker("a"), ended)
    second = scheduler.spawn("b", group, lambda: worker("b"), ended)
    first.rank, second.rank = 0, 1
    scheduler.run(lambda: False)
    scheduler.close()

    assert ["a0", "b0", "b1", "b2", "a1", "a2"] == order


def test_those_who_wait_for_each_other_are_named(scheduler: Scheduler, group: Group) -> None:
    """When nobody will ever go on, that is an error, and no test hangs."""
    scheduler.spawn("left", group, lambda: scheduler.park(None, lambda: False), ended)
    scheduler.spawn("right", group, lambda: scheduler.park(None, lambda: False), ended)

    with pytest.raises(Deadlock, match="left, right"):
        scheduler.run(lambda: False)


def test_a_killed_group_does_nothing_more(scheduler: Scheduler, group: Group) -> None:
    """When a group dies, none of its actors comes past its next point."""
    done = []

    def worker() -> None:
        scheduler.park(LONG_SECONDS)
        done.append("slept")

    def stubborn() -> None:
        try:
            scheduler.park(LONG_SECONDS)
        finally:
            scheduler.step()
            done.append("wrote")

    actors = [scheduler.spawn("w", group, worker, ended)]
    actors.append(scheduler.spawn("s", group, stubborn, ended))
    scheduler.after(1, lambda: scheduler.kill(group))
    scheduler.run(lambda: False)

    assert [] == done
    assert all(actor.crashed for actor in actors)


def test_a_group_that_stands_still_goes_on_later(scheduler: Scheduler, group: Group) -> None:
    """When a group stalls, others go on, and its time passes."""
    order = []
    other = Group("other")
    group.stalled_until = int(LONG_SECONDS) * SECOND
    scheduler.spawn("stalled", group, lambda: order.append("stalled"), ended)
    scheduler.spawn("other", other, lambda: order.append("other"), ended)
    scheduler.run(lambda: False)

    assert ["other", "stalled"] == order
    assert scheduler.now >= group.stalled_until
