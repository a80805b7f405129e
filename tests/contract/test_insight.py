"""What operators ask: pages newest first, counts, changes, and where each step stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_A, UNKNOWN, Telling, until
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.models import Operation, OperationState, Page, VolumeStatus
from volflow.persistence import search
from volflow.testing import Fault, FaultyDriver

NEVER = "no word begins so"


@pytest.fixture
def used(manager: VolumeManager, context: RequestContext) -> list[Volume]:
    """Three volumes with names; the first is attached, the second waits, the third is free."""
    found = [
        manager.create_volume(context, size_gib=1, backend="lab", name=name)
        for name in ("db-1", "db-2", "Web_%")
    ]
    manager.attach_volume(context, found[0].id, HOST_A, host_name="a")
    manager.reserve_volume(context, found[1].id)
    return found


T = TypeVar("T")


def pages(look: Callable[[str | None], Page[T]]) -> list[Page[T]]:
    found = [look(None)]
    while found[-1].marker is not None:
        found.append(look(found[-1].marker))
    return found


def test_operations_come_newest_first_page_by_page(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    every = manager.list_operations(context)
    for size in (1, 2, 5, 100):
        found = pages(lambda m, n=size: manager.search_operations(context, limit=n, marker=m))  # type: ignore[misc]
        assert every[::-1] == [s.operation for page in found for s in page.items]
        assert all(size == len(page.items) for page in found[:-1])


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ({"state": "waiting"}, lambda o: o.state == "waiting"),
        ({"kind": "create"}, lambda o: o.kind == "create"),
        ({"backend": "lab"}, lambda o: True),
        ({"backend": "other"}, lambda o: False),
        ({"state": "succeeded", "kind": "attach"}, lambda o: o.phase == "attach_volume"),
        ({"kind": "attach", "backend": "lab"}, lambda o: o.kind == "attach"),
    ],
)
def test_filters_are_met_on_every_page(
    manager: VolumeManager,
    context: RequestContext,
    used: list[Volume],
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, str],
    holds: Callable[[Operation], bool],
) -> None:
    """When a page may look at two rows only, too."""
    expected = [o for o in manager.list_operations(context)[::-1] if holds(o)]
    for examined in (2000, 2):
        monkeypatch.setattr(search, "EXAMINED", examined)
        found = pages(
            lambda m: manager.search_operations(context, **wanted, limit=1, marker=m)  # type: ignore[arg-type]
        )
        assert expected == [s.operation for page in found for s in page.items]


def test_a_page_looks_at_so_many_rows_and_leads_on(
    manager: VolumeManager,
    context: RequestContext,
    used: list[Volume],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "EXAMINED", 2)
    page = manager.search_operations(context, kind="create", backend="other")
    assert () == page.items
    assert page.marker is not None


def test_a_text_is_the_beginning_of_an_id_or_of_a_name(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    def volumes(text: str) -> set[str | None]:
        return {v.name for v in manager.search_volumes(context, text=text).items}

    assert {"db-1", "db-2"} == volumes("db-")
    assert {"db-2"} == volumes("db-2")
    assert {"Web_%"} == volumes("Web_%")
    assert {"Web_%"} == volumes(used[2].id[:8].upper())
    assert {"Web_%"} == volumes(used[2].id)
    assert set() == volumes("%") == volumes("eb") == volumes("web") == volumes(NEVER)
    assert 3 == len(volumes(""))


def test_operations_are_found_by_their_volume_too(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    mine = manager.list_operations(context, volume_id=used[0].id)[::-1]
    for text in ("db-1", used[0].id, used[0].id[:13]):
        for size in (1, 50):
            found = pages(
                lambda m, n=size, t=text: manager.search_operations(  # type: ignore[misc]
                    context, text=t, limit=n, marker=m
                )
            )
            assert mine == [s.operation for page in found for s in page.items]
    both = manager.search_operations(context, text="db-", kind="attach").items
    assert [used[1].id, used[0].id] == [s.operation.volume_id for s in both]
    assert ["db-2", "db-1"] == [s.volume_name for s in both]
    (one,) = manager.search_operations(context, text=mine[0].id[:10]).items
    assert mine[0] == one.operation
    assert () == manager.search_operations(context, text=NEVER).items


def test_what_a_text_finds_too_often_is_said_to_be_cut(
    manager: VolumeManager,
    context: RequestContext,
    used: list[Volume],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not manager.search_operations(context, text="db-").cut
    assert not manager.search_volumes(context, text="db-").cut
    monkeypatch.setattr(search, "VOLUMES_NAMED", 1)
    monkeypatch.setattr(search, "EXAMINED", 2)
    assert manager.search_operations(context, text="db-").cut
    assert manager.search_volumes(context, text="db-").cut


def test_volumes_come_newest_first_without_deleted_ones(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    manager.delete_volume(context, used[2].id)
    expected = [used[1].id, used[0].id]
    for given in ({}, {"backend": "lab"}, {"text": "db-"}):
        found = pages(
            lambda m, g=given: manager.search_volumes(context, **g, limit=1, marker=m)  # type: ignore[misc]
        )
        assert expected == [v.id for page in found for v in page.items]
    assert [used[0].id] == [v.id for v in manager.search_volumes(context, status="in-use").items]
    assert () == manager.search_volumes(context, status="in-use", backend="other").items
    assert () == manager.search_volumes(context, text="Web").items


@pytest.mark.parametrize(
    "wanted", [{"state": "x"}, {"kind": ""}, {"volume_id": "1"}, {"limit": 0}, {"text": "\0"}]
)
def test_bad_arguments_are_refused(
    manager: VolumeManager, context: RequestContext, wanted: dict[str, str]
) -> None:
    with pytest.raises(exceptions.InvalidInput):
        manager.search_operations(context, **wanted)  # type: ignore[arg-type]


def test_a_page_goes_on_after_something_that_is_there(
    manager: VolumeManager, context: RequestContext
) -> None:
    for search_ in (manager.search_operations, manager.search_volumes):
        with pytest.raises(exceptions.InvalidInput, match=UNKNOWN):
            search_(context, marker=UNKNOWN)


def test_an_unreadable_row_is_named_and_hides_no_other(
    manager: VolumeManager, context: RequestContext, used: list[Volume], hand: object
) -> None:
    broken = manager.list_operations(context)[0].id
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE operations SET arguments = 'x' WHERE id = '{broken}'")
    page = manager.search_operations(context)
    assert (broken,) == page.unreadable
    assert 4 == len(page.items)


def test_counts_are_by_state_and_end_somewhere(
    manager: VolumeManager,
    context: RequestContext,
    used: list[Volume],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = manager.counts(context)
    assert (4, 1, 0) == tuple(found.operations[OperationState(s)] for s in _SOME)
    assert (1, 1, 1) == tuple(found.volumes[VolumeStatus(s)] for s in _STATUSES)
    manager.delete_volume(context, used[2].id)
    assert 0 == manager.counts(context).volumes[VolumeStatus.AVAILABLE]
    assert 0 == manager.counts(context).volumes[VolumeStatus.DELETING]
    monkeypatch.setattr(search, "COUNTED", 2)
    found = manager.counts(context)
    assert found.operations[OperationState.SUCCEEDED] == found.most + 1


_SOME = ("succeeded", "waiting", "running")
_STATUSES = ("available", "attaching", "in-use")


def test_backends_are_told_with_what_they_do(
    open_manager: OpenManager, context: RequestContext, used: list[Volume]
) -> None:
    manager = open_manager(max_running={"quiet": 3}, board="sql:")
    manager.submit_attach(context, used[2].id, HOST_A)
    lab, quiet = manager.list_backends(context)
    assert [lab.name, quiet.name] == manager.list_backend_names(context)
    assert ("lab", 3, 0, 1, None, ()) == (
        lab.name,
        lab.volumes,
        lab.running,
        lab.queued,
        lab.max_running,
        lab.conductors,
    )
    assert ("quiet", 0, 3) == (quiet.name, quiet.volumes, quiet.max_running)


def test_changes_name_what_changed_and_its_volume(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    seen = manager.changes()
    assert not seen
    assert not manager.changes(seen.mark)
    manager.detach_volume(context, used[0].id)
    found = manager.changes(seen.mark)
    assert found.operations == {manager.list_operations(context)[-1].id}
    assert found.volumes == {used[0].id}
    assert not manager.changes(found.mark)


def test_changes_without_an_event_are_seen(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    """When a deadline moves, and when a volume that is watched goes into maintenance."""
    seen = manager.changes(volumes=[used[2].id]).mark
    manager.set_maintenance(context, used[2].id, True)
    assert {used[2].id} == manager.changes(seen, volumes=[used[2].id]).volumes
    assert not manager.changes(seen)
    manager.initialize_connection(context, used[1].id, HOST_A)
    seen = manager.changes().mark
    manager.initialize_connection(context, used[1].id, HOST_A)
    assert {used[1].id} == manager.changes(seen).volumes


def test_an_event_that_is_committed_late_is_seen(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    """When a transaction took its id before another one that was seen already."""
    old = manager.list_operations(context)[0].id
    with manager.database.engine.begin() as connection:
        (last,) = connection.exec_driver_sql("SELECT max(id) FROM events").one()
        connection.exec_driver_sql(f"DELETE FROM events WHERE id = {last - 1}")
    seen = manager.changes().mark
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO events (id, operation_id, at, epoch, step, what)"
            f" VALUES ({last - 1}, '{old}', 0, 1, 'a', 'success')"
        )
    assert {old} == manager.changes(seen).operations


def test_a_conductor_that_begins_or_ends_is_a_change(
    open_manager: OpenManager, context: RequestContext
) -> None:
    manager = open_manager(board="sql:")
    seen = manager.changes().mark
    conductor = manager.conductor("c1", ["lab"], 1)
    conductor.start()
    until(lambda: manager.changes(seen).conductors, "a conductor that begins is a change")
    began = manager.changes(seen)
    conductor.stop()
    assert conductor.wait(30)
    assert manager.changes(began.mark).conductors


def test_each_step_stands_somewhere_and_calls_to_come_are_named(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    owner = manager.get_volume(context, used[1].id).operation_id
    assert owner is not None
    began, *to_come = manager.operation_flow(context, owner)
    assert ("reserve_volume", "SUCCESS") == (began.phase, began.state)
    assert [("update-status", "SUCCESS", False)] == [*began.steps]
    assert ["initialize_connection", "attach"] == [flow.phase for flow in to_come]
    assert {None} == {flow.state for flow in to_come}
    manager.initialize_connection(context, used[1].id, HOST_A)
    manager.attach(context, used[1].id, None, "a", None)
    flows = manager.operation_flow(context, owner)
    assert ["SUCCESS"] * 3 == [flow.state for flow in flows]


def test_an_undone_attempt_is_followed_by_the_call_that_has_to_be_repeated(
    manager: VolumeManager, context: RequestContext, used: list[Volume], faulty: FaultyDriver
) -> None:
    faulty.faults.append(Fault("initialize_connection", "before", exceptions.DriverError("no")))
    with pytest.raises(exceptions.DriverError):
        manager.initialize_connection(context, used[1].id, HOST_A)
    owner = manager.get_volume(context, used[1].id).operation_id
    assert owner is not None
    flows = manager.operation_flow(context, owner)
    assert [
        ("reserve_volume", "SUCCESS"),
        ("initialize_connection", "REVERTED"),
        ("initialize_connection", None),
        ("attach", None),
    ] == [(flow.phase, flow.state) for flow in flows]
    manager.unreserve_volume(context, used[1].id)
    assert all(flow.state for flow in manager.operation_flow(context, owner))


def test_a_retry_does_not_wait_for_the_backoff(
    manager: VolumeManager, context: RequestContext, attached: Volume, faulty: FaultyDriver
) -> None:
    refusal = Fault("terminate_connection", "before", exceptions.DriverError("no"), times=None)
    faulty.faults.append(refusal)
    with pytest.raises(exceptions.RollbackIncomplete):
        manager.detach_volume(context, attached.id, force=True)
    owner = manager.get_volume(context, attached.id).operation_id
    assert owner is not None
    refused = manager.retry_operation(context, owner)
    assert OperationState.NEEDS_ATTENTION is refused.state
    standing = manager.operation_standing(context, owner)
    assert standing.retry_at is not None
    assert standing.retry_at > standing.now
    faulty.faults.remove(refusal)
    assert OperationState.SUCCEEDED is manager.retry_operation(context, owner).state


def test_a_retry_leaves_alone_what_is_not_due(
    manager: VolumeManager, context: RequestContext, used: list[Volume], driver: Telling
) -> None:
    driver.forget()
    for operation in manager.list_operations(context):
        assert operation == manager.retry_operation(context, operation.id)
    with pytest.raises(exceptions.OperationNotFound):
        manager.retry_operation(context, UNKNOWN)


def test_past_attachments_come_last_first(
    manager: VolumeManager, context: RequestContext, attached: Volume
) -> None:
    (first,) = manager.list_attachments(context, attached.id)
    assert [] == manager.past_attachments(context, attached.id)
    manager.detach_volume(context, attached.id)
    second = manager.attach_volume(context, attached.id, HOST_A, host_name="a")
    manager.detach_volume(context, attached.id)
    assert [second.id, first.id] == [a.id for a in manager.past_attachments(context, attached.id)]
    assert [second.id] == [a.id for a in manager.past_attachments(context, attached.id, 1)]


def test_the_end_of_a_timeline_is_in_order(
    manager: VolumeManager, context: RequestContext, attached: Volume
) -> None:
    attach = manager.list_operations(context)[-1].id
    every = manager.operation_timeline(context, attach)
    for last in (1, 3, len(every), 1000):
        assert every[-last:] == manager.operation_timeline(context, attach, last)
    with pytest.raises(exceptions.InvalidInput):
        manager.operation_timeline(context, attach, 0)


def test_what_somebody_should_have_brought_on_is_told_oldest_first(
    manager: VolumeManager, context: RequestContext, used: list[Volume]
) -> None:
    """When a caller did not come back, and when an owner showed no life for its lease."""
    assert [] == manager.stranded_operations(context)
    manager.reserve_volume(context, used[2].id)
    first, second = (
        o.id for o in manager.list_operations(context, state="waiting") if o.kind == "attach"
    )
    with manager.database.engine.begin() as connection:
        for change, key in (("deadline = 1", second), ("state = 'running'", first)):
            connection.exec_driver_sql(
                f"UPDATE operations SET {change}, lease_expires_at = 1 WHERE id = '{key}'"
            )
    found = manager.stranded_operations(context)
    assert [first, second] == [s.operation.id for s in found]
    assert [(True, False), (False, True)] == [(s.abandoned, s.overdue) for s in found]
    assert [first] == [s.operation.id for s in manager.stranded_operations(context, limit=1)]
