"""What the tests of the benchmarks share: the end of what their workers are forked from."""

from __future__ import annotations

import multiprocessing.forkserver
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def process_server() -> Iterator[None]:
    yield
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
