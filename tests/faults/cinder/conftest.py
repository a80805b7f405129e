"""The stage of each play: one volume, single-attach or shared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import Telling
from tests.faults.cinder.play import Play
from volflow.testing import FaultyDriver, MemoryDriver


@pytest.fixture
def stage(
    open_manager: OpenManager, backend: MemoryDriver, faulty: FaultyDriver, driver: Telling
) -> Callable[..., Play]:
    """Make a play; its options are the volume's."""

    def make(**options: bool) -> Play:
        return Play(open_manager, backend, faulty, driver, **options)

    return make


@pytest.fixture
def play(stage: Callable[..., Play]) -> Play:
    """A volume for one host."""
    return stage()


@pytest.fixture
def shared_play(stage: Callable[..., Play]) -> Play:
    """A volume for several hosts."""
    return stage(multiattach=True)
