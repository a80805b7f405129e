"""The tasks that make and delete the volume itself."""

from __future__ import annotations

from volflow.tasks.base import Step
from volflow.tasks.export import apply_model_update
from volflow.tasks.run import Run
from volflow.tasks.sessions import require_unused


class CreateVolume(Step):
    """Make the volume on the backend.

    Effect: the backend's volume.
    Undo: it is deleted.
    """

    outside = True

    def do(self, run: Run) -> None:
        update = run.backend.call("create_volume", run.context, run.volume)
        apply_model_update(run, "create_volume", update)

    def undo(self, run: Run) -> None:
        run.backend.call("delete_volume", run.context, run.volume)


class DeleteVolume(Step):
    """Delete the volume on the backend.

    Effect: the backend's volume is gone, with an export that a request in doubt has left, unless
    that is in use. Undo: there is none; the volume ends in ``error``.
    """

    outside = True

    def do(self, run: Run) -> None:
        if run.backend.export() is not None:
            require_unused(run)
            run.backend.call("remove_export", run.context, run.volume)
        run.backend.call("delete_volume", run.context, run.volume)
