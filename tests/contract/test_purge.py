"""What ended long ago is archived and deleted; what somebody needs stays."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.conftest import OpenManager
from tests.contract.lab import HOST_A
from tests.contract.test_comparison import Bent
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.persistence import history
from volflow.testing import MemoryDriver
from volflow.testing.invariants import violations

DAY = 86400.0

pytestmark = pytest.mark.sqlite


@pytest.fixture
def clock() -> Bent:
    return Bent()


@pytest.fixture
def manager(open_manager: OpenManager, clock: Bent) -> VolumeManager:
    return open_manager(clock=clock, reservation_deadline_seconds=None)


def used(manager: VolumeManager, context: RequestContext, volume: Volume) -> None:
    manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    manager.detach_volume(context, volume.id)


def purged(
    manager: VolumeManager, seconds: float = DAY, archive: Path | None = None
) -> Counter[str]:
    found: Counter[str] = Counter()
    if archive is None:
        for table, count in manager.purge(seconds):
            found[table] += count
        return found
    with archive.open("a") as file:
        for table, count in manager.purge(seconds, file):
            found[table] += count
    return found


def test_what_is_settled_goes_and_what_is_used_stays(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    clock: Bent,
    volume: Volume,
) -> None:
    """An attached volume keeps its attachment, whoever attached it how long ago."""
    used(manager, context, volume)
    attachment = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    clock.ahead = 2 * DAY

    assert {"operations": 4, "attachments": 1} == purged(manager)

    assert [] == manager.list_operations(context)
    assert [attachment.id] == [a.id for a in manager.list_attachments(context, live=False)]
    assert [] == violations(manager, backend, "lab")
    manager.detach_volume(context, volume.id)
    assert {} == backend.exports


def test_a_deleted_volume_goes_with_all_that_it_had(
    manager: VolumeManager, context: RequestContext, clock: Bent, volume: Volume
) -> None:
    used(manager, context, volume)
    manager.delete_volume(context, volume.id)
    clock.ahead = 2 * DAY
    assert {"operations": 4, "attachments": 1, "volumes": 1} == purged(manager)
    with manager.database.read() as connection:
        for table in ("volumes", "attachments", "operations", "events"):
            count = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            assert 0 == count, table


def test_what_is_younger_stays(
    manager: VolumeManager, context: RequestContext, clock: Bent, volume: Volume
) -> None:
    """When it ended later, whenever it began."""
    used(manager, context, volume)
    clock.ahead = DAY - 60
    assert {} == purged(manager)
    assert 3 == len(manager.list_operations(context))


def test_what_goes_on_stays(
    manager: VolumeManager, context: RequestContext, clock: Bent, volume: Volume
) -> None:
    """When its caller takes its time."""
    manager.reserve_volume(context, volume.id)
    clock.ahead = 30 * DAY
    assert {"operations": 1} == purged(manager)
    assert 1 == len(manager.list_attachments(context, volume.id))
    manager.unreserve_volume(context, volume.id)


def test_the_archive_has_every_row_and_no_secret(
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
    clock: Bent,
    volume: Volume,
    tmp_path: Path,
) -> None:
    attachment = manager.attach_volume(context, volume.id, HOST_A, host_name="a")
    assert attachment.connection_info is not None
    manager.detach_volume(context, volume.id)
    manager.delete_volume(context, volume.id)
    wanted = {
        operation.id: len(manager.operation_timeline(context, operation.id))
        for operation in manager.list_operations(context)
    }
    clock.ahead = 2 * DAY

    purged(manager, archive=tmp_path / "kept.jsonl")

    text = (tmp_path / "kept.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert wanted.keys() == {r["id"] for r in rows if r["table"] == "operations"}
    assert wanted == Counter(r["operation_id"] for r in rows if r["table"] == "events")
    assert {volume.id} == {r["id"] for r in rows if r["table"] == "volumes"}
    assert attachment.connection_info["data"]["auth_password"] not in text
    assert not any({"provider_auth", "connection_info"} & row.keys() for row in rows)


def test_what_could_not_be_deleted_is_archived_again(
    manager: VolumeManager,
    context: RequestContext,
    clock: Bent,
    volume: Volume,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the process dies between the two, nothing is lost."""
    clock.ahead = 2 * DAY
    kept = tmp_path / "kept.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(history, "_delete", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            purged(manager, archive=kept)
    assert 1 == len(manager.list_operations(context))
    assert 1 == purged(manager, archive=kept)["operations"]
    found = [json.loads(line) for line in kept.read_text().splitlines()]
    assert 2 == sum(row["table"] == "operations" for row in found)


def test_many_go_in_batches(
    manager: VolumeManager,
    context: RequestContext,
    clock: Bent,
    volume: Volume,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "BATCH", 2)
    for _ in range(3):
        used(manager, context, volume)
    clock.ahead = 2 * DAY
    found = list(manager.purge(DAY))
    assert [2, 2, 2, 1] == [count for table, count in found if table == "operations"]


@pytest.mark.parametrize("seconds", [0, 3599, -1, float("nan")])
def test_what_a_caller_may_repeat_is_kept(manager: VolumeManager, seconds: float) -> None:
    with pytest.raises(exceptions.InvalidInput, match="3600"):
        manager.purge(seconds)
