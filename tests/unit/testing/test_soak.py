"""What a soak looks at: each thing that may break a guarantee is found where it is there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.contract.lab import until
from volflow import VolumeManager
from volflow.persistence import schema
from volflow.testing import Fault, FaultyDriver, MemoryDriver
from volflow.testing.scenarios import CONTEXT, HOST_A, HOST_B
from volflow.testing.soak import Figures, journal
from volflow.testing.soak.figures import percentiles
from volflow.testing.soak.journal import Answer, Call, History, Journal
from volflow.testing.soak.plan import BACKEND, Plan
from volflow.testing.soak.verdict import complaints, judge, unsettled
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


def test_what_the_backend_has_too_much_is_found(
    manager: VolumeManager, backend: MemoryDriver, call: Call, attached: Answer
) -> None:
    backend.acls[call.arguments["volume_id"]].add(HOST_B["initiator"])
    (found,) = judged(manager, backend, call, attached).violations
    assert found.startswith("G2: ")


def test_takeovers_and_fenced_calls_are_counted(
    manager: VolumeManager, backend: MemoryDriver, call: Call
) -> None:
    figures = judged(manager, backend, call, Answer(None, "Fenced", "taken"))
    assert (0, 1) == (figures.takeovers, figures.fenced)


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
    written.broken("something")
    written.close()
    found = journal.read(path)
    assert [] == found.unanswered
    assert ["Fenced", None] == [answer.error for answer in found.answers[call.key]]
    assert ([("attach", None)], ["something"]) == (found.steps, found.broken)


def test_an_error_in_a_log_is_a_complaint(tmp_path: Path) -> None:
    log = tmp_path / "worker-0.log"
    log.write_text("1 WARNING volflow it waits\n1 ERROR volflow it fails\nTraceback (most\n")
    assert ["1 ERROR volflow it fails", "Traceback (most"] == [
        sentence.removeprefix("worker-0.log: ") for sentence in complaints([log])
    ]


def test_a_plan_is_what_was_written_down(tmp_path: Path) -> None:
    plan = Plan("sqlite:///x.db", tmp_path, options={"directory": "y"}, kill_seconds=None)
    assert plan == Plan.read(plan.write())


def test_percentiles_are_of_what_was_measured() -> None:
    assert {} == percentiles([])
    assert {"p50": 3.0, "p99": 9.0, "max": 9.0} == percentiles([9.0, 1.0, 3.0, 2.0, 4.0])
