"""The crash matrix on PostgreSQL: a spread of it, another one with each ``--seed``."""

from __future__ import annotations

import logging
import random

import pytest

from tests.crash.conftest import migrate_database
from tests.servers.postgresql import PostgresqlServer
from volflow.testing import MemoryDriver
from volflow.testing.crash import Matrix
from volflow.testing.scenarios import SCENARIOS, Scenario

SINGLE, CALL, RECOVERY = 8, 25, 17
"""Each so many-th death; of two deaths each so many-th point of the call and of the recovery."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_death_leaves_nothing_behind_on_a_server(
    scenario: Scenario,
    postgresql_server: PostgresqlServer,
    rng: random.Random,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When a process dies, and the one that recovers does, too, with the database elsewhere."""
    caplog.set_level(logging.CRITICAL)
    template = postgresql_server.template("migrated", migrate_database)
    made: list[str] = []

    def make_url() -> str:
        made.append(postgresql_server.create_database(template))
        return made[-1]

    with Matrix(scenario, MemoryDriver, make_url) as matrix:
        matrix.single(SINGLE, rng.randrange(SINGLE))
        matrix.double(RECOVERY, rng.randrange(RECOVERY), CALL, rng.randrange(CALL))
    assert {} == matrix.tally.broken
    assert matrix.tally.single
    for url in made:
        postgresql_server.drop_database(url)
