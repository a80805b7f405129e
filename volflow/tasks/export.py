"""The tasks that make and remove the export, which all attachments of a volume share."""

from __future__ import annotations

import logging
from typing import Any

from volflow.exceptions import DriverError
from volflow.persistence.secrets import new_chap_account
from volflow.tasks.base import Step
from volflow.tasks.run import Run
from volflow.tasks.sessions import require_unused

LOG = logging.getLogger(__name__)
MODEL_COLUMNS = ("provider_location", "provider_auth")


def apply_model_update(run: Run, method: str, update: Any) -> None:
    """Record what the driver returned: ``{"provider_location": str, "provider_auth": str}``.

    Other columns of Cinder's are not volflow's; they are named in the log and left.

    :raises DriverError: it is neither a dict nor None, or a value is no string.
    """
    if update is None:
        return
    update = run.backend.checked(method, update)
    known = {k: v for k, v in update.items() if k in MODEL_COLUMNS} if _is_dict(update) else None
    if known is None or any(not isinstance(v, str | None) for v in known.values()):
        raise DriverError(f"{method} of backend {run.volume.backend} returned no model update")
    if ignored := sorted(set(update) - set(known)):
        LOG.debug("%s of volume %s: ignored %s", method, run.volume.id, ", ".join(ignored))
    changed = {k: v for k, v in known.items() if getattr(run.volume, k) != v}
    if changed:
        run.update_volume(**changed)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


class CreateExport(Step):
    """Export the volume, unless another attachment did.

    Effect: a target with the volume's credentials, which are recorded first.
    Undo: the export is removed and location and credentials forgotten, unless another
    attachment needs them.
    """

    outside = True

    def prepare(self, run: Run) -> None:
        if run.volume.provider_auth is None:
            run.update_volume(provider_auth=new_chap_account())

    def do(self, run: Run) -> None:
        if run.others:
            return
        update = run.backend.call("create_export", run.context, run.volume, run.connector)
        apply_model_update(run, "create_export", update)

    def undo(self, run: Run) -> None:
        if run.others:
            return
        require_unused(run)
        run.backend.call("remove_export", run.context, run.volume)
        run.update_volume(provider_location=None, provider_auth=None)


class RemoveExport(Step):
    """Remove the export, unless another attachment needs it.

    Effect: no target any more.
    Undo: the export as it was, at the recorded location with the recorded credentials.
    """

    outside = True

    def do(self, run: Run) -> None:
        if not run.others:
            run.backend.call("remove_export", run.context, run.volume)

    def undo(self, run: Run) -> None:
        if not run.others:
            update = run.backend.call("ensure_export", run.context, run.volume)
            apply_model_update(run, "ensure_export", update)
