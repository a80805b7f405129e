"""When a volume is compared on which an effect may still come."""

from __future__ import annotations

import pytest

from volflow.clock import Clock
from volflow.doubts import TRUSTED_SECONDS, Doubts
from volflow.persistence.audit import Asked

LIMIT = 120.0
SECOND = 1_000_000
START = 1_700_000_000 * SECOND
HERE = frozenset({"lab"})


class Still(Clock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 7.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def doubts(clock: Still) -> Doubts:
    return Doubts(clock, LIMIT)


def asked(
    now: float, at: float = LIMIT, doubt: float | None = LIMIT, backend: str = "lab"
) -> Asked:
    """One volume, by the database's clock, in seconds since the doubt began."""
    until = None if doubt is None else START + int(doubt * SECOND)
    return Asked(backend, "v", START + int(at * SECOND), until, START + int(now * SECOND), True)


def test_a_doubt_that_was_known_from_its_beginning_ends_with_the_limit(
    doubts: Doubts, clock: Still
) -> None:
    doubts.see([asked(0)], HERE)
    clock.seconds += 100
    assert 20 == doubts.seconds_to(asked(100))
    clock.seconds += 20
    assert 0 == doubts.seconds_to(asked(120))
    assert doubts.is_over(asked(120))


def test_a_jump_ahead_changes_nothing(doubts: Doubts, clock: Still) -> None:
    doubts.see([asked(0)], HERE)
    clock.seconds += 1
    assert LIMIT - 1 == doubts.seconds_to(asked(1000))
    assert not doubts.is_over(asked(1000))


def test_a_clock_that_is_set_back_keeps_the_doubt(doubts: Doubts, clock: Still) -> None:
    doubts.see([asked(0)], HERE)
    clock.seconds += LIMIT
    assert LIMIT + 60 == doubts.seconds_to(asked(-60))
    assert not doubts.is_over(asked(-60))


def test_who_comes_late_waits_for_the_whole_limit(doubts: Doubts, clock: Still) -> None:
    doubts.see([asked(119)], HERE)
    clock.seconds += 1
    assert LIMIT - 1 == doubts.seconds_to(asked(120))


def test_what_ended_long_ago_has_ended_for_everybody(doubts: Doubts) -> None:
    assert 0 == doubts.seconds_to(asked(LIMIT + TRUSTED_SECONDS))
    assert doubts.is_over(asked(LIMIT + TRUSTED_SECONDS))


def test_what_was_asked_for_another_reason_is_not_put_off(doubts: Doubts) -> None:
    """And does not end the doubt."""
    assert 0 == doubts.seconds_to(asked(20, at=10))
    assert 5 == doubts.seconds_to(asked(5, at=10))
    assert not doubts.is_over(asked(20, at=10))


def test_without_a_doubt_the_database_is_believed(doubts: Doubts) -> None:
    assert 0 == doubts.seconds_to(asked(10, at=10, doubt=None))
    assert doubts.is_over(asked(10, at=10, doubt=None))


def test_a_new_doubt_begins_anew(doubts: Doubts, clock: Still) -> None:
    doubts.see([asked(0)], HERE)
    clock.seconds += 60
    newer = asked(60, at=LIMIT, doubt=LIMIT + 60)
    doubts.see([newer], HERE)
    clock.seconds += 60
    assert not doubts.is_over(newer._replace(now=START + 180 * SECOND))


def test_what_was_seen_of_one_backend_leaves_those_of_others(doubts: Doubts, clock: Still) -> None:
    doubts.see([asked(0), asked(0, backend="other")], frozenset({"lab", "other"}))
    doubts.see([], HERE)
    clock.seconds += LIMIT
    assert doubts.is_over(asked(LIMIT, backend="other"))
    assert not doubts.is_over(asked(LIMIT)), "it was forgotten"
