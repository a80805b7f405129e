"""Bugs to plant in the core, each of a kind that the core must not have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from volflow import coordination, runner
from volflow.leases import Leases
from volflow.locks import FileLock
from volflow.persistence import flows, operations, schema
from volflow.persistence.work import Claim, UnitOfWork
from volflow.runner import Runner
from volflow.tasks import sessions
from volflow.tasks.run import Run

Plant = Callable[[pytest.MonkeyPatch], None]


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """A run writes whatever epoch its operation has by now."""
    fence = UnitOfWork._fence

    def blind(self: UnitOfWork, connection: Any, values: Any, revision: int) -> bool:
        if self._claim is None:
            table = schema.operations.c
            row = connection.execute(
                select(table.epoch, table.revision).where(table.id == self.operation_id)
            ).one()
            self._claim = Claim(False, row.epoch, row.revision)
        return fence(self, connection, values, revision)

    patch.setattr(UnitOfWork, "_fence", blind)


def no_volume_lock(patch: pytest.MonkeyPatch) -> None:
    """The volume's lock is taken by nobody."""

    class Open(FileLock):
        def acquire(self, timeout: float = 0.0, holder: str = "") -> None:
            """Take nothing."""

    patch.setattr(coordination, "FileLock", Open)


def no_counting_of_exports(patch: pytest.MonkeyPatch) -> None:
    """The export goes with the first attachment that goes: no run knows of others."""
    patch.setattr(
        Run, "others", property(lambda self: [], lambda self, found: None), raising=False
    )


def no_counting_of_initiators(patch: pytest.MonkeyPatch) -> None:
    """The access goes although another attachment of the host needs it."""
    patch.setattr(Run, "shares_access", lambda self: False)


def no_conditional_update(patch: pytest.MonkeyPatch) -> None:
    """A volume is changed however it looks by now."""
    update = UnitOfWork.update

    def careless(self: UnitOfWork, table: str, key: str, expected: Any, **values: Any) -> None:
        update(self, table, key, {}, **values)

    patch.setattr(UnitOfWork, "update", careless)


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    """An effect is made before it is written down."""
    barrier = Run._barrier

    def late(self: Run, step: Any, undo: bool) -> None:
        if undo:
            barrier(self, step, undo)
        else:
            step.prepare(self)
            self._lock.acquire(self._lock_seconds, "")

    patch.setattr(Run, "_barrier", late)


def no_undo_of_what_died(patch: pytest.MonkeyPatch) -> None:
    """What was running when its process died is taken for not begun."""
    patch.setattr(flows, "_NO_EFFECT", flows._NO_EFFECT | {"RUNNING"})


def no_look_at_sessions(patch: pytest.MonkeyPatch) -> None:
    """An undo cuts whoever is logged in."""
    patch.setattr(sessions, "_cuts", lambda run: True)


def no_memory_of_commits(patch: pytest.MonkeyPatch) -> None:
    """A commit whose reply was lost is taken for one that did not happen."""
    patch.setattr(UnitOfWork, "_landed", lambda self, connection, revision: False)


def no_end_of_leases(patch: pytest.MonkeyPatch) -> None:
    """Nobody notices that a lease has ended, or that its owner is dead."""
    patch.setattr(operations.StoredOperation, "lease_expired", property(lambda self: False))
    patch.setattr(Leases, "is_dead", lambda self, owner, operation_id: False)


def release_of_others(patch: pytest.MonkeyPatch) -> None:
    """A run that failed gives up an operation that another one has by now."""
    release = operations.release

    def anybody(connection: Any, operation_id: str, epoch: int, owner: str) -> bool:
        found = operations.get(connection, operation_id)
        taken = None if found is None else found.record.owner
        return release(connection, operation_id, epoch, taken or owner)

    patch.setattr(operations, "release", anybody)


class _AnyEpoch(int):
    """An epoch that is like every other."""

    __hash__ = int.__hash__

    def __ne__(self, other: object) -> bool:
        return False


def adoption_of_others(patch: pytest.MonkeyPatch) -> None:
    """A run that stood still after its takeover goes on in whatever epoch it finds."""
    found = runner._operation

    def careless(snapshot: Any) -> Any:
        stored = found(snapshot)
        return replace(stored, record=replace(stored.record, epoch=_AnyEpoch(stored.record.epoch)))

    patch.setattr(runner, "_operation", careless)


def cancelled_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Whoever takes a cancelled operation over goes on with it, and is turned away."""
    resume = Runner.resume

    def forward(self: Runner, seen: Any, *given: Any, **options: Any) -> Any:
        return resume(self, replace(seen, cancel_requested=False), *given, **options)

    patch.setattr(Runner, "resume", forward)
