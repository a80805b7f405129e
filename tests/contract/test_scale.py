"""What a call costs is the same however much has ended before.

Counted are the instructions of SQLite's own machine, so that a query that reads what it does not
need, or sorts it, is found whatever the computer does beside.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_A
from tests.history import grow, use
from volflow import RequestContext, VolumeManager

pytestmark = pytest.mark.sqlite
Call = Callable[[VolumeManager, RequestContext, str, str], Any]

ALLOWANCE = 1.02
"""An index that is deeper takes no more instructions; a cursor that ends elsewhere may."""


def attach_and_detach(manager, context, volume_id, operation_id):
    manager.attach_volume(context, volume_id, HOST_A, host_name="a")
    manager.detach_volume(context, volume_id)


def six_calls(manager, context, volume_id, operation_id):
    manager.reserve_volume(context, volume_id)
    manager.initialize_connection(context, volume_id, HOST_A)
    manager.attach(context, volume_id, None, "a", None)
    manager.begin_detaching(context, volume_id)
    manager.terminate_connection(context, volume_id, HOST_A)
    manager.detach(context, volume_id)


def submit(manager, context, volume_id, operation_id):
    manager.submit_attach(context, volume_id, HOST_A)
    manager.cancel_operation(context, manager.get_volume(context, volume_id).operation_id)


def cut(manager, context, volume_id, operation_id):
    manager.create_volume(context, 1, "lab")


CALLS: dict[str, Call] = {
    "attach and detach": attach_and_detach,
    "the six calls": six_calls,
    "submit and cancel": submit,
    "create": cut,
    "recover": lambda m, c, v, o: m.recover(),
    "stranded operations": lambda m, c, v, o: m.stranded_operations(c),
    "timeline": lambda m, c, v, o: m.operation_timeline(c, o),
    "get operation": lambda m, c, v, o: m.get_operation(c, o),
    "get volume": lambda m, c, v, o: m.get_volume(c, v),
    "attachments of a volume": lambda m, c, v, o: m.list_attachments(c, v),
    "live attachments": lambda m, c, v, o: m.list_attachments(c),
    "attachments of a host": lambda m, c, v, o: list(m.detach_volumes(c, "nowhere")),
    "operations": lambda m, c, v, o: m.list_operations(c, limit=10),
    "more operations": lambda m, c, v, o: m.list_operations(c, limit=10, marker=o),
    "operations that run": lambda m, c, v, o: m.list_operations(c, state="running", limit=10),
    "operations of a volume": lambda m, c, v, o: m.list_operations(c, volume_id=v, limit=2),
    "more that succeeded": lambda m, c, v, o: m.list_operations(
        c, state="succeeded", limit=10, marker=o
    ),
    "volumes": lambda m, c, v, o: m.list_volumes(c, limit=10),
    "more volumes": lambda m, c, v, o: m.list_volumes(c, limit=10, marker=v),
    "volumes of a backend": lambda m, c, v, o: m.list_volumes(c, backend="lab", limit=10),
    "more of a backend": lambda m, c, v, o: m.list_volumes(c, backend="lab", limit=10, marker=v),
    "volumes in use": lambda m, c, v, o: m.list_volumes(c, status="in-use", limit=10),
    "volumes available": lambda m, c, v, o: m.list_volumes(c, status="available", limit=10),
    "purge nothing": lambda m, c, v, o: list(m.purge(10**9)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_costs_what_it_did_before_years_of_use(
    open_manager: OpenManager, context: RequestContext, name: str
) -> None:
    """When the database holds 32 times as much, a call takes as many instructions."""
    manager = open_manager(board="sql:")
    volumes = [use(manager, context, 1, deleted) for deleted in (True, False)]
    operation = manager.list_operations(context, volume_id=volumes[1])[1].id

    def call() -> None:
        CALLS[name](manager, context, volumes[1], operation)

    call()  # what is made once is made
    manager.database.write(lambda c: grow(c, range(4)))
    few = instructions(manager, call)
    manager.database.write(lambda c: grow(c, range(4, 7)))
    manager.database.write(lambda c: grow(c, range(7, 9), volumes=False))
    assert few > 0
    assert instructions(manager, call) <= few * ALLOWANCE


def test_what_reads_everything_is_found(manager: VolumeManager, context: RequestContext) -> None:
    """When a query reads all that ended, its instructions tell."""
    use(manager, context, 1, deleted=False)

    def call() -> None:
        with manager.database.read() as connection:
            connection.exec_driver_sql("SELECT * FROM operations WHERE state NOT IN ('x')").all()

    few = instructions(manager, call)
    manager.database.write(lambda c: grow(c, range(4)))
    assert instructions(manager, call) > few * 10


def instructions(manager: VolumeManager, call: Callable[[], Any]) -> int:
    """How many instructions SQLite runs for a call."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    def watched(raw: sqlite3.Connection, *_: Any) -> None:
        raw.set_progress_handler(tick, 1)

    event.listen(manager.database.engine, "checkout", watched)
    try:
        call()
    finally:
        event.remove(manager.database.engine, "checkout", watched)
    return count
