"""Deaths inside a call: at every line of the driver's own code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from volflow.drivers import command
from volflow.drivers.base import Driver, VolumeDriver
from volflow.models import DriverVolume
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks
from volflow.testing.conformance.stage import unreachable
from volflow.testing.faults import Crash
from volflow.testing.scenarios import CONTEXT


class Effect(NamedTuple):
    """A call that dies half way.

    :ivar prepare: makes the volume as it is before the call.
    :ivar call: the call, by one process.
    :ivar has: the hosts that have access after it; None: there is no export.
    """

    prepare: Callable[[Bench], DriverVolume]
    call: Callable[[Bench, Driver, DriverVolume], Any]
    has: tuple[str, ...] | None


def _connected(bench: Bench) -> DriverVolume:
    volume = bench.exported()
    bench.connect(volume, bench.host_a)
    return volume


def _lost(bench: Bench) -> DriverVolume:
    volume = bench.exported()
    bench.driver.remove_export(CONTEXT, volume)
    return volume


EFFECTS = {
    "create_volume": Effect(Bench.blank, lambda b, d, v: d.create_volume(CONTEXT, v), None),
    "create_export": Effect(
        Bench.created, lambda b, d, v: d.create_export(CONTEXT, v, b.host_a), ()
    ),
    "ensure_export": Effect(_lost, lambda b, d, v: d.ensure_export(CONTEXT, v), ()),
    "initialize_connection": Effect(
        Bench.exported, lambda b, d, v: d.initialize_connection(v, b.host_a), ("host_a",)
    ),
    "terminate_connection": Effect(
        _connected, lambda b, d, v: d.terminate_connection(v, b.host_a, force=False), ()
    ),
    "remove_export": Effect(_connected, lambda b, d, v: d.remove_export(CONTEXT, v), None),
    "delete_volume": Effect(Bench.created, lambda b, d, v: d.delete_volume(CONTEXT, v), None),
}

every_effect = pytest.mark.parametrize("dying_call", EFFECTS)


class HalfwayTests(Hooks):
    """What holds after a death between two lines of the driver's code.

    Its own code is what is in the directory of the driver's class, or below; what waits for a
    command (:mod:`volflow.drivers.command`) is none of it. ``finally`` blocks run, which a killed
    process does not do: what they do must not be what makes it right.
    """

    @every_effect
    def test_a_call_that_died_half_way_is_repeated(self, bench: Bench, dying_call: str) -> None:
        """When a process dies in a call, the next one's same call does what is left to do."""
        effect = EFFECTS[dying_call]
        for volume, line in _deaths(bench, effect, self.half_way_deaths):
            with _noted(line):
                update = effect.call(bench, bench.next_driver(), volume)
                if dying_call in ("create_export", "ensure_export"):
                    volume = bench.recorded(volume, update)
                _require(bench, effect, volume)
                if dying_call == "remove_export":
                    bench.driver.create_export(CONTEXT, volume, bench.host_a)
                    assert bench.acl(volume) == set(), "G2: the ACL was left, and came back"
                _take_back(bench, volume)

    @every_effect
    def test_a_call_that_died_half_way_is_undone(self, bench: Bench, dying_call: str) -> None:
        """When a process dies in a call, the next one removes all, and knows only the id."""
        effect = EFFECTS[dying_call]
        for volume, line in _deaths(bench, effect, self.half_way_deaths):
            with _noted(line):
                _take_back(bench, replace(volume, provider_location=None))


class _Lines:
    """Counts the lines of some files that are reached for the first time, and dies at one."""

    def __init__(self, directories: tuple[str, ...], strike_at: int | None = None) -> None:
        self.reached: dict[tuple[str, int], None] = {}
        self.struck: str | None = None
        self._directories = directories
        self._strike_at = strike_at

    def __call__(self, frame: FrameType, event: str, argument: Any) -> _Lines | None:
        name = frame.f_code.co_filename
        if not name.startswith(self._directories) or name == command.__file__:
            return None
        if event == "line" and (name, frame.f_lineno) not in self.reached:
            if len(self.reached) == self._strike_at:
                self.struck = f"{Path(name).name}:{frame.f_lineno}"
                raise Crash(self.struck)
            self.reached[name, frame.f_lineno] = None
        return self

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count in this thread."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


def _deaths(bench: Bench, effect: Effect, most: int) -> Iterator[tuple[DriverVolume, str]]:
    """Volume after volume in whose call a process died: (volume, ``file.py:line``)."""
    own = _own_code(bench.driver)
    counted = _Lines(own)
    _run(bench, effect, counted)
    lines = len(counted.reached)
    assert lines > 0, f"the driver has no code in {own}"
    for number in range(0, lines, -(-lines // most)):
        dying = _Lines(own, number)
        volume = _run(bench, effect, dying)
        assert dying.struck is not None, f"line {number} of {lines} was not reached"
        yield volume, dying.struck


def _run(bench: Bench, effect: Effect, lines: _Lines) -> DriverVolume:
    volume = effect.prepare(bench)
    driver = bench.next_driver()
    with suppress(Crash), lines.watching():
        effect.call(bench, driver, volume)
    return volume


def _own_code(driver: Driver) -> tuple[str, ...]:
    """The directories of the classes that the driver is made of."""
    classes = [cls for cls in type(driver).__mro__ if cls is not VolumeDriver]
    codes = [getattr(each, "__code__", None) for cls in classes for each in vars(cls).values()]
    return tuple({str(Path(code.co_filename).parent) for code in codes if code is not None})


@contextmanager
def _noted(line: str) -> Iterator[None]:
    """Say in an error's report where the process died before it."""
    try:
        yield
    except BaseException as e:
        e.add_note(f"after a death at {line}")
        raise


def _require(bench: Bench, effect: Effect, volume: DriverVolume) -> None:
    """Find what the call has to leave, and that it works."""
    has = None if effect.has is None else {bench.key(bench.host_a) for _ in effect.has}
    assert has == bench.acl(volume), "the repeated call leaves something else"
    if has is not None:
        info = bench.connect(volume, bench.host_a)
        assert not unreachable(bench, info, bench.host_a), "the host cannot log in"


def _take_back(bench: Bench, volume: DriverVolume) -> None:
    """Let the next process remove the export and the volume, so that nothing of them is left."""
    driver = bench.next_driver()
    driver.terminate_connection(volume, bench.host_a, force=False)
    driver.remove_export(CONTEXT, volume)
    assert bench.export(volume) is None, "G2: the export is left"
    driver.delete_volume(CONTEXT, volume)
