"""A database file, a backend and managers on them, as the contract's tests have; and a hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.conftest import (
    attached,
    backend,
    context,
    driver,
    empty_database,
    faulty,
    home,
    manager,
    open_manager,
    shared,
    url,
    volume,
)
from tests.faults.hand import Hand

__all__ = [
    "attached",
    "backend",
    "context",
    "driver",
    "empty_database",
    "faulty",
    "home",
    "manager",
    "open_manager",
    "shared",
    "url",
    "volume",
]


@pytest.fixture
def hand(home: Path) -> Hand:
    """An operator's, in this test's database."""
    return Hand(home / "volflow.db")
