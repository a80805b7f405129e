"""Every driver call of attach and detach fails, before and after its effect, in many ways.

The first error reaches the caller, the volume is back, and the backend is clean.
"""

from __future__ import annotations

import logging
import threading
import uuid

import pytest
from sqlalchemy.exc import OperationalError
from taskflow.exceptions import TaskFlowException

from volflow import RequestContext, VolumeManager, exceptions
from volflow.exceptions import DriverError
from volflow.testing import Fault, FaultyDriver, MemoryDriver
from volflow.testing.invariants import violations

HOST = {"initiator": "iqn.2004-10.org.example:a", "host": "a"}
ALWAYS = None


class OfADriver(exceptions.ExportFailed):
    """A driver's own error."""


class TwoArguments(Exception):
    """It cannot be made from its message."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


class NoText(Exception):
    """It cannot be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")


class NoTextOfOurs(exceptions.ExportFailed, NoText):
    """An error of the interface's that cannot be printed."""

    __str__ = NoText.__str__


class NoRepr(NoText):
    """Nor can it be shown."""

    def __repr__(self) -> str:
        raise ValueError("no repr")


class OddText(Exception):
    """What it prints is no text."""

    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class NoEquality(Exception):
    """It cannot be compared."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("incomparable")


class UnprintableDriverError(DriverError):
    """A driver's own error that cannot be printed."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _of_itself() -> Exception:
    error = Exception("a ring")
    error.__cause__ = Exception("behind it")
    error.__cause__.__cause__ = error
    return error


OURS = {
    "export failed": lambda: exceptions.ExportFailed("refused"),
    "connection failed": lambda: exceptions.ConnectionFailed("refused"),
    "driver error": lambda: DriverError("refused"),
    "in use": lambda: exceptions.ConnectionInUse("refused"),
    "of a driver": lambda: OfADriver("refused"),
    "without a message": exceptions.ExportFailed,
}
OURS_ALL_THE_TIME = {"transient": lambda: exceptions.TransientDriverError("refused")}
NOT_A_DRIVERS = {
    "fenced": lambda: exceptions.Fenced("not mine to say"),
    "invalid volume": lambda: exceptions.InvalidVolume("not mine to say"),
    "database error": lambda: exceptions.DatabaseError("not mine to say"),
    "rollback incomplete": lambda: exceptions.RollbackIncomplete("not mine to say"),
}
FOREIGN = {
    "value": lambda: ValueError("odd"),
    "key": lambda: KeyError("initiator"),
    "os": lambda: OSError(28, "No space left on device", "/var/lib"),
    "timeout": lambda: TimeoutError("slow"),
    "assertion": AssertionError,
    "stop": lambda: StopIteration("end"),
    "recursion": lambda: RecursionError("deep"),
    "memory": MemoryError,
    "not implemented": NotImplementedError,
    "database": lambda: OperationalError("SELECT 1", {}, OSError("database is locked")),
    "taskflow": lambda: TaskFlowException("of a library"),
    "group": lambda: ExceptionGroup("several", [ValueError("a"), OSError("b")]),
}
ODD = {
    "objects": lambda: Exception(object(), {1, 2}, b"\xff", threading.Lock()),
    "nothing": Exception,
    "two arguments": lambda: TwoArguments(5, "odd"),
    "no text": NoText,
    "no repr": NoRepr,
    "odd text": OddText,
    "no equality": NoEquality,
    "nul": lambda: Exception("a\0b"),
    "surrogate": lambda: Exception("a\ud800b"),
    "lines": lambda: Exception("first\nsecond\r\nthird\x1b[31m"),
    "percent": lambda: Exception("100%s %d {x} {}"),
    "endless": lambda: Exception("x" * 3_000_000),
    "itself": _of_itself,
}


ATTACH = ("validate_connector", "create_export", "initialize_connection")
DETACH = ("terminate_connection", "remove_export")
WHEN = ("before", "after")


class Bench:
    """A manager on a volume of a backend that can refuse."""

    def __init__(self, url: str) -> None:
        self.backend = MemoryDriver()
        self.faulty = FaultyDriver(self.backend)
        self.name = f"lab-{uuid.uuid4()}"
        self.manager = VolumeManager(url, {self.name: self.faulty}, recover=False)
        self.context = RequestContext(overwrite=False)
        self.id = self.manager.create_volume(self.context, 1, self.name).id

    def attach(self):
        return self.manager.attach_volume(self.context, self.id, HOST, host_name="a")

    def detach(self):
        return self.manager.detach_volume(self.context, self.id)

    def volume(self):
        return self.manager.get_volume(self.context, self.id)

    def refuse(self, call, when, error, times=1):
        self.faulty.faults = [Fault(call, when, error, times)]

    def is_free(self) -> bool:
        found = self.volume()
        return (
            (found.status, found.attach_status) == ("available", "detached")
            and found.operation_id is None
            and found.provider_location is None
            and self.backend.exports == {}
            and not any(self.backend.acls.values())
            and self.manager.list_attachments(self.context, self.id) == []
            and violations(self.manager, self.backend, self.name) == []
        )

    def is_in_use_by(self, attachment) -> bool:
        found = self.volume()
        (now,) = self.manager.list_attachments(self.context, self.id)
        self.backend.login(now.connection_info, HOST["initiator"])
        self.backend.logout(self.id, HOST["initiator"])
        return (
            (found.status, found.attach_status, found.operation_id) == ("in-use", "attached", None)
            and now.id == attachment.id
            and now.connection_info == attachment.connection_info
            and violations(self.manager, self.backend, self.name) == []
        )

    def last(self):
        return self.manager.list_operations(self.context, volume_id=self.id)[-1]


@pytest.fixture(scope="session")
def one_database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('faults')}/volflow.db"


@pytest.fixture
def bench(one_database):
    """A volume and a backend of the test's own, on a database that the tests share."""
    logging.disable()  # a report of captured lines could not be sent: some hold no text
    found = Bench(one_database)
    yield found
    found.manager.close()
    logging.disable(logging.NOTSET)


def refusal(function):
    """The error of a call; one whose text cannot be printed would break the test's own report."""
    try:
        function()
    except Exception as e:  # noqa: BLE001 - it may be anything
        return e
    pytest.fail("nothing was refused")


def expect(error, original, own):
    """The caller has the driver's own error, or DriverError with the original behind it."""
    if own is None:
        assert isinstance(error, DriverError)
        str(error).encode()
    elif own:
        assert type(error) is type(original)
        assert error.args[:1] == (original.args or ("",))[:1]
    else:
        assert type(error) is DriverError
        assert error.__cause__ is original
        str(error).encode()


KINDS = [
    *[pytest.param(make, True, 1, id=f"ours-{n}") for n, make in OURS.items()],
    *[pytest.param(make, True, ALWAYS, id=f"ours-{n}") for n, make in OURS_ALL_THE_TIME.items()],
    pytest.param(lambda: UnprintableDriverError("refused"), None, 1, id="ours-no text"),
    *[pytest.param(make, False, 1, id=f"other-{n}") for n, make in NOT_A_DRIVERS.items()],
    *[pytest.param(make, False, 1, id=f"foreign-{n}") for n, make in FOREIGN.items()],
    *[pytest.param(make, False, 1, id=f"odd-{n}") for n, make in ODD.items()],
]
every_kind = pytest.mark.parametrize(("make", "own", "times"), KINDS)
before_and_after = pytest.mark.parametrize("when", WHEN)


@every_kind
@before_and_after
@pytest.mark.parametrize("call", ATTACH)
def test_a_refused_attach_leaves_a_free_volume(bench, call, when, make, own, times):
    """When a driver call of attach_volume fails, all is undone and the next attach works."""
    original = make()
    bench.refuse(call, when, original, times)

    expect(refusal(bench.attach), original, own)
    bench.faulty.faults = []
    assert bench.is_free()
    assert bench.last().state == "rolled_back"
    assert bench.attach().attach_status == "attached"


@every_kind
@before_and_after
@pytest.mark.parametrize("call", DETACH)
def test_a_refused_detach_leaves_a_working_connection(bench, call, when, make, own, times):
    """When a driver call of detach_volume fails, the host works on, and the next one works."""
    attachment = bench.attach()
    original = make()
    if times is ALWAYS and call == "remove_export":
        times = 20
    bench.refuse(call, when, original, times)

    expect(refusal(bench.detach), original, own)
    bench.faulty.faults = []
    assert bench.is_in_use_by(attachment)
    assert bench.detach().status == "available"
    assert bench.is_free()


@pytest.mark.parametrize("make", [*FOREIGN.values(), *ODD.values()], ids=[*FOREIGN, *ODD])
@before_and_after
def test_a_failing_notification_changes_nothing(bench, when, make):
    """When the driver fails to be told, in whatever way, attach and detach succeed."""
    bench.faulty.faults = [
        Fault("attach_volume", when, make()),
        Fault("detach_volume", when, make()),
    ]

    attachment = bench.attach()
    assert bench.is_in_use_by(attachment)
    assert bench.detach().status == "available"
    assert bench.is_free()


@pytest.mark.parametrize("make", [*FOREIGN.values(), *ODD.values()], ids=[*FOREIGN, *ODD])
@pytest.mark.parametrize("undo", ["terminate_connection", "remove_export"])
def test_an_undo_that_fails_in_any_way_hides_no_first_error(bench, make, undo):
    """When the undo fails with anything, the caller has the first error; recovery cleans up."""
    bench.faulty.faults = [
        Fault("initialize_connection", "after", exceptions.ConnectionFailed("the first")),
        Fault(undo, "before", make()),
    ]

    error = refusal(bench.attach)

    assert type(error) is exceptions.RollbackIncomplete
    assert type(error.__cause__) is exceptions.ConnectionFailed
    assert str(error.__cause__) == "the first"
    assert tuple(bench.last().error) == ("ConnectionFailed", "the first")
    owner = bench.volume().operation_id
    assert owner in bench.manager.recover().cleaned
    assert bench.is_free()


@pytest.mark.parametrize("make", [*FOREIGN.values(), *ODD.values()], ids=[*FOREIGN, *ODD])
@pytest.mark.parametrize("step", DETACH)
def test_a_forced_detach_goes_over_any_error(bench, make, step):
    """When a forced detach meets any error: RollbackIncomplete, then recovery cleans up."""
    bench.attach()
    bench.refuse(step, "before", make())

    error = refusal(lambda: bench.manager.detach_volume(bench.context, bench.id, force=True))

    assert type(error) is exceptions.RollbackIncomplete
    assert bench.volume().status == "detaching"
    bench.manager.recover()
    assert bench.is_free()


@pytest.mark.parametrize("call", ["create_export", "initialize_connection"])
def test_an_error_of_ours_without_a_text_keeps_its_class(bench, call):
    """When a driver raises one of the interface's errors that cannot be printed."""
    bench.refuse(call, "before", NoTextOfOurs())

    error = refusal(bench.attach)

    assert type(error) is exceptions.ExportFailed
    assert str(error)
    assert bench.is_free()


@pytest.mark.parametrize("call", ["create_volume", "delete_volume"])
@pytest.mark.parametrize("make", [*FOREIGN.values(), *ODD.values()], ids=[*FOREIGN, *ODD])
def test_a_volume_is_made_and_deleted_over_any_error(bench, call, make):
    """When the backend fails in any way, the caller has DriverError, and repeats."""
    bench.refuse(call, "after", make())

    if call == "create_volume":
        error = refusal(lambda: bench.manager.create_volume(bench.context, 1, bench.name))
    else:
        error = refusal(lambda: bench.manager.delete_volume(bench.context, bench.id))

    assert type(error) is DriverError
    bench.manager.delete_volume(bench.context, bench.id)
    assert bench.backend.volumes == {}
