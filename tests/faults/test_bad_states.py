"""Rows that no release of volflow writes, fed into the database by hand.

Each is named to the operator; nothing crashes on it, and nothing beside it is kept waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.contract.hand import Hand
from tests.contract.lab import HOST_A, INSTANCE_1
from tests.faults.bad_rows import BAD, HARMLESS, LOST, STRANGE_TOKEN, Bad
from tests.faults.victims import ALL, CONTEXT, Scene, Situation, Victim, dying, resting
from volflow import Difference, DifferenceKind, RecoveryReport
from volflow.exceptions import VolflowError
from volflow.testing.invariants import violations

MakeScene = Callable[[Situation], Scene]
Said = Callable[[], str]


def each(bad: list[Bad]) -> pytest.MarkDecorator:
    """Every one, in each of its situations."""
    return pytest.mark.parametrize(
        ("bad", "situation"),
        [
            pytest.param(one, situation, id=f"{situation.__name__}-{one}")
            for one in bad
            for situation in one.situations
        ],
    )


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """Everything that was logged."""
    caplog.set_level(logging.WARNING)
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


def told(report: RecoveryReport, differences: list[Difference]) -> str:
    """What the operator reads of a report and of differences."""
    lines = [*report.needs_attention]
    lines += [f"{d.kind} {d.volume_id} {d.operation_id} {d.detail}" for d in differences]
    return "\n".join(lines)


@each(BAD)
def test_a_bad_row_is_named_and_stops_nothing(
    scene: MakeScene, said: Said, bad: Bad, situation: Situation
) -> None:
    """When a column holds what makes no sense, its row is named, and the rest is settled."""
    play = scene(situation)
    bad.feed(play.hand, play.victim)
    with play.later() as manager:
        report = manager.recover()
        differences = manager.reconcile(CONTEXT)

        play.assert_healthy_is_settled(manager, report)
        play.look_at_all(manager)
        assert getattr(play.victim, bad.named) in told(report, differences) + said()
        assert "Traceback" not in said()
        manager.reconcile(CONTEXT, repair=True, force=True)
        manager.recover()


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_process_opens_beside_a_bad_row(scene: MakeScene, bad: Bad) -> None:
    """When recovery runs in its thread, it settles the rest before the manager serves."""
    play = scene(bad.situations[-1])
    bad.feed(play.hand, play.victim)
    with play.later(recover=True) as manager:
        play.assert_healthy_is_free(manager)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_a_call_on_a_bad_row_hears_one_of_our_errors(scene: MakeScene, bad: Bad) -> None:
    """Whatever a caller asks of it, it is answered or refused, and never by a raw error."""
    play = scene(bad.situations[0])
    bad.feed(play.hand, play.victim)
    key, owner = play.victim.volumes, play.victim.operations
    with play.later() as manager:
        for call in (
            lambda: manager.get_volume(CONTEXT, key),
            lambda: manager.get_attachment(CONTEXT, play.victim.attachments),
            lambda: manager.get_operation(CONTEXT, owner),
            lambda: manager.operation_timeline(CONTEXT, owner),
            lambda: manager.list_attachments(CONTEXT, key),
            lambda: manager.attach(CONTEXT, key, INSTANCE_1, None, None),
            lambda: manager.initialize_connection(CONTEXT, key, HOST_A),
            lambda: manager.terminate_connection(CONTEXT, key, HOST_A),
            lambda: manager.roll_detaching(CONTEXT, key),
            lambda: manager.unreserve_volume(CONTEXT, key),
            lambda: manager.cancel_operation(CONTEXT, owner),
            lambda: manager.detach_volume(CONTEXT, key),
            lambda: manager.attach_volume(CONTEXT, key, HOST_A),
            lambda: manager.delete_volume(CONTEXT, key),
        ):
            with suppress(VolflowError):
                call()
        play.assert_healthy_is_settled(manager, manager.recover())


def test_all_of_them_at_once_stop_nothing(scene: MakeScene, said: Said) -> None:
    """When volume, attachment, operation and flow make no sense together."""
    play = scene(dying)
    for bad in (
        Bad("volumes", "provider_auth", STRANGE_TOKEN),
        Bad("attachments", "connector", "{"),
        Bad("operations", "error", "7"),
        Bad("operations", "flows", "["),
    ):
        bad.feed(play.hand, play.victim)
    with play.later() as manager:
        report = manager.recover()
        differences = manager.reconcile(CONTEXT)
        play.assert_healthy_is_settled(manager, report)
        play.look_at_all(manager)
        assert play.victim.operations in report.needs_attention
        (found,) = differences
        assert (DifferenceKind.ROW_UNREADABLE, play.victim.volumes) == (
            found.kind,
            found.volume_id,
        )


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("volumes", "name"),
        ("volumes", "status"),
        ("attachments", "attached_host"),
        ("operations", "request_id"),
        ("operations", "phase"),
        ("operations", "flows"),
    ],
)
def test_bytes_that_are_no_text_hide_nothing(scene: MakeScene, table: str, column: str) -> None:
    """When a text column holds what is not UTF-8, everything beside it is settled."""
    play = scene(dying)
    play.hand.write(
        f"UPDATE {table} SET {column} = CAST(? AS TEXT) WHERE id = ?",
        b"melt\xff",
        getattr(play.victim, table),
    )
    with play.later() as manager:
        report = manager.recover()
        manager.reconcile(CONTEXT)

        play.assert_healthy_is_settled(manager, report)
        play.look_at_all(manager)


def test_an_event_that_makes_no_sense_hides_no_other(scene: MakeScene, said: Said) -> None:
    """When a line of the timeline has no time, the others are told, and it is named."""
    play = scene(dying)
    owner = play.victim.operations
    first = play.hand.read("SELECT min(id) FROM events WHERE operation_id = ?", owner)
    play.hand.change("events", first, at="yesterday")
    with play.later() as manager:
        found = manager.operation_timeline(CONTEXT, owner)

    others = play.hand.read("SELECT count(*) FROM events WHERE operation_id = ?", owner) - 1
    assert others == len(found) > 0
    assert f"event {first} cannot be read: at" in said()


@each(HARMLESS)
def test_a_strange_row_that_can_be_understood_is_settled(
    scene: MakeScene, bad: Bad, situation: Situation
) -> None:
    """When a value is odd, and means something nevertheless, the operation comes to its end."""
    play = scene(situation)
    bad.feed(play.hand, play.victim)
    with play.later() as manager:
        report = manager.recover()

        assert () == report.needs_attention
        assert manager.get_operation(CONTEXT, play.victim.operations).settled
        assert [] == violations(manager, play.backend, "lab")
        play.assert_healthy_is_settled(manager, report)


@pytest.mark.parametrize("situation", ALL)
@pytest.mark.parametrize("edit", LOST, ids=lambda edit: edit.__name__)
def test_what_a_lost_row_leaves_is_put_in_order(
    scene: MakeScene, said: Said, edit: Callable[[Hand, Victim], None], situation: Situation
) -> None:
    """When rows are gone that others need, it is told, and reconcile makes the best of it."""
    play = scene(situation)
    edit(play.hand, play.victim)
    with play.later() as manager:
        report = manager.recover()
        play.assert_healthy_is_settled(manager, report)
        play.look_at_all(manager)
        if violations(manager, play.backend, "lab"):
            text = told(report, manager.reconcile(CONTEXT))
            assert any(key in text for key in play.victim)

        found = manager.reconcile(CONTEXT, repair=True)

        assert [] == [difference for difference in found if not difference.repaired]
        assert [] == manager.reconcile(CONTEXT)
        assert () == manager.recover().needs_attention
        assert [] == violations(manager, play.backend, "lab")
        operations = manager.list_operations(CONTEXT, volume_id=play.victim.volumes)
        assert all(operation.settled for operation in operations)


@pytest.mark.parametrize("situation", ALL)
def test_a_volume_that_is_lost_is_named_by_what_is_left_of_it(
    scene: MakeScene, situation: Situation
) -> None:
    """When its row is gone, the operation is ended; the export may be anybody's, and stays."""
    play = scene(situation)
    play.hand.delete("volumes", play.victim.volumes)
    with play.later() as manager:
        report = manager.recover()
        play.assert_healthy_is_settled(manager, report)
        play.look_at_all(manager)
        found = manager.reconcile(CONTEXT, repair=True)

        by_kind = {difference.kind: difference for difference in found}
        unknown = by_kind[DifferenceKind.EXPORT_UNKNOWN]
        assert (play.victim.volumes, False) == (unknown.volume_id, unknown.repaired)
        orphan = by_kind[DifferenceKind.ROW_UNREADABLE]
        assert play.victim.attachments in orphan.detail
        if situation is not resting:
            assert play.victim.operations in report.needs_attention
            assert by_kind[DifferenceKind.OPERATION_ASTRAY].repaired
        assert manager.get_operation(CONTEXT, play.victim.operations).settled
        assert () == manager.recover().needs_attention
        assert play.victim.volumes in play.backend.exports
        left = {difference.kind for difference in manager.reconcile(CONTEXT)}
        assert {DifferenceKind.EXPORT_UNKNOWN, DifferenceKind.ROW_UNREADABLE} == left
