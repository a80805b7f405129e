"""The crash matrix itself: it finds what a death leaves, and blames the right point."""

from __future__ import annotations

import logging
from copy import deepcopy
from pathlib import Path

import pytest

from volflow.drivers.local import LocalDriver
from volflow.testing import MemoryDriver
from volflow.testing.crash import Matrix, Point
from volflow.testing.points import Points
from volflow.testing.scenarios import CONTEXT, SCENARIOS
from volflow.testing.stage import Place

ATTACH = next(scenario for scenario in SCENARIOS if scenario.name == "attach")
DETACH = next(scenario for scenario in SCENARIOS if scenario.name == "detach")


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


class Leaks(MemoryDriver):
    """What was exported once stays so."""

    def remove_export(self, context, volume):
        pass


class LeaksOnce(LocalDriver):
    """One removal of an export is forgotten."""

    left = 1

    def remove_export(self, context, volume):
        if LeaksOnce.left:
            LeaksOnce.left -= 1
        else:
            super().remove_export(context, volume)


class Calls(Points):
    """Driver calls alone, so that few points have to be tried."""

    def reach(self, name):
        if not name.startswith(("statement", "commit")):
            super().reach(name)


class CallMatrix(Matrix):
    def new_points(self, strike_at=None):
        return Calls(strike_at)


def test_every_point_is_tried_and_every_end_counted():
    """When a scenario has n points, there are n deaths, and each volume's end is known."""
    with CallMatrix(ATTACH, MemoryDriver) as matrix:
        points = matrix.points()
        matrix.single()

    assert points > 5
    assert (matrix.tally.single, matrix.tally.broken) == (points, {})
    # Twice without a death, and once at each point.
    assert sum(matrix.tally.ends.values()) == points + 2


def test_a_second_death_strikes_at_every_point_of_the_recovery():
    """When recovery dies at each of its points, all of it is tried, and put back in between."""
    with CallMatrix(ATTACH, MemoryDriver) as matrix:
        matrix.single()
        matrix.double()

    assert matrix.tally.broken == {}
    assert matrix.tally.double > matrix.tally.single


@pytest.mark.parametrize("deaths", ["single", "double"])
def test_a_leak_is_found_on_a_backend_that_is_copied(deaths):
    """When a driver leaks, the point says after which death, and what."""
    with CallMatrix(DETACH, Leaks) as matrix:
        getattr(matrix, deaths)(step=3)

    for point, found in matrix.tally.broken.items():
        assert point.startswith("detach: ")
        assert any("G2" in line and "is exported for nobody" in line for line in found)
    assert len(matrix.tally.broken) > matrix.tally.single + matrix.tally.double - 3


def test_a_backend_that_stays_is_used_up_point_by_point(tmp_path: Path):
    """When all points share a backend, nothing of the one is there at the next, nor at the end."""
    driver = LocalDriver(tmp_path)
    with CallMatrix(DETACH, lambda: driver) as matrix:
        matrix.single()
        matrix.double(step=4, first_step=4)

    assert matrix.tally.broken == {}
    assert matrix.tally.single > 3
    assert matrix.tally.double > 0
    assert driver.list_exports() == []
    assert list(tmp_path.glob("*.raw")) == []


def test_one_broken_point_does_not_break_the_next(tmp_path: Path):
    """When one point leaves a mess on a backend that stays, the others are not blamed for it."""
    LeaksOnce.left = 1
    with CallMatrix(DETACH, lambda: LeaksOnce(tmp_path)) as matrix:
        matrix.single()

    (found,) = matrix.tally.broken.values()
    assert any("G2" in line for line in found)


def test_processes_of_one_place_are_strangers(tmp_path: Path):
    """When a place is opened anew, owner, locks and connections are; the database is known."""
    place, backend = Place(tmp_path), MemoryDriver()
    with place.reopen(backend) as first:
        owner, volume = first.leases.owner, first.create_volume(CONTEXT, 1, "lab")
    with place.reopen(backend) as second:
        assert second.leases.owner != owner
        assert second.leases.is_dead(owner, "any")
        assert second.database is first.database
        assert second.get_volume(CONTEXT, volume.id) == volume


def test_a_place_goes_back_to_what_was_saved(tmp_path: Path):
    """When a database is put back, what came after is forgotten."""
    place, backend = Place(tmp_path), MemoryDriver()
    with place.reopen(backend) as manager:
        volume = manager.create_volume(CONTEXT, 1, "lab")
    saved = place.save()
    with place.reopen(backend) as manager:
        manager.delete_volume(CONTEXT, volume.id)

    place.restore(saved)

    with place.reopen(backend) as manager:
        assert manager.list_volumes(CONTEXT) == [volume]


def test_a_point_reads_as_a_sentence():
    """When a point is shown, it names the scenario, the deaths and where they struck."""
    first, second = (3, "commit after"), (1, "remove_export before")
    assert str(Point("detach")) == "detach: no death"
    assert str(Point("detach", first)) == "detach: death at 3 (commit after)"
    assert str(Point("detach", first, second)) == (
        "detach: death at 3 (commit after) and then at 1 (remove_export before)"
    )


def test_a_copied_backend_is_of_its_own_class_and_apart():
    """When a memory driver is copied, the copy has its class and its state, and shares none."""
    driver = Leaks()
    driver.exports["v"] = "CHAP user secret"

    copied = deepcopy(driver)
    copied.exports.clear()

    assert type(copied) is Leaks
    assert driver.exports == {"v": "CHAP user secret"}
