"""A driver that refuses: every call fails, before its effect and after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from volflow.exceptions import (
    ConnectionFailed,
    DriverError,
    ExportFailed,
    RollbackIncomplete,
    TransientDriverError,
    VolflowError,
)
from volflow.manager import VolumeManager
from volflow.models import Attachment, VolumeStatus
from volflow.testing.conformance.bench import Bench
from volflow.testing.conformance.hooks import Hooks
from volflow.testing.conformance.stage import UNUSED, manager_on, unreachable
from volflow.testing.faults import Fault, FaultyDriver
from volflow.testing.invariants import violations
from volflow.testing.scenarios import BACKEND, CONTEXT

ATTACH = ("validate_connector", "create_export", "initialize_connection")
DETACH = ("terminate_connection", "remove_export")
ERRORS: dict[str, Callable[[], Exception]] = {
    "of volflow": lambda: ExportFailed("refused on purpose"),
    "of the system": lambda: OSError(5, "Input/output error"),
    "of a bug": lambda: KeyError("initiator"),
}
UNDOS = ("terminate_connection", "remove_export")

every_error = pytest.mark.parametrize("error_kind", ERRORS)
before_and_after = pytest.mark.parametrize("moment", ["before", "after"])


class _Case(NamedTuple):
    """A volume under the core, and the driver that is to refuse."""

    bench: Bench
    manager: VolumeManager
    faulty: FaultyDriver
    volume_id: str

    def refuse(self, call: str, moment: str, error_kind: str) -> Exception:
        """Let a call fail; return its error."""
        error = ERRORS[error_kind]()
        self.faulty.faults = [Fault(call, moment, error)]
        return error

    def attach(self) -> Attachment:
        return self.manager.attach_volume(
            CONTEXT, self.volume_id, self.bench.host_a, host_name="a"
        )

    def detach(self, force: bool = False) -> None:
        self.manager.detach_volume(CONTEXT, self.volume_id, force=force)

    def require(self, status: VolumeStatus) -> None:
        """Find the volume in this status, with nothing that breaks a guarantee."""
        assert violations(self.manager, self.bench.driver, BACKEND) == []
        assert status == self.manager.get_volume(CONTEXT, self.volume_id).status
        for attachment in self.manager.list_attachments(CONTEXT, self.volume_id):
            info = attachment.connection_info
            assert info is not None
            assert not unreachable(self.bench, info, self.bench.host_a), "G3: no way in"

    def end(self) -> None:
        """Use the volume once more, and delete it."""
        if self.manager.get_volume(CONTEXT, self.volume_id).status == VolumeStatus.AVAILABLE:
            self.attach()
            self.require(VolumeStatus.IN_USE)
        self.detach()
        self.require(VolumeStatus.AVAILABLE)
        self.manager.delete_volume(CONTEXT, self.volume_id)
        assert self.bench.exports() == [], "G2: something is left"


class RefusalTests(Hooks):
    """What the caller sees, and what is left, when the driver's calls fail."""

    @every_error
    @before_and_after
    @pytest.mark.parametrize("refused_call", ATTACH)
    def test_a_refused_attach_is_undone(
        self, bench: Bench, refused_call: str, moment: str, error_kind: str
    ) -> None:
        """When a call of an attach fails, the first error is raised and nothing is left."""
        with _case(bench) as case:
            error = case.refuse(refused_call, moment, error_kind)
            _expect(error, case.attach)
            case.require(VolumeStatus.AVAILABLE)
            assert bench.exports() == [], "G2: the export is left"
            case.end()

    @every_error
    @before_and_after
    @pytest.mark.parametrize("refused_call", DETACH)
    def test_a_refused_detach_leaves_a_working_connection(
        self, bench: Bench, refused_call: str, moment: str, error_kind: str
    ) -> None:
        """When a call of a detach fails, the host has the very access that it had."""
        with _case(bench) as case:
            before = case.attach()
            error = case.refuse(refused_call, moment, error_kind)
            _expect(error, case.detach)
            case.require(VolumeStatus.IN_USE)
            after = case.manager.get_attachment(CONTEXT, before.id)
            assert before.connection_info == after.connection_info, "G3: another way in"
            case.end()

    @pytest.mark.parametrize("refused_call", ["create_export", "initialize_connection", *DETACH])
    def test_a_call_is_repeated_after_its_effect(self, bench: Bench, refused_call: str) -> None:
        """When a call fails in passing after its effect, it is repeated and succeeds."""
        with _case(bench) as case:
            fault = Fault(refused_call, "after", TransientDriverError("in passing"), times=2)
            case.faulty.faults = [fault]
            case.attach()
            case.require(VolumeStatus.IN_USE)
            case.end()
            assert fault.left == 0, f"{refused_call} was not called"

    @before_and_after
    @pytest.mark.parametrize("refused_call", UNDOS)
    def test_a_refused_undo_is_made_up_for(
        self, bench: Bench, refused_call: str, moment: str
    ) -> None:
        """When an undo is refused, too, the first error is told (G7), and recovery cleans up."""
        if refused_call == "terminate_connection" and hasattr(bench.driver, UNUSED):
            refused_call = UNUSED
        first = ConnectionFailed("the first")
        with _case(bench) as case:
            case.faulty.faults = [
                Fault("initialize_connection", "after", first),
                Fault(refused_call, moment, OSError("the undo's")),
            ]
            with pytest.raises(RollbackIncomplete) as caught:
                case.attach()
            cause = caught.value.__cause__
            assert (type(first), str(first)) == (type(cause), str(cause)), "G7: another error"
            case.manager.recover()
            case.require(VolumeStatus.AVAILABLE)
            case.end()

    @before_and_after
    @pytest.mark.parametrize("refused_call", DETACH)
    def test_a_forced_detach_is_ended_by_recovery(
        self, bench: Bench, refused_call: str, moment: str
    ) -> None:
        """When a forced detach meets a refusal, recovery goes on forward."""
        with _case(bench) as case:
            case.attach()
            case.faulty.faults = [
                Fault(refused_call, moment, ConnectionFailed("refused on purpose"))
            ]
            with pytest.raises(RollbackIncomplete):
                case.detach(force=True)
            case.manager.recover()
            case.require(VolumeStatus.AVAILABLE)
            case.end()

    @every_error
    @before_and_after
    @pytest.mark.parametrize("refused_call", ["create_volume", "delete_volume"])
    def test_a_refused_volume_leaves_none(
        self, bench: Bench, refused_call: str, moment: str, error_kind: str
    ) -> None:
        """When making or deleting a volume fails, deleting it then works and nothing is left."""
        with _case(bench) as case:
            error = case.refuse(refused_call, moment, error_kind)
            if refused_call == "create_volume":
                _expect(error, lambda: case.manager.create_volume(CONTEXT, 1, BACKEND))
            else:
                delete = case.manager.delete_volume
                _expect(error, lambda: delete(CONTEXT, case.volume_id))
            case.manager.delete_volume(CONTEXT, case.volume_id)
            assert case.manager.list_volumes(CONTEXT) == []
            assert bench.exports() == []


@contextmanager
def _case(bench: Bench) -> Iterator[_Case]:
    faulty = FaultyDriver(bench.next_driver())
    with manager_on(bench, faulty) as manager:
        yield _Case(bench, manager, faulty, manager.create_volume(CONTEXT, 1, BACKEND).id)


def _expect(original: Exception, call: Any) -> None:
    """Find the first error in what a call raises (G7): itself, or behind a DriverError."""
    with pytest.raises(DriverError) as caught:
        call()
    if isinstance(original, VolflowError):
        assert (type(original), str(original)) == (type(caught.value), str(caught.value))
    else:
        assert caught.value.__cause__ is original, "G7: the first error is not behind it"
