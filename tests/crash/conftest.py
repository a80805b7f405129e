"""The server that the killed processes are forked from ends with the tests."""

from __future__ import annotations

import multiprocessing.forkserver
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def process_server() -> Iterator[None]:
    yield
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
