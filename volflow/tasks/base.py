"""What every task has in common: how it fails, what it leaves, when it is skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import task

if TYPE_CHECKING:
    from volflow.tasks.run import Run


class Step(task.Task):
    """One task of a flow. Stateless: what it works on is the :class:`Run` it is given.

    A subclass writes :meth:`do` and :meth:`undo`; where its effect is outside the database it
    sets ``outside``, and may record things in the barrier's transaction before the effect
    (:meth:`prepare`, :meth:`prepare_undo`).
    """

    outside = False
    TASK_EVENTS = ()  # no progress events: nothing of a run is kept on a task, threads share it

    def execute(self, run: Run) -> None:
        with run.executing(self.name) as proceed:
            if proceed:
                self.do(run)

    def revert(self, run: Run, **_: Any) -> None:
        with run.reverting(self.name) as proceed:
            if proceed:
                self.undo(run)

    def do(self, run: Run) -> None:
        """Make the effect; also right when it was made before, wholly or half."""

    def undo(self, run: Run) -> None:
        """Take the effect back; also right when ``do`` died half way or never began."""

    def prepare(self, run: Run) -> None:
        """Record what has to be known before the effect is made."""

    def prepare_undo(self, run: Run) -> None:
        """Record what has to be known before the effect is taken back."""
