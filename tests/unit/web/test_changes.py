"""What an operator may change: retry, cancel, compare, repair."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from tests.contract.lab import HOST_A
from tests.unit.web.conftest import Backends, said, sentence, word
from volflow import RequestContext, Volume, VolumeManager, exceptions
from volflow.models import OperationState, VolumeStatus
from volflow.testing import Fault, FaultyDriver, MemoryDriver


def post(client: TestClient, path: str, **given: str) -> tuple[int, str]:
    """Send the form of a page as a browser does; return the status and where it leads, or says."""
    asked = path if path != "/reconcile" else "/reconcile?backend=lab"
    answer = client.post(path, data={"form_word": word(client, asked), **given})
    return answer.status_code, answer.headers.get("location") or answer.text


def test_a_cancel_undoes_what_waits(
    operator: TestClient,
    manager: VolumeManager,
    context: RequestContext,
    stock: dict[str, Volume],
    owner: Callable[[str], str],
    backend: MemoryDriver,
    acting: Backends,
) -> None:
    path = f"/operations/{owner('waits')}"
    assert (303, path) == post(operator, f"{path}/cancel")
    assert [["lab"]] == acting.asked
    found = manager.get_operation(context, owner("waits"))
    assert OperationState.ROLLED_BACK is found.state
    assert stock["waits"].id not in backend.exports
    assert "cancelled" in said(operator.get(path).text)


def test_a_cancel_of_what_is_queued_needs_no_driver(
    operator: TestClient,
    manager: VolumeManager,
    context: RequestContext,
    stock: dict[str, Volume],
    owner: Callable[[str], str],
    acting: Backends,
) -> None:
    """When its backend is down."""
    post(operator, f"/operations/{owner('queued')}/cancel")
    assert [[]] == acting.asked
    volume = manager.get_volume(context, stock["queued"].id)
    assert VolumeStatus.AVAILABLE is volume.status


def test_a_cancel_of_what_runs_is_shown_until_its_next_step(
    operator: TestClient,
    manager: VolumeManager,
    owner: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(manager.leases), "is_dead", lambda *_: False)
    path = f"/operations/{owner('died')}"
    assert 303 == post(operator, f"{path}/cancel")[0]
    page = operator.get(path).text
    assert "it was cancelled, and is undone at its next step" in said(page)
    assert "/cancel" not in page.replace(f"volflow operation cancel {owner('died')}", "")


def test_a_cancel_that_only_goes_forward_is_refused(
    operator: TestClient,
    manager: VolumeManager,
    context: RequestContext,
    stock: dict[str, Volume],
    faulty: FaultyDriver,
) -> None:
    refusal = exceptions.DriverError("no")
    faulty.faults.append(Fault("terminate_connection", "before", refusal, times=None))
    with pytest.raises(exceptions.RollbackIncomplete):
        manager.detach_volume(context, stock["used"].id, force=True)
    forced = manager.get_volume(context, stock["used"].id).operation_id
    status, page = post(operator, f"/operations/{forced}/cancel")
    assert 400 == status
    assert "is a forced detach: it goes on" in sentence(page)


def test_a_retry_mends_what_was_refused(
    operator: TestClient,
    manager: VolumeManager,
    context: RequestContext,
    stock: dict[str, Volume],
    owner: Callable[[str], str],
    backend: MemoryDriver,
) -> None:
    path = f"/operations/{owner('ails')}"
    assert (303, path) == post(operator, f"{path}/retry")
    assert VolumeStatus.AVAILABLE is manager.get_volume(context, stock["ails"].id).status
    assert stock["ails"].id not in backend.exports
    assert "volflow recover" not in operator.get(path).text


def test_a_retry_that_is_refused_again_shows_why(
    operator: TestClient,
    owner: Callable[[str], str],
    faulty: FaultyDriver,
    stock: dict[str, Volume],
) -> None:
    refusal = exceptions.ExportFailed("still no way out")
    faulty.faults.append(Fault("remove_export", "before", refusal, times=None))
    path = f"/operations/{owner('ails')}"
    assert 303 == post(operator, f"{path}/retry")[0]
    text = said(operator.get(path).text)
    assert "still no way out" in text
    assert "tried in vain" in text


def test_a_backend_that_is_down_is_said_to_be(
    operator: TestClient,
    owner: Callable[[str], str],
    acting: Backends,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def down(_: object) -> None:
        raise exceptions.DriverError("backend 'lab' cannot be set up: no route to it")

    form = word(operator, f"/operations/{owner('ails')}/retry")
    monkeypatch.setattr(Backends, "__call__", lambda self, backends: down(backends))
    for path in (f"/operations/{owner('ails')}/retry", "/reconcile"):
        answer = operator.post(path, data={"form_word": form})
        assert 502 == answer.status_code
        assert "no route to it" in sentence(answer.text)


def test_a_comparison_changes_nothing_and_a_repair_does(
    operator: TestClient,
    manager: VolumeManager,
    context: RequestContext,
    stock: dict[str, Volume],
    backend: MemoryDriver,
    acting: Backends,
) -> None:
    del backend.exports[stock["used"].id], backend.acls[stock["used"].id]
    status, page = post(operator, "/reconcile", backend="lab")
    assert 200 == status
    assert "export-missing" in said(page)
    assert stock["used"].id not in backend.exports
    assert "/reconcile?repair=yes&amp;backend=lab" in page
    form = word(operator, "/reconcile?repair=yes&backend=lab")
    answer = operator.post(
        "/reconcile", data={"form_word": form, "backend": "lab", "repair": "yes"}
    )
    assert "✓ repaired export-missing" in said(answer.text)
    assert stock["used"].id in backend.exports
    assert [["lab"], ["lab"]] == acting.asked


def test_a_repair_spares_a_live_session_unless_it_is_forced(
    operator: TestClient,
    manager: VolumeManager,
    context: RequestContext,
    backend: MemoryDriver,
) -> None:
    made = manager.create_volume(context, size_gib=1, backend="lab")
    info = manager.attach_volume(context, made.id, HOST_A, host_name="a").connection_info
    backend.login(info, HOST_A["initiator"])
    with manager.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE attachments SET detached_at = 1")
        connection.exec_driver_sql("UPDATE volumes SET status = 'available'")
    form = word(operator, "/reconcile?repair=yes")
    given = {"form_word": form, "repair": "yes"}
    text = said(operator.post("/reconcile", data=given).text)
    assert "A session is live on it" in text
    assert "Not repaired" in text
    assert made.id in backend.exports
    operator.post("/reconcile", data=given | {"force": "yes"})
    assert made.id not in backend.exports


def test_where_nothing_differs_that_is_said(operator: TestClient) -> None:
    status, page = post(operator, "/reconcile")
    assert 200 == status
    assert "Nothing differs." in page
