"""The unit of work: one transaction, its fence first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select, update

from volflow.exceptions import Fenced
from volflow.models import OperationState
from volflow.persistence import migrate, operations, schema
from volflow.persistence.engine import Database
from volflow.persistence.work import Cancelled, Claim, FromNow, Stale, UnitOfWork, new_id
from volflow.testing.points import Points, lost_reply

OPERATION = "11111111-1111-1111-1111-111111111111"
VOLUME = "22222222-2222-2222-2222-222222222222"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'volflow.db'}", patience=5)
    migrate.prepare(found)
    yield found
    found.close()


def work(database: Database, claim: Claim | None, epoch: int, revision: int) -> UnitOfWork:
    return UnitOfWork(database, OPERATION, "me", 60, claim, epoch, revision)


def first(database: Database) -> UnitOfWork:
    """A run that created a volume, with its first commit done."""
    found = work(database, Claim(new=True), 1, 0)
    found.set_operation(
        kind="create",
        state="running",
        phase="create_volume",
        volume_id=VOLUME,
        backend="lab",
        arguments={},
        attempts=0,
        cancel_requested=False,
        created_at=FromNow(),
    )
    found.insert(
        "volumes",
        VOLUME,
        size_gib=1,
        backend="lab",
        status="creating",
        attach_status="detached",
        multiattach=False,
        readonly=False,
        revision=0,
        created_at=FromNow(),
        updated_at=FromNow(),
    )
    found.event("a step", "running")
    found.commit()
    return found


def volume(database: Database) -> Any:
    with database.read() as connection:
        return connection.execute(select(schema.volumes)).mappings().one()


def stored(database: Database) -> operations.StoredOperation:
    with database.read() as connection:
        found = operations.get(connection, OPERATION)
    assert found is not None
    return found


def take_over(database: Database, seen: operations.StoredOperation, owner: str) -> bool:
    running = OperationState.RUNNING
    return database.write(lambda c: operations.take_over(c, seen, owner, new_id(), 60, running))


def test_nothing_is_written_before_the_commit(database: Database) -> None:
    run = first(database)
    run.update("volumes", VOLUME, {"revision": 0}, status="available", revision=1)
    assert "creating" == volume(database)["status"]
    run.commit()
    assert ("available", 1) == (volume(database)["status"], volume(database)["revision"])


def test_each_commit_extends_the_lease_and_the_last_gives_it_up(database: Database) -> None:
    run = first(database)
    assert "me" == stored(database).record.owner
    assert not stored(database).lease_expired
    run.commit(release=True)
    assert stored(database).record.owner is None
    assert stored(database).lease_expired


def test_changes_of_a_row_between_two_commits_are_one_statement(database: Database) -> None:
    run = first(database)
    points = Points()
    with points.watching(database):
        run.update("volumes", VOLUME, {"revision": 0}, revision=1, status="available")
        run.update("volumes", VOLUME, {"revision": 0}, revision=1, provider_location="here")
        run.commit()
    assert 2 == points.reached.count("statement UPDATE")
    assert ("available", "here") == (
        volume(database)["status"],
        volume(database)["provider_location"],
    )


def test_a_run_that_was_taken_over_commits_nothing(database: Database) -> None:
    """Application rows included."""
    run = first(database)
    seen = stored(database)
    assert database.write(
        lambda c: operations.take_over(c, seen, "another", new_id(), 60, OperationState.RUNNING)
    )
    run.update("volumes", VOLUME, {"revision": 0}, revision=1, status="available")
    with pytest.raises(Fenced, match="another"):
        run.commit()
    assert "creating" == volume(database)["status"]
    assert "another" == stored(database).record.owner


def test_of_two_takeovers_one_succeeds(database: Database) -> None:
    first(database)
    seen = stored(database)
    assert take_over(database, seen, "a")
    assert not database.write(
        lambda c: operations.take_over(c, seen, "b", new_id(), 60, OperationState.RUNNING)
    )
    assert ("a", 2) == (stored(database).record.owner, stored(database).record.epoch)


def test_an_owner_that_showed_life_keeps_its_operation(database: Database) -> None:
    """When the heartbeat renewed the lease after it was read as expired."""
    first(database)
    seen = stored(database)
    assert database.write(lambda c: operations.renew(c, OPERATION, 1, 120))
    assert not database.write(
        lambda c: operations.take_over(c, seen, "another", new_id(), 60, OperationState.RUNNING)
    )


def test_a_row_that_changed_is_stale_and_nothing_is_written(database: Database) -> None:
    run = first(database)
    run.set_operation(phase="changed")
    run.update("volumes", VOLUME, {"revision": 7}, status="available")
    with pytest.raises(Stale):
        run.commit()
    assert "create_volume" == stored(database).record.phase


def test_an_operation_that_exists_is_not_made_again(database: Database) -> None:
    first(database)
    with pytest.raises(Stale):
        first(database)


def test_a_cancelled_run_hears_of_it_at_its_barrier(database: Database) -> None:
    run = first(database)
    assert database.write(lambda c: operations.request_cancel(c, OPERATION, 1))
    with pytest.raises(Cancelled):
        run.commit()
    run.cancellable = False
    run.commit()


def test_a_commit_whose_reply_was_lost_is_done_once(database: Database) -> None:
    """When it landed, and when it did not: the timeline tells how often it was written."""
    run = first(database)
    order = ["BEGIN", "UPDATE", "INSERT", "commit before", "commit after"]
    for name in ("commit before", "commit after"):
        points = Points(order.index(name))
        points.error = lost_reply
        run.event(name, "running")
        with points.watching(database):
            run.commit()
        assert name == points.struck
    with database.read() as connection:
        steps = [event.step for event in operations.timeline(connection, OPERATION)]
    assert ["a step", "commit before", "commit after"] == steps


def test_the_first_commit_is_done_once_too(database: Database) -> None:
    """When the reply to the INSERT of the operation was lost, it is not its own rival."""
    points = Points(3)
    points.error = lost_reply
    counted = Points()
    with counted.watching(database):
        first(database)
    database.write(lambda c: c.exec_driver_sql("DELETE FROM operations"))
    database.write(lambda c: c.exec_driver_sql("DELETE FROM volumes"))
    points = Points(counted.reached.index("commit after"))
    points.error = lost_reply
    with points.watching(database):
        run = first(database)
    assert "commit after" == points.struck
    assert 1 == run.commits


def test_the_events_of_a_commit_are_one_execution_and_keep_their_order(
    database: Database,
) -> None:
    """Several executions would be a pipeline, which lets a transaction sit idle for ever."""
    run = first(database)
    many: list[bool] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: many.append(given[5]))
    for number in range(12):
        run.event(f"step {number}", "running", f"detail {number}" if number else None)
    run.commit()
    assert many
    assert not any(many)
    with database.read() as connection:
        found = operations.timeline(connection, OPERATION)[-12:]
    assert [f"step {number}" for number in range(12)] == [e.step for e in found]
    assert [None, "detail 1"] == [e.detail for e in found[:2]]


def test_a_claim_takes_what_waits_once(database: Database) -> None:
    run = first(database)
    run.set_operation(state="waiting")
    run.commit(release=True)
    seen = stored(database)
    for expected in (None, Stale):
        claim = Claim(False, seen.record.epoch, seen.revision)
        rival = work(database, claim, seen.record.epoch + 1, seen.revision)
        rival.set_operation(state="running")
        if expected is None:
            rival.commit()
        else:
            with pytest.raises(expected):
                rival.commit()


def test_a_lease_of_a_clock_that_was_set_back_is_expired(database: Database) -> None:
    """It ends further ahead than its own length."""
    first(database)
    far = {"lease_expires_at": stored(database).record.lease_expires_at, "lease_length": 1}
    change = update(schema.operations).values(far)
    database.write(lambda c: c.execute(change))
    assert stored(database).lease_is_off
