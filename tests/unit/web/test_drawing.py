"""A timeline to scale: where its bars are, and what is cut out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis
import pytest
from hypothesis import strategies as st

from volflow.models import Event
from volflow.views.timeline import fold
from volflow.web.drawing import Drawing, drawn

START = datetime(2026, 1, 1, tzinfo=UTC)


def drawing(*lines: str, now: float = 1000) -> Drawing:
    """Draw events of ``SECONDS EPOCH STEP WHAT``."""
    events = []
    for line in lines:
        at, epoch, step, what = line.split(" ", 3)
        when = START + timedelta(seconds=float(at))
        events.append(Event("id", when, int(epoch), step, what, None))
    return drawn(fold(events), START + timedelta(seconds=now))


def test_bars_are_as_long_as_their_steps_took() -> None:
    found = drawing(
        "0 1 operation begins",
        "0 1 a running",
        "2 1 a success",
        "2 1 b running",
        "8 1 b failure",
        "8 1 a reverting",
        "9 1 a reverted",
        "10 1 operation rolled_back",
    )
    assert [
        ("operation", 0, 100, "call rolled-back"),
        ("a", 0, 20, "done"),
        ("b", 20, 60, "failed"),
        ("a", 80, 10, "undo undone"),
    ] == [(row.name, row.bar.x, row.bar.width, row.bar.tone) for row in found.rows]
    assert [0, 2, 4, 6, 8] == pytest.approx([tick.seconds for tick in found.ticks])
    assert [0, 20, 40, 60, 80] == pytest.approx([tick.x for tick in found.ticks])
    assert () == found.cuts


def test_a_long_wait_between_calls_is_cut_out_and_named() -> None:
    found = drawing(
        "0 1 operation begins",
        "1 1 operation waiting",
        "901 2 operation begins",
        "904 2 operation succeeded",
    )
    assert [(24, 4, 900)] == [(cut.x, cut.width, cut.seconds) for cut in found.cuts]
    assert [(0, 24), (28, 72)] == [(row.bar.x, row.bar.width) for row in found.rows]


def test_a_short_wait_is_drawn() -> None:
    found = drawing(
        "0 1 operation begins",
        "4 1 operation waiting",
        "5 2 operation begins",
        "9 2 operation succeeded",
    )
    assert () == found.cuts
    assert [0, pytest.approx(500 / 9, abs=0.01)] == [row.bar.x for row in found.rows]


def test_what_runs_is_drawn_until_now_and_what_was_interrupted_until_it_was_seen_last() -> None:
    found = drawing(
        "0 1 operation begins",
        "2 1 a running",
        "6 2 operation taken over",
        "6 2 a running",
        now=10,
    )
    died, a, again, b = found.rows
    assert ("call interrupted", "interrupted") == (died.bar.tone, a.bar.tone)
    assert ("call running", "running") == (again.bar.tone, b.bar.tone)
    assert again.taken_over
    assert 100 == b.bar.x + b.bar.width


def test_nothing_is_an_empty_drawing() -> None:
    assert Drawing() == drawing()
    found = drawing("0 1 operation succeeded")
    assert 0 == found.rows[0].bar.width


WORDS = ["begins", "waiting", "succeeded", "needs_attention", "taken over", "rolled_back"]
WHATS = ["running", "success", "failure", "reverting", "reverted", "refused", "quux"]
LINE = st.tuples(
    st.floats(0, 1e7, allow_nan=False),
    st.integers(1, 3),
    st.one_of(
        st.tuples(st.just("operation"), st.sampled_from(WORDS)),
        st.tuples(st.sampled_from("abc"), st.sampled_from(WHATS)),
    ),
)


@hypothesis.given(st.lists(LINE, max_size=30), st.booleans(), st.floats(-1e3, 2e7))
def test_any_events_are_drawn_within_the_picture(
    lines: list[tuple[float, int, tuple[str, str]]], in_order: bool, now: float
) -> None:
    """When clocks jump, too: events may stand in any order."""
    if in_order:
        lines = sorted(lines)
    found = drawing(*(f"{at} {epoch} {' '.join(told)}" for at, epoch, told in lines), now=now)
    for row in found.rows:
        assert 0 <= row.bar.x <= 100.001
        assert 0 <= row.bar.width <= 100.002 - row.bar.x
    for part in (*found.ticks, *found.cuts):
        assert 0 <= part.x <= 100.001
    assert len(found.ticks) <= 10


def test_a_call_that_ended_before_it_began_is_a_point() -> None:
    """When the clock was set back meanwhile; the other one is drawn to scale."""
    found = drawing(
        "9 1 operation begins",
        "2 1 operation succeeded",
        "20 2 operation begins",
        "22 2 operation succeeded",
    )
    assert [0, 96] == [row.bar.width for row in found.rows]
    assert len(found.ticks) <= 10
