"""A board that cannot be reached: nothing is refused for it, and nothing is lost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.boards import CONTEXT, Cast, Place
from tests.contract.lab import HOST_A, until
from volflow.models import RecoveryReport
from volflow.testing.invariants import violations

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def cast(url: str, home: Path) -> Iterator[Cast]:
    cast = Cast(Place(url, NOBODY, str(home / "volflow.db.key")))
    with cast.stack:
        yield cast


def test_calls_of_this_process_need_no_board(cast: Cast) -> None:
    manager = cast.open(recover=True)
    (volume,) = cast.volumes(manager, 1)
    manager.attach_volume(CONTEXT, volume.id, HOST_A)
    manager.detach_volume(CONTEXT, volume.id)
    assert RecoveryReport() == manager.recover()


def test_what_is_submitted_is_accepted_and_its_job_posted_later(
    cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    manager = cast.open()
    (volume,) = cast.volumes(manager, 1)
    operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
    assert "queued" == operation.state
    assert "attaching" == manager.get_volume(CONTEXT, volume.id).status
    (said,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert operation.id in said
    assert NOBODY in said
    assert RecoveryReport() == manager.recover()
    assert "rolled_back" == manager.cancel_operation(CONTEXT, operation.id).state


def test_a_conductor_takes_from_the_database_what_the_board_cannot_give(cast: Cast) -> None:
    """When two conductors do: each operation is run once."""
    managers = [cast.open() for _ in range(3)]
    volumes = cast.volumes(managers[0], 8)
    for number, manager in enumerate(managers[1:]):
        cast.conduct(manager, f"number {number}", workers=2)
    found = [managers[0].submit_attach(CONTEXT, v.id, HOST_A) for v in volumes]
    assert {"succeeded"} == {cast.settled(managers[0], o.id) for o in found}
    assert 8 == Counter(cast.driver.names)["create_export"]
    assert [] == violations(managers[0], cast.backend, "lab")


def test_a_conductor_says_once_that_the_board_is_away(
    cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    manager = cast.open()
    (volume,) = cast.volumes(manager, 1)
    cast.conduct(manager)
    operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
    assert "succeeded" == cast.settled(manager, operation.id)

    def said() -> list[str]:
        return [r.getMessage() for r in caplog.records if "meanwhile" in r.getMessage()]

    until(said, "it is said")
    assert 1 == len(said())
