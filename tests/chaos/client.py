"""A client in a process of its own: it has each volume attached and detached by conductors.

``python -m tests.chaos.client URL BOARD KEY_FILE`` reads ids of volumes, one a line; it writes one
JSON document, ``{operation: state}``, of everything that was accepted.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from tests.contract.lab import HOST_A, new_id
from volflow import RequestContext, VolumeManager, exceptions
from volflow.models import OperationState

CONTEXT = RequestContext(overwrite=False)
PATIENCE_SECONDS = 600
PAUSE_SECONDS = 0.2
T = TypeVar("T")


def persist(call: Callable[[], T]) -> T:
    """Repeat a call while database or board are away: what was accepted has its id."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except (exceptions.DatabaseError, exceptions.BoardError):
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE_SECONDS)


class Client:
    """Submits, and waits."""

    def __init__(self, manager: VolumeManager) -> None:
        self._manager = manager
        self.states: dict[str, str] = {}

    def attach(self, volume_id: str) -> str:
        """Have a volume attached; return the operation's id."""
        key = new_id()
        persist(
            lambda: self._manager.submit_attach(
                CONTEXT, volume_id, HOST_A, host_name="a", operation_id=key
            )
        )
        return key

    def detach(self, volume_id: str) -> str:
        """Have a volume detached; return the operation's id."""
        key = new_id()
        persist(lambda: self._manager.submit_detach(CONTEXT, volume_id, operation_id=key))
        return key

    def settle(self, operation_id: str) -> None:
        """Wait for the end of an operation, and note it.

        :raises SystemExit: it has no reason to end in another way than well, and did.
        """
        found = persist(lambda: self._manager.wait(operation_id, PATIENCE_SECONDS))
        if found.state is not OperationState.SUCCEEDED:
            raise SystemExit(f"operation {operation_id} is {found.state}: {found.error}")
        self.states[operation_id] = found.state.value


def main(url: str, board: str, key_file: str) -> None:
    """Attach all, then detach each as soon as it is attached."""
    volumes = sys.stdin.read().split()
    manager = persist(
        lambda: VolumeManager(url, drivers={}, board=board, key_file=key_file, recover=False)
    )
    with manager:
        client, ends = Client(manager), []
        for volume_id, attach in [(v, client.attach(v)) for v in volumes]:
            client.settle(attach)
            ends.append(client.detach(volume_id))
        for detach in ends:
            client.settle(detach)
    json.dump(client.states, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
