"""volflow.views.timeline: events, folded to steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from volflow.models import Event
from volflow.views.timeline import fold, timeline_json

START = datetime(2026, 1, 1, tzinfo=UTC)


def events(*lines: str) -> list[Event]:
    """Make events of ``EPOCH STEP WHAT [; DETAIL]``, a second apart."""
    found = []
    for number, line in enumerate(lines):
        head, _, detail = line.partition(" ; ")
        epoch, step, what = head.split(" ", 2)
        at = START + timedelta(seconds=number)
        found.append(Event("id", at, int(epoch), step, what, detail or None))
    return found


def test_a_step_takes_the_time_between_its_events() -> None:
    (call,) = fold(
        events(
            "1 operation begins ; attach",
            "1 a running",
            "1 a success",
            "1 operation waiting",
        )
    )
    assert ("attach", 3.0, "waiting") == (call.call, call.seconds, call.result)
    assert [("a", 1.0, "done")] == [(s.step, s.seconds, s.result) for s in call.steps]


def test_an_undo_is_a_run_of_its_own() -> None:
    (call,) = fold(events("1 a running", "1 a failure ; E: x", "1 a reverting", "1 a reverted"))
    assert [(False, "failed", "E: x"), (True, "undone", None)] == [
        (s.undo, s.result, s.error) for s in call.steps
    ]


def test_without_an_end_a_call_is_running_or_interrupted() -> None:
    """When a later run follows, the former one was interrupted."""
    alone = fold(events("1 operation begins ; x", "1 a running"))
    assert ["running"] == [c.result for c in alone]
    assert "running" == alone[0].steps[0].result
    first, second = fold(
        events("1 operation begins ; x", "1 a running", "2 operation taken over", "2 a running")
    )
    assert ("interrupted", "interrupted") == (first.result, first.steps[0].result)
    assert ("x", True, "running") == (second.call, second.taken_over, second.result)


def test_what_stands_behind_a_refusal_is_held_back() -> None:
    (call,) = fold(
        events(
            "1 b reverting",
            "1 b refused ; E: no",
            "1 a reverting",
            "1 operation needs_attention",
        )
    )
    assert ["refused", "held back"] == [s.result for s in call.steps]


def test_calls_under_one_epoch_are_told_apart() -> None:
    calls = fold(
        events(
            "1 operation begins ; reserve_volume",
            "1 operation waiting",
            "1 operation begins ; attach",
            "1 operation succeeded",
        )
    )
    assert ["reserve_volume", "attach"] == [c.call for c in calls]


def test_an_event_that_nobody_knows_is_shown() -> None:
    """When a driver's notification failed, or a newer release wrote the event."""
    (call,) = fold(events("1 attach_volume notification failed ; E: x", "1 a quux"))
    assert ["not notified", "quux"] == [s.result for s in call.steps]


def test_nothing_is_an_empty_timeline() -> None:
    assert [] == timeline_json(fold([]))
