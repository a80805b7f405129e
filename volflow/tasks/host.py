"""The tasks that a host does for itself: its disk comes, and goes.

Only a process of that host can do them. Any other one that brings the operation on leaves a disk
alone that is in use, and goes on where the backend says that it is not.
"""

from __future__ import annotations

from volflow.exceptions import ConnectionFailed
from volflow.tasks.base import Step
from volflow.tasks.run import Run
from volflow.tasks.sessions import is_logged_in, require_unused


class ConnectHost(Step):
    """Let the host log in, and wait for its disk.

    Effect: a session, and a block device, whose path becomes the attachment's mountpoint.
    Undo: neither; found by the connection_info and never by the result, so that it is right also
    when ``do`` died half way. Kept while another attachment of the host needs them.
    """

    outside = True

    def do(self, run: Run) -> None:
        run.update_attachment(mountpoint=_connect(run))

    def undo(self, run: Run) -> None:
        _disconnect(run)
        run.update_attachment(mountpoint=None)


class DisconnectHost(Step):
    """Flush the host's disk, remove it and log out.

    Effect: no session and no device any more, unless another attachment of the host needs them.
    Undo: both again.
    """

    outside = True

    def do(self, run: Run) -> None:
        _disconnect(run)

    def undo(self, run: Run) -> None:
        if run.host is not None or not is_logged_in(run, run.initiator):
            run.update_attachment(mountpoint=_connect(run))


def _connect(run: Run) -> str | None:
    device = run.call_host("connect_volume", run.attachment.connection_info)
    path = device.get("path") if isinstance(device, dict) else None
    if not isinstance(path, str):
        raise ConnectionFailed("the host's connector returned no device with a path")
    return path


def _disconnect(run: Run) -> None:
    if run.shares_access():
        return
    if run.host is None:
        require_unused(run, run.initiator)
    else:
        run.call_host("disconnect_volume", run.attachment.connection_info)
    run.set_argument("handed_out", None)
