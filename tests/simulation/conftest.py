"""A template that the simulations of one process share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from volflow.testing.simulation import Template


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    with Template() as template:
        yield template
