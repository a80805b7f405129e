"""TaskFlow as volflow drives it."""

from __future__ import annotations

import pytest
from taskflow import states
from taskflow.storage import Storage

from volflow.flows import engine
from volflow.flows.phases import PHASES, UNDOS, steps
from volflow.models import OperationKind
from volflow.persistence.flows import StoredFlow, arrange_forward, arrange_undo


def stored(**atoms: tuple[str, str]) -> StoredFlow:
    return StoredFlow("id", "attach_volume", "attach", "RUNNING", dict(atoms))


def test_the_storage_is_unwrapped_in_this_release_of_taskflow() -> None:
    """Else every save would go through locks and retries; then a warning says so."""
    found = engine._STORAGE
    assert found is not None
    for name in engine._WRAPPED:
        assert hasattr(vars(Storage)[name], "__wrapped__")
        assert not hasattr(vars(found)[name], "__wrapped__")


def test_an_unknown_storage_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_WRAPPED", ("no_such_method",))
    assert engine._one_thread_storage() is None


def test_a_flow_is_compiled_once() -> None:
    names = PHASES["attach_volume"].tasks
    found = engine.kept_flow(OperationKind.ATTACH, names)
    assert found is engine.kept_flow(OperationKind.ATTACH, names)
    assert list(names) == [step.name for step in found.steps]


def test_to_resume_what_ran_runs_again_and_what_is_done_does_not() -> None:
    """Left RUNNING, a task would run without its barrier."""
    flow = stored(
        a=(states.SUCCESS, states.EXECUTE),
        b=(states.RUNNING, states.EXECUTE),
        c=(states.PENDING, states.EXECUTE),
    )
    arrange_forward(flow)
    assert {
        "a": (states.SUCCESS, states.EXECUTE),
        "b": (states.PENDING, states.EXECUTE),
        "c": (states.PENDING, states.EXECUTE),
    } == flow.atoms


def test_to_undo_what_may_have_run_is_reverted_and_what_did_not_is_not() -> None:
    flow = stored(
        a=(states.SUCCESS, states.EXECUTE),
        b=(states.RUNNING, states.EXECUTE),
        c=(states.FAILURE, states.REVERT),
        d=(states.REVERTING, states.REVERT),
        e=(states.REVERTED, states.REVERT),
        f=(states.PENDING, states.EXECUTE),
    )
    arrange_undo(flow)
    assert {
        **dict.fromkeys("abcd", (states.SUCCESS, states.REVERT)),
        "e": (states.REVERTED, states.REVERT),
        "f": (states.PENDING, states.EXECUTE),
    } == flow.atoms


@pytest.mark.parametrize("phase", PHASES.values(), ids=lambda phase: phase.name)
def test_every_phase_is_a_part_of_its_flow(phase) -> None:  # type: ignore[no-untyped-def]
    """In the flow's own order, each task with its own undo or none needed."""
    assert list(phase.tasks) == [step.name for step in steps(phase.kind, phase.tasks)]


def test_the_stored_names_are_a_format() -> None:
    """An operation in flight is resumed by them: change one only with a migration."""
    assert (
        "update-status",
        "validate-connector",
        "create-export",
        "initialize-connection",
        "record-attachment",
        "finalize",
    ) == PHASES["attach_volume"].tasks
    assert (
        "update-status",
        "terminate-connection",
        "remove-export",
        "remove-attachment",
        "finalize",
    ) == PHASES["detach_volume"].tasks
    attach, detach = PHASES["attach_volume"].tasks, PHASES["detach_volume"].tasks
    assert (*attach[:-1], "connect-host", "finalize") == PHASES["connect_volume"].tasks
    assert ("update-status", "disconnect-host", *detach[1:]) == PHASES["disconnect_volume"].tasks
    assert {
        "abandon",
        "unreserve_volume",
        "roll_detaching",
        "cancel_operation",
        "expire",
        "undo_initialize_connection",
    } == set(UNDOS)


def test_a_task_that_no_flow_has_is_named() -> None:
    with pytest.raises(LookupError, match="no-such-task"):
        steps(OperationKind.ATTACH, ["no-such-task"])
