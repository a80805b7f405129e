"""What the demo does, step by step; whatever is not as it should be ends it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from volflow.cli.demo.lab import BACKEND, CONNECTOR, Lab
from volflow.cli.demo.programs import (
    NOT_AUTHENTICATED,
    NOT_FOUND,
    SECONDS,
    DemoFailed,
    Initiator,
    Tgtd,
)
from volflow.cli.demo.steps import Steps
from volflow.cli.opening import context
from volflow.manager import VolumeManager
from volflow.models import Attachment, AttachStatus, OperationState, Volume, VolumeStatus
from volflow.views.timeline import fold

ANOTHER_HOST = "iqn.1994-05.com.example:host-2"
SOCKET_LENGTH = 80
MEBIBYTE = 1024 * 1024


def tell(steps: Steps, *, target: bool, initiator: bool, keep: bool) -> None:
    """Tell the story.

    :param target: with a tgtd; otherwise volumes are files of this host.
    :param initiator: an initiator can log in to it.
    :param keep: leave the directory.
    :raises DemoFailed: something is not as it should be.
    """
    with ExitStack() as stack:
        directory = _directory(short=target)
        if not keep:
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        tgtd = Tgtd(directory) if target else None
        if tgtd is not None:
            stack.callback(tgtd.stop)
            with steps.step("start a private tgtd") as step:
                tgtd.start()
                step.show(f"it listens at {tgtd.portal}")
        lab = Lab(str(directory), tgtd.portal, tgtd.socket) if tgtd else Lab(str(directory))
        if keep:
            lab.write_config()
            steps.kept = str(directory)
        story = Story(steps, lab, tgtd, initiator)
        with lab.open() as manager:
            story.attach_and_detach(manager)
        story.die()
        # As the next process does: everything it knows is in the database and on the backend.
        with lab.open() as manager:
            story.recover(manager)
            story.check(manager)


def _directory(*, short: bool) -> Path:
    made = tempfile.mkdtemp(prefix="volflow-demo-")
    if short and len(made) > SOCKET_LENGTH:
        # The management socket lies in it, and a socket's path has at most 107 bytes.
        Path(made).rmdir()
        made = tempfile.mkdtemp(prefix="volflow-demo-", dir="/tmp")
    return Path(made)


class Story:
    """The steps, and what they share."""

    def __init__(self, steps: Steps, lab: Lab, tgtd: Tgtd | None, initiator: bool) -> None:
        self.steps = steps
        self.lab = lab
        self.tgtd = tgtd
        self.can_log_in = initiator
        self.volume_id = ""
        self.operation_id = str(uuid.uuid4())
        self._host = Initiator(CONNECTOR["initiator"], Path(lab.directory))
        self._other = Initiator(ANOTHER_HOST, Path(lab.directory))

    def attach_and_detach(self, manager: VolumeManager) -> None:
        """Show what an attach makes, and that a detach takes all of it away."""
        with self.steps.step("create a volume of 1 GiB") as step:
            made = manager.create_volume(context(), 1, BACKEND, name="demo")
            self.volume_id = made.id
            step.show(f"volume {made.id} is {made.status}")
            _require(made.status is VolumeStatus.AVAILABLE, f"the volume is {made.status}")
        how = " over iSCSI, with CHAP and an ACL" if self.tgtd else ""
        with self.steps.step(f"attach it{how}") as step:
            attachment = manager.attach_volume(
                context(), self.volume_id, CONNECTOR, host_name=CONNECTOR["host"]
            )
            _require_attached(attachment)
            for sentence in _reached(attachment):
                step.show(sentence)
            step.show(self._exported())
        self._use(attachment)
        self._detach(manager, "detach it")

    def die(self) -> None:
        """Let a process be killed in the middle of an attach, and look at what it left."""
        with self.steps.step("attach it again; SIGKILL as soon as it is exported") as step:
            argv = [sys.executable, "-m", "volflow.cli.demo.child"]
            argv += [self.lab.to_json(), self.volume_id, self.operation_id]
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
            )
            if done.returncode != -signal.SIGKILL:
                said = done.stderr.decode(errors="replace").strip().splitlines()
                raise DemoFailed(f"the process was not killed: {said[-1:] or done.returncode}")
            step.show(f"the process was killed by signal {-done.returncode}")
        with self.steps.step("look at what it left") as step, self.lab.open() as manager:
            left = manager.get_volume(context(), self.volume_id)
            operation = manager.get_operation(context(), self.operation_id)
            step.show(f"the volume is {left.status}, owned by operation {operation.id}")
            step.show(f"the operation is recorded as {operation.state}; its process is dead")
            step.show(self._exported())
            _require(left.status is VolumeStatus.ATTACHING, f"the volume is {left.status}")
            _require(operation.state is OperationState.RUNNING, f"it is {operation.state}")
            _require(len(self._exports()) == 1, "the export is not there")

    def recover(self, manager: VolumeManager) -> None:
        """Let the next process go on with it."""
        with self.steps.step("recover in the next process") as step:
            report = manager.recover()
            _require(report.resumed == (self.operation_id,), f"recovery did {report}")
            found = manager.get_volume(context(), self.volume_id)
            step.show(f"the operation is resumed, the volume is {found.status}")
            _require(found.status is VolumeStatus.IN_USE, f"the volume is {found.status}")
            events = manager.operation_timeline(context(), self.operation_id)
            step.timeline = fold(events)
        (attachment,) = manager.list_attachments(context(), self.volume_id)
        _require_attached(attachment)
        if self.can_log_in:
            with self.steps.step("the host logs in with what was recovered") as step:
                step.show(self._host.read(_data(attachment)))
        elif self.tgtd is None:
            with self.steps.step("the host opens what was recovered") as step:
                step.show(_read_file(_data(attachment)["device_path"]))
        self._detach(manager, "detach it")

    def check(self, manager: VolumeManager) -> None:
        """Compare the backend and the database with an empty world."""
        with self.steps.step("nothing is left") as step:
            if self.tgtd is not None:
                tgt = self.tgtd.target().tgt
                targets, accounts = tgt.targets(), tgt.accounts()
                step.show(f"tgtd has {len(targets)} targets and {len(accounts)} accounts")
                _require(not targets and not accounts, "tgtd is not empty")
            else:
                step.show(f"there are {len(self._exports())} exports")
                _require(not self._exports(), "there is an export")
            operations = manager.list_operations(context())
            open_ones = [o.id for o in operations if not o.settled]
            step.show(f"of {len(operations)} operations {len(open_ones)} are unsettled")
            _require(not open_ones, f"not settled: {', '.join(open_ones)}")
            manager.delete_volume(context(), self.volume_id)
            step.show("the volume is deleted")

    def _use(self, attachment: Attachment) -> None:
        """Use the connection as hosts do, and as others would."""
        data = _data(attachment)
        if self.can_log_in:
            with self.steps.step("the host logs in, writes 8 MiB and reads them back") as step:
                step.show(self._host.write_and_read(data))
            with self.steps.step("the host with a wrong password") as step:
                wrong = {**data, "auth_password": "wrongwrong12"}
                step.show(self._host.refused(wrong, NOT_AUTHENTICATED))
            with self.steps.step("another host with the right password") as step:
                step.show(self._other.refused(data, NOT_FOUND))
        elif self.tgtd is None:
            with self.steps.step("the host writes 8 MiB and reads them back") as step:
                with Path(data["device_path"]).open("r+b") as file:
                    file.write(b"\x5a" * 8 * MEBIBYTE)
                step.show(_read_file(data["device_path"]))

    def _detach(self, manager: VolumeManager, title: str) -> None:
        with self.steps.step(title) as step:
            found: Volume = manager.detach_volume(context(), self.volume_id)
            step.show(f"the volume is {found.status}; {self._exported()}")
            _require(found.status is VolumeStatus.AVAILABLE, f"the volume is {found.status}")
            _require(not self._exports(), "the export is still there")

    def _exports(self) -> list[Any]:
        return list(self.lab.driver().list_exports())

    def _exported(self) -> str:
        """Say what the backend holds, asked beside the core."""
        found = self._exports()
        name = "tgtd" if self.tgtd else "the driver"
        if not found:
            return f"{name} has no export"
        acl = ", ".join(found[0].acl) or "nobody"
        return f"{name} exports it; access for {acl}"


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DemoFailed(otherwise)


def _require_attached(attachment: Attachment) -> None:
    status = attachment.attach_status
    _require(status is AttachStatus.ATTACHED, f"the attachment is {status}")


def _data(attachment: Attachment) -> dict[str, Any]:
    if attachment.connection_info is None:
        raise DemoFailed("the attachment has no connection_info")
    return dict(attachment.connection_info["data"])


def _reached(attachment: Attachment) -> list[str]:
    data = _data(attachment)
    if "device_path" in data:
        path = Path(data["device_path"])
        return [f"device_path {path.parent.name}/{path.name}"]
    return [
        data["target_iqn"],
        f"portal {data['target_portal']}, LUN {data['target_lun']}",
        f"{data['auth_method']}, with a user and a password of its own",
    ]


def _read_file(path: str) -> str:
    with Path(path).open("rb") as file:
        found = file.read(8 * MEBIBYTE)
    _require(found == b"\x5a" * 8 * MEBIBYTE, "something else was read")
    return "8 MiB are as they were written"
