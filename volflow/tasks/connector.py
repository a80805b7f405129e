"""The task that checks who asks."""

from __future__ import annotations

from volflow.exceptions import InvalidConnector
from volflow.tasks.base import Step
from volflow.tasks.run import Run
from volflow.texts import is_storable

INITIATOR_LENGTH = 255


class ValidateConnector(Step):
    """Ask the driver whether it can serve the connector.

    Effect: none. Undo: none.
    """

    def do(self, run: Run) -> None:
        run.backend.call("validate_connector", run.connector)
        if len(run.initiator) > INITIATOR_LENGTH:
            raise InvalidConnector(f"the initiator is longer than {INITIATOR_LENGTH} characters")
        if not is_storable(run.initiator):
            raise InvalidConnector("the initiator contains characters that cannot be stored")
