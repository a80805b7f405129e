"""What a soak looks at: each thing that may break a guarantee is found where it is there."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.contract.lab import until
from volflow import VolumeManager
from volflow.exceptions import Fenced
from volflow.persistence import schema
from volflow.testing import Fault, FaultyDriver, MemoryDriver
from volflow.testing.scenarios import CONTEXT, HOST_A, HOST_B
from volflow.testing.soak import Figures, journal
from volflow.testing.soak.deaths import Deaths, runs_of
from volflow.testing.soak.figures import percentiles
from volflow.testing.soak.journal import Answer, Call, History, Journal
from volflow.testing.soak.plan import BACKEND, Plan
from volflow.testing.soak.verdict import complaints, fenced, judge, unsettled
from volflow.testing.soak.watcher import Watcher


@pytest.fixture
def backend() -> MemoryDriver:
    return MemoryDriver()


@pytest.fixture
def manager(tmp_path: Path, backend: MemoryDriver) -> Iterator[VolumeManager]:
    url = f"sqlite:///{tmp_path / 'volflow.db'}"
    with VolumeManager(url, drivers={BACKEND: backend}, recover=False) as found:
        yield found


@pytest.fixture
def volume_id(manager: VolumeManager) -> str:
    return manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND).id


@pytest.fixture
def call(volume_id: str) -> Call:
    """An attach."""
    given = {"volume_id": volume_id, "connector": HOST_A, "instance_uuid": str(uuid.uuid4())}
    return Call("attach_volume", str(uuid.uuid4()), given)


@pytest.fixture
def attached(manager: VolumeManager, call: Call) -> Answer:
    """What its caller was told."""
    found = manager.attach_volume(CONTEXT, operation_id=call.key, **call.arguments)
    return Answer(found.id)


def judged(manager: VolumeManager, backend: MemoryDriver, call: Call, *answers: Answer) -> Figures:
    figures = Figures()
    history = History({call.key: call}, {call.key: list(answers)}, [], [])
    judge(manager, backend, history, figures)
    return figures


def test_what_is_as_callers_were_told_is_in_order(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    """Also where an earlier answer left the outcome open, or there was none."""
    unknown = Answer(None, "DatabaseError", "gone")
    for answers in ((attached,), (unknown, attached), ()):
        figures = judged(manager, backend, call, *answers)
        assert [] == figures.violations
        assert 1 == figures.answers_repeated
    assert {"attach: succeeded": 1, "create: succeeded": 1} == figures.operations
    assert {"attach_volume: unanswered": 1} == figures.calls


def test_an_accepted_call_that_is_not_there_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call
) -> None:
    refused = Answer(None, "InvalidVolume", "no")
    assert [] == judged(manager, backend, call, refused).violations
    (found,) = judged(manager, backend, call, Answer("ok")).violations
    assert found.startswith("G5: ")
    assert "has no such operation" in found


@pytest.mark.parametrize("wrong", [Answer("another"), Answer(None, "ConnectionFailed")])
def test_another_answer_to_the_same_operation_id_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer, wrong: Answer
) -> None:
    (found,) = judged(manager, backend, call, wrong).violations
    assert f"{call.key} had the answers" in found


def test_an_operation_that_is_not_settled_is_found(
    manager: VolumeManager, backend: MemoryDriver, volume_id: str
) -> None:
    key = str(uuid.uuid4())
    manager.reserve_volume(CONTEXT, volume_id, operation_id=key)
    reserve = Call("reserve_volume", key, {"volume_id": volume_id})
    (found,) = judged(manager, backend, reserve, Answer("ok")).violations
    assert f"G1: reserve_volume {key} is waiting" == found
    assert [key] == [sentence.split()[2] for sentence in unsettled(manager)]


def test_a_stuck_volume_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    """When nobody owns it any more, and when its status is not what its attachments say."""
    volume_id = call.arguments["volume_id"]
    for status, found in (("detaching", "nobody owns it"), ("available", "not Derived")):
        change = update(schema.volumes).values(status=status)
        manager.database.write(lambda c: c.execute(change))  # noqa: B023
        stuck = judged(manager, backend, call, attached).violations
        assert f"G1: volume {volume_id} is {status}" in stuck[0]
        assert found in stuck[0]


def test_an_attachment_that_a_caller_was_told_of_is_there(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    """Also where it was detached since."""
    manager.detach_volume(CONTEXT, call.arguments["volume_id"])
    figures = Figures()
    judge(manager, backend, History({}, {}, [], [], [str(attached.value), "another"]), figures)
    (found,) = figures.violations
    assert "G5: a caller was told of attachment another, and the database has none" == found


def test_a_double_attach_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call
) -> None:
    """When two attachments were let in that must not be there together."""
    volume = manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND, multiattach=True)
    for host in (HOST_A, HOST_B):
        manager.attach_volume(CONTEXT, volume.id, host)
    assert [] == judged(manager, backend, call).violations
    change = update(schema.volumes).values(multiattach=False)
    manager.database.write(lambda c: c.execute(change))
    (found,) = judged(manager, backend, call).violations
    assert f"G3: volume {volume.id} has 2 attachments" == found


def test_an_export_that_is_gone_or_that_is_nobodys_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    """Backend and database are held against each other both ways."""
    volume_id = call.arguments["volume_id"]
    lost = dict(backend.exports)
    backend.restart_target()
    (found,) = judged(manager, backend, call, attached).violations
    assert f"G3: volume {volume_id} is attached and not exported" == found
    manager.detach_volume(CONTEXT, volume_id)
    backend.exports.update(lost)
    (found,) = judged(manager, backend, call).violations
    assert f"G2: volume {volume_id} is exported for nobody" == found


def test_what_the_backend_has_too_much_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    backend.acls[call.arguments["volume_id"]].add(HOST_B["initiator"])
    (found,) = judged(manager, backend, call, attached).violations
    assert found.startswith("G2: ")


@pytest.fixture
def in_the_middle(
    backend: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], None]], None]:
    """Has something done each time that an attach is in the middle of its driver's call."""
    connect = backend.initialize_connection

    def have(what: Callable[[], None]) -> None:
        def meddled(*given: Any) -> Any:
            what()
            return connect(*given)

        monkeypatch.setattr(backend, "initialize_connection", meddled)

    return have


def test_takeovers_and_fenced_commits_are_counted(
    manager: VolumeManager,
    backend: MemoryDriver,
    call: Call,
    in_the_middle: Callable[[Callable[[], None]], None],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    """When a run goes on whose operation another one has taken and left, whom a third follows."""
    table = schema.operations
    change = update(table).values(epoch=table.c.epoch + 1, owner=None, lease_expires_at=None)
    in_the_middle(lambda: manager.database.write(lambda c: c.execute(change)) and None)
    with pytest.raises(Fenced):
        manager.attach_volume(CONTEXT, operation_id=call.key, **call.arguments)
    in_the_middle(lambda: None)
    manager.recover()
    log = tmp_path / "worker-0.log"
    log.write_text(caplog.text)
    assert 1 == fenced([log])
    assert [] == complaints([log])
    assert 1 == judged(manager, backend, call).takeovers


def test_the_orphans_of_a_death_and_when_they_rested_are_known(
    manager: VolumeManager, call: Call, in_the_middle: Callable[[Callable[[], None]], None]
) -> None:
    """When it is asked right after the death, and again once all is settled."""
    deaths, orphans = Deaths(), {}

    def die() -> None:
        orphans.update(runs_of(manager.database, os.getpid()) or {})
        deaths.record("SIGKILL", tuple(orphans))

    in_the_middle(die)
    manager.attach_volume(CONTEXT, operation_id=call.key, **call.arguments)
    assert {call.key: call.arguments["volume_id"]} == orphans
    assert {} == runs_of(manager.database, os.getpid())
    assert {} == deaths.settling(manager.database, "SIGSTOP")
    (seconds,) = deaths.settling(manager.database, "SIGKILL").values()
    assert seconds is not None
    assert seconds > 0


@pytest.fixture
def watching(manager: VolumeManager, backend: MemoryDriver) -> Callable[[str], Watcher]:
    return lambda volume_id: Watcher(manager.database, backend, frozenset({volume_id}))


def test_the_watcher_sees_nothing_wrong_in_what_is_right(
    watching: Callable[[str], Watcher], call: Call, attached: Answer
) -> None:
    with watching(call.arguments["volume_id"]) as watcher:
        until(lambda: watcher.samples >= 2, "it looks")
    assert [] == watcher.violations


def test_the_watcher_sees_two_initiators(
    watching: Callable[[str], Watcher], backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    backend.acls[call.arguments["volume_id"]].add(HOST_B["initiator"])
    with watching(call.arguments["volume_id"]) as watcher:
        until(lambda: watcher.violations, "it sees them")
    assert "lets " in watcher.violations[0]


def test_the_watcher_sees_two_attachments(
    watching: Callable[[str], Watcher], manager: VolumeManager
) -> None:
    volume = manager.create_volume(CONTEXT, size_gib=1, backend=BACKEND, multiattach=True)
    for host in (HOST_A, HOST_B):
        manager.attach_volume(CONTEXT, volume.id, host)
    change = update(schema.volumes).values(multiattach=False)
    manager.database.write(lambda c: c.execute(change))
    with watching("another") as watcher:
        until(lambda: watcher.violations, "it sees them")
    assert f"G3: volume {volume.id} has 2 attachments" == watcher.violations[0]


def test_a_watcher_that_fails_says_so(
    manager: VolumeManager, backend: MemoryDriver, caplog: pytest.LogCaptureFixture
) -> None:
    """What refuses is only down; what breaks is a fault."""
    driver = FaultyDriver(backend, [Fault("list_exports", "before", ZeroDivisionError)])
    with Watcher(manager.database, driver, frozenset()) as watcher:
        until(lambda: watcher.violations, "it says so")
    assert "the watcher failed: ZeroDivisionError" in watcher.violations[0]


def test_a_journal_tells_what_was_asked_and_what_was_answered(tmp_path: Path, call: Call) -> None:
    """By several writers, after whose death the rest is asked again."""
    path = tmp_path / "journal"
    for _ in range(2):
        written = Journal(path)
        written.asked(call)
        written.close()
    assert [call] == journal.read(path, tmp_path / "nowhere").unanswered
    written = Journal(path)
    written.answered(call, Answer(None, "Fenced", "taken"))
    written.answered(call, Answer("an id"))
    written.step("attach", None)
    written.told("an attachment")
    written.broken("something")
    written.close()
    found = journal.read(path)
    assert [] == found.unanswered
    assert ["Fenced", None] == [answer.error for answer in found.answers[call.key]]
    assert ([("attach", None)], ["something"]) == (found.steps, found.broken)
    assert ["an attachment"] == found.told


def test_an_error_in_a_log_is_a_complaint(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    log.write_text("1 WARNING volflow it waits\n1 ERROR volflow it fails\nTraceback (most\n")
    assert ["1 ERROR volflow it fails", "Traceback (most"] == [
        sentence.removeprefix("worker-0.log: ") for sentence in complaints([log])
    ]


def test_a_plan_is_what_was_written_down(tmp_path: Path) -> None:
    plan = Plan("sqlite:///x.db", tmp_path, options={"directory": "y"}, kill_seconds=None)
    assert plan == Plan.read(plan.write())


def test_time_without_a_service_does_not_count() -> None:
    """When two are away at the same time, it does not count twice."""
    deaths = Deaths(outages=[(15.0, 17.0), (3.0, 11.0), (16.0, 18.0), (29.0, 40.0)])
    assert 20.0 - 1.0 - 3.0 - 1.0 == deaths.served(10.0, 30.0)
    assert 2.0 == deaths.served(12.0, 14.0)


def test_percentiles_are_of_what_was_measured() -> None:
    assert {} == percentiles([])
    assert {"p50": 3.0, "p99": 9.0, "max": 9.0} == percentiles([9.0, 1.0, 3.0, 2.0, 4.0])
