"""A database file, a backend and managers on them, as the contract's tests have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.conftest import (
    attached,
    backend,
    context,
    driver,
    empty_database,
    faulty,
    hand,
    home,
    manager,
    open_manager,
    shared,
    url,
    volume,
)
from tests.faults.victims import ALL, Scene, Situation

__all__ = [
    "attached",
    "backend",
    "context",
    "driver",
    "empty_database",
    "faulty",
    "hand",
    "home",
    "manager",
    "open_manager",
    "shared",
    "url",
    "volume",
]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> dict[str, Scene]:
    """One of each situation."""

    def made(situation: Situation) -> Scene:
        home = tmp_path_factory.mktemp(situation.__name__) / "home"
        shutil.copytree(empty_database, home)
        return Scene(home, situation)

    return {situation.__name__: made(situation) for situation in ALL}


@pytest.fixture
def scene(scenes: dict[str, Scene], tmp_path: Path) -> Callable[[Situation], Scene]:
    """Copy the scene of a situation."""
    return lambda situation: scenes[situation.__name__].copied(tmp_path / "scene")
