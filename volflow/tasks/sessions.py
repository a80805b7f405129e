"""No session is cut by an undo or a repair: what is asked before access is taken away."""

from __future__ import annotations

from volflow.entitlement import live_sessions
from volflow.exceptions import ConnectionInUse
from volflow.models import Connector, OperationKind
from volflow.tasks.run import Run


def require_unused(run: Run, initiator: str | None = None) -> None:
    """Refuse to go on where an initiator that was let in is logged in, or may be.

    That the backend cannot tell counts only once somebody was told how to log in.

    :param initiator: only this one counts; None: any.
    :raises ConnectionInUse: a session is live, or the backend cannot tell.
    """
    if _cuts(run):
        return
    export = run.backend.export()
    found = [] if export is None else live_sessions(export, initiator)
    if found is None and (run.arguments.get("handed_out") or _repairs(run)):
        raise ConnectionInUse(
            f"the backend cannot tell whether volume {run.volume.id} is in use; "
            "terminate_connection with force goes on"
        )
    if found:
        raise ConnectionInUse(f"{found[0]} is logged in to volume {run.volume.id}")


def is_logged_in(run: Run, initiator: str) -> bool:
    """True where the backend says that an initiator is logged in."""
    export = run.backend.export()
    return bool(export is not None and live_sessions(export, initiator))


def terminate_unused(run: Run, connector: Connector) -> None:
    """Take an initiator's access away unless it is logged in.

    A driver that can (``terminate_unused_connection``) refuses new logins first; for others
    one may come between the look and the call.

    :raises ConnectionInUse: a session is live, or the backend cannot tell.
    """
    method = "terminate_unused_connection"
    if _cuts(run):
        run.backend.call("terminate_connection", run.volume, connector, force=True)
    elif callable(getattr(run.backend.driver, method, None)):
        run.backend.call(method, run.volume, connector)
    else:
        require_unused(run, run.backend.initiator_of(connector))
        run.backend.call("terminate_connection", run.volume, connector)


def _cuts(run: Run) -> bool:
    """True where a live session holds nothing back."""
    rests = run.arguments.get("rests") or {}
    return run.forced or bool(run.arguments.get("cut") or rests.get("cut"))


def _repairs(run: Run) -> bool:
    """True where the run repairs the backend: of what it finds it knows no caller."""
    return run.operation.kind is OperationKind.REPAIR or bool(run.arguments.get("rests"))
