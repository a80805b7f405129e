"""Who owns what, and who is dead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from volflow.leases import Leases
from volflow.persistence.engine import Database

ID = "11111111-1111-1111-1111-111111111111"
OTHER = "22222222-2222-2222-2222-222222222222"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'volflow.db'}")
    yield found
    found.close()


@pytest.fixture
def leases(database: Database, tmp_path: Path) -> Iterator[Leases]:
    found = Leases(database, tmp_path, 60, 300)
    yield found
    found.close(0)


@pytest.fixture
def neighbour(database: Database, tmp_path: Path) -> Iterator[Leases]:
    """Another process's, as far as one process can play it."""
    found = Leases(database, tmp_path, 60, 300)
    yield found
    found.close(0)


def test_a_run_is_entered_once(leases: Leases) -> None:
    assert leases.begin(ID, 1)
    assert not leases.begin(ID, 1)
    leases.end(ID)
    assert leases.begin(ID, 2)


def test_an_owner_lives_while_its_process_does(leases: Leases, neighbour: Leases) -> None:
    neighbour.begin(ID, 1)
    owner = neighbour.owner_of(ID)
    assert not leases.is_dead(owner, ID)
    assert not neighbour.is_dead(owner, ID)
    neighbour.close(0)
    assert leases.is_dead(owner, ID)


def test_a_run_that_ended_without_a_word_is_dead_to_its_own_process(leases: Leases) -> None:
    """When an error left it, nobody runs the operation, though its owner lives."""
    leases.begin(ID, 1)
    owner = leases.owner_of(ID)
    assert not leases.is_dead(owner, ID)
    leases.end(ID)
    assert leases.is_dead(owner, ID)


def test_a_death_in_a_thread_is_seen_by_others(leases: Leases, neighbour: Leases) -> None:
    """The identity dies with the run, and new runs have another."""
    leases.begin(ID, 1)
    owner = leases.owner_of(ID)
    leases.abandon(ID)
    assert neighbour.is_dead(owner, ID)
    assert leases.is_dead(owner, ID)
    assert owner != leases.owner


def test_a_death_in_a_thread_does_not_kill_its_neighbours(
    leases: Leases, neighbour: Leases
) -> None:
    """Their identity lives on until the last of them has ended."""
    leases.begin(ID, 1)
    leases.begin(OTHER, 1)
    owner = leases.owner_of(OTHER)
    leases.abandon(ID)
    assert not neighbour.is_dead(owner, OTHER)
    assert not leases.is_dead(owner, OTHER)
    leases.end(OTHER)
    assert neighbour.is_dead(owner, OTHER)


def test_nobody_is_judged_on_another_host(leases: Leases) -> None:
    assert not leases.is_dead("elsewhere:boot:1-2:1-abc", ID)


def test_owner_files_do_not_pile_up(leases: Leases, neighbour: Leases, tmp_path: Path) -> None:
    leases.begin(ID, 1)
    leases.abandon(ID)
    neighbour.close(0)
    leases.close(0)
    assert [] == list((tmp_path / "owners").iterdir())
